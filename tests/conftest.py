"""For all tests: a property is judged by what it says, never by the time that it takes."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What ``-n auto`` means: one more than cores.

    Functional tests wait for guests, leases and time limits more than they compute.
    """
    return (os.cpu_count() or 1) + 1
