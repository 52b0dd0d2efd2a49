"""The gate: output is held back for each reason, and for a bounded time."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from consoled.proxy.gate import CREDIT_WINDOW, Gate, InputThrottle

STALL = 15.0


class Source:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Told to stop."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Told to go on."""
        self.told.append("resume")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def stalls() -> list[str]:
    """One entry per stall."""
    return []


@pytest.fixture
def source() -> Source:
    """What is held back."""
    return Source()


@pytest.fixture
def gate(source: Source, clock: Clock, stalls: list[str]) -> Gate:
    """An open gate."""
    return Gate(source, clock, STALL, lambda: stalls.append("stalled"))


def test_full_socket_holds_and_frees(gate: Gate, source: Source, clock: Clock) -> None:
    """A full viewer stops the guest, an empty one lets it go on, and no timer stays."""
    gate.pauseProducing()
    gate.pauseProducing()
    assert source.told == ["pause"]
    gate.resumeProducing()
    gate.resumeProducing()
    assert source.told == ["pause", "resume"]
    assert not clock.getDelayedCalls()


def test_credit(gate: Gate, source: Source) -> None:
    """More than the window unacknowledged stops the guest until half of it is shown."""
    gate.spend(CREDIT_WINDOW)
    assert source.told == []
    gate.spend(1)
    assert source.told == ["pause"]
    gate.acknowledge(CREDIT_WINDOW // 2)
    assert source.told == ["pause"]
    gate.acknowledge(CREDIT_WINDOW // 2 + 1)
    assert source.told == ["pause", "resume"]


def test_both_reasons(gate: Gate, source: Source) -> None:
    """The guest goes on only when no reason is left."""
    gate.pauseProducing()
    gate.spend(CREDIT_WINDOW + 1)
    gate.resumeProducing()
    assert source.told == ["pause"]
    gate.acknowledge(CREDIT_WINDOW + 1)
    assert source.told == ["pause", "resume"]


def test_acks_cannot_run_ahead(gate: Gate, source: Source) -> None:
    """An ack of more than was sent, or of less than before, gives no credit."""
    gate.acknowledge(10 * CREDIT_WINDOW)
    gate.spend(CREDIT_WINDOW + 1)
    assert source.told == ["pause"]
    gate.acknowledge(CREDIT_WINDOW + 1)
    gate.acknowledge(0)
    assert source.told == ["pause", "resume"]


def test_stall(gate: Gate, clock: Clock, stalls: list[str]) -> None:
    """A viewer that takes nothing for the stall limit is reported once."""
    gate.pauseProducing()
    clock.advance(STALL - 0.1)
    assert stalls == []
    clock.advance(0.1)
    assert stalls == ["stalled"]
    gate.resumeProducing()
    assert stalls == ["stalled"]


def test_a_page_that_still_shows_something_is_not_stalled(
    gate: Gate, clock: Clock, stalls: list[str]
) -> None:
    """Each ack of something new starts the limit again, an old one does not."""
    gate.spend(2 * CREDIT_WINDOW)
    for shown in range(1, 5):
        clock.advance(STALL - 1)
        gate.acknowledge(shown)
    assert stalls == []
    clock.advance(STALL - 1)
    gate.acknowledge(4)
    clock.advance(1)
    assert stalls == ["stalled"]


def test_dismantled(gate: Gate, clock: Clock) -> None:
    """A gate that is done leaves no timer."""
    gate.pauseProducing()
    gate.dismantle()
    assert not clock.getDelayedCalls()


def test_input_throttle(source: Source) -> None:
    """A guest that does not read stops the viewer."""
    throttle = InputThrottle()
    throttle.turn_to(source)
    throttle.pauseProducing()
    throttle.resumeProducing()
    assert source.told == ["pause", "resume"]


def test_input_throttle_of_another_viewer() -> None:
    """A viewer that comes while the guest does not read is stopped as well; nobody is not."""
    throttle = InputThrottle()
    throttle.pauseProducing()
    source = Source()
    throttle.turn_to(source)
    assert source.told == ["pause"]
    throttle.turn_to(None)
    throttle.resumeProducing()
    assert source.told == ["pause"]
