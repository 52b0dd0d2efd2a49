"""The event loop's lag."""

from __future__ import annotations

from twisted.internet.task import Clock

from consoled.metrics.lag import INTERVAL, KEPT, LagMeter


def test_lag_is_measured() -> None:
    """A timer that runs late shows by how much; one in time shows nothing."""
    clock, noted = Clock(), list[float]()
    meter = LagMeter(clock, noted.append)
    meter.start()
    clock.advance(INTERVAL)
    clock.advance(INTERVAL + 0.25)
    clock.advance(INTERVAL)
    assert noted == [0, 0.25, 0]
    assert meter.worst == 0.25


def test_only_recent_lag_counts() -> None:
    """The worst lag is forgotten after some seconds."""
    clock = Clock()
    meter = LagMeter(clock, lambda _: None)
    assert meter.worst == 0
    meter.start()
    clock.advance(INTERVAL + 3)
    assert meter.worst == 3
    for _ in range(KEPT):
        clock.advance(INTERVAL)
    assert meter.worst == 0


def test_stop() -> None:
    """After the stop no timer runs, before the start there is none."""
    clock = Clock()
    meter = LagMeter(clock, lambda _: None)
    meter.stop()
    meter.start()
    meter.stop()
    assert clock.getDelayedCalls() == []
