"""consoled.compute.rounds: events become looks, soon, in order, and until they succeed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cells import outcome
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from consoled.compute.backoff import Backoff
from consoled.compute.rounds import INTERVAL, SETTLE, Rounds
from consoled.errors import Unavailable


class World:
    """Rounds whose looks are written down and answered as the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seen: list[str | None] = []
        self.answers: list[Deferred[object]] = []
        self.rounds = Rounds([self._look], self.clock, Backoff(2.0, 60.0, lambda: 1.0))
        self.rounds.start()

    def _look(self, uuid: str | None) -> Deferred[object]:
        self.seen.append(uuid)
        return self.answers.pop(0) if self.answers else succeed(None)

    def seen_after(self, seconds: float) -> list[str | None]:
        """The looks of that time."""
        self.seen.clear()
        self.clock.advance(seconds)
        return list(self.seen)


@pytest.fixture
def world() -> World:
    """Rounds that have begun."""
    return World()


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What is logged in the test."""
    with capturedLogs() as captured:
        yield captured


def test_events_are_looked_at_together(world: World) -> None:
    """A moment after the first of them, each domain once."""
    world.rounds.changed("a")
    world.clock.advance(SETTLE / 2)
    world.rounds.changed("b")
    world.rounds.changed("a")
    assert world.seen == []
    assert world.seen_after(SETTLE / 2) == ["a", "b"]
    assert world.seen_after(INTERVAL - 1) == []


def test_everything_is_looked_at_at_once(world: World) -> None:
    """After a connection came back, without waiting for events to settle."""
    world.rounds.changed("a")
    world.rounds.everything()
    assert world.seen_after(0) == [None]
    assert world.seen_after(SETTLE) == []


def test_without_events_everything_is_looked_at_now_and_then(world: World) -> None:
    """What no event told of is found all the same."""
    assert world.seen_after(INTERVAL - 0.1) == []
    assert world.seen_after(0.1) == [None]
    assert world.seen_after(INTERVAL) == [None]


def test_an_event_during_a_look_gives_another_one(world: World) -> None:
    """The look may have come too early for it; two looks never run at once."""
    slow: Deferred[object] = Deferred()
    world.answers.append(slow)
    world.rounds.changed("a")
    assert world.seen_after(SETTLE) == ["a"]
    world.rounds.changed("a")
    world.rounds.everything()
    assert world.seen_after(10) == []
    slow.callback(None)
    assert world.seen_after(SETTLE) == [None]


def test_a_failed_look_is_repeated(world: World, events: list[LogEvent]) -> None:
    """After growing pauses, with what is left of the round; the log is left to who is away."""
    world.answers = [succeed(None), fail(Unavailable("away")), fail(Unavailable("away"))]
    for uuid in ("a", "b", "c"):
        world.rounds.changed(uuid)
    assert world.seen_after(SETTLE) == ["a", "b"]
    assert world.seen_after(1.9) == []
    assert world.seen_after(0.2) == ["b"]
    assert world.seen_after(3.8) == []
    assert world.seen_after(0.4) == ["b", "c"]
    assert events == []


def test_an_error_inside_does_not_end_the_rounds(world: World, events: list[LogEvent]) -> None:
    """It is in the log, and the look is repeated."""
    world.answers = [fail(ZeroDivisionError())]
    world.rounds.changed("a")
    assert world.seen_after(SETTLE) == ["a"]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    assert world.seen_after(2) == ["a"]


def test_the_end(world: World) -> None:
    """A look that is under way is given up, and nothing is left behind."""
    slow: Deferred[object] = Deferred()
    world.answers.append(slow)
    world.rounds.everything()
    world.clock.advance(0)
    outcome(world.rounds.stop())
    assert slow.called
    world.rounds.changed("a")
    assert world.seen_after(2 * INTERVAL) == []
    assert world.clock.getDelayedCalls() == []
