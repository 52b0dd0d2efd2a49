"""The clock of lease deadlines."""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds since the machine's start, those of a suspend included.

    Nobody can set this clock. Unlike CLOCK_MONOTONIC it tells a machine that wakes up how
    long the others have gone on without it.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
