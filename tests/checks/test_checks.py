"""Style, types and the page's own checks, in the same run as the tests."""

from __future__ import annotations

import pytest

from tools.checks import CHECKS, Check


@pytest.mark.timeout(900)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_check(check: Check) -> None:
    """Nothing is found by this check."""
    passed, output = check.run()
    assert passed, f"{check}\n{output}"
