"""The token bucket: what it grants, and when there is more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.proxy.pacing import BURST, Bucket

RATE = 11_520


@given(
    rate=st.integers(min_value=1, max_value=1_000_000),
    steps=st.lists(
        st.tuples(st.floats(min_value=0, max_value=3), st.integers(min_value=1, max_value=100_000))
    ),
)
def test_never_faster(rate: int, steps: list[tuple[float, int]]) -> None:
    """Between any two moments it grants at most a burst and what the rate gives in that time."""
    bucket = Bucket(rate, 0.0)
    now, grants = 0.0, []
    for passed, wanted in steps:
        now += passed
        grants.append((now, bucket.grant(wanted, now)))
    for first in range(len(grants)):
        granted = 0
        for at, count in grants[first:]:
            granted += count
            assert granted <= bucket.burst + rate * (at - grants[first][0]) + 0.01


@given(rate=st.integers(min_value=1, max_value=1_000_000), wanted=st.integers(1, 5000))
def test_the_wait_is_long_enough(rate: int, wanted: int) -> None:
    """Whoever waits as long as it says is granted at least one byte, and everything in the end."""
    bucket = Bucket(rate, 100.0)
    now, left = 100.0, wanted
    while left:
        granted = bucket.grant(left, now)
        assert granted
        left -= granted
        now += bucket.wait()
    assert now - 100.0 <= wanted / rate + 0.05


def test_the_rate_is_reached() -> None:
    """Sixty-four KiB take as long as the rate says, in some fifty steps a second."""
    bucket = Bucket(RATE, 0.0)
    now, left, steps = 0.0, 65_536, 0
    while left:
        left -= bucket.grant(left, now)
        steps += 1
        if left:
            now += bucket.wait()
    assert now == pytest.approx((65_536 - BURST) / RATE, abs=0.03)
    assert steps / now == pytest.approx(50, abs=3)


def test_a_slow_line_gets_no_large_burst() -> None:
    """A guest behind three hundred baud has small buffers: two bytes at once, not five hundred."""
    bucket = Bucket(30, 0.0)
    assert bucket.grant(100, 0.0) == 1
    assert bucket.wait() == pytest.approx(0.5 / 30)
    assert bucket.grant(100, 1000.0) == 1


def test_without_a_rate() -> None:
    """Nothing is held back."""
    bucket = Bucket(0, 0.0)
    assert bucket.grant(1_000_000, 0.0) == 1_000_000
    assert bucket.grant(1_000_000, 0.0) == 1_000_000
