"""Whether a replica should be sent work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fakes import result
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from consoled.db.engine import make_engine
from consoled.errors import Unavailable
from consoled.metrics.health import LAG_LIMIT, PATIENCE, Readiness, ping


class World:
    """Everything that is asked, as it is set.

    :ivar answers: the database's answer to each question, or None where it says nothing.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.draining = False
        self.registered = True
        self.full = False
        self.lag = 0.0
        self.answer: Callable[[], Deferred[Any]] = lambda: succeed(None)
        self.asked: list[Deferred[Any]] = []
        self.readiness = Readiness(
            database=self,
            clock=self.clock,
            draining=lambda: self.draining,
            registered=lambda: self.registered,
            full=lambda: self.full,
            lag=lambda: self.lag,
        )

    def read(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """One question to the database."""
        assert fn is ping
        self.asked.append(self.answer())
        return self.asked[-1]

    def run(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Nothing is written."""
        raise AssertionError

    def look(self) -> Deferred[list[str]]:
        """One look."""
        return Deferred.fromCoroutine(self.readiness.obstacles())


def test_ready() -> None:
    """With everything well there is no obstacle."""
    assert result(World().look()) == []


def test_every_obstacle_is_told() -> None:
    """Each thing that keeps a replica from work is named, all at once."""
    world = World()
    world.answer = lambda: fail(Unavailable("The database is away."))
    world.full, world.lag = True, LAG_LIMIT + 0.5
    assert result(world.look()) == [
        "The database does not answer.",
        "All sessions are taken.",
        "The event loop was late by 1.5 s.",
    ]


def test_not_registered() -> None:
    """A replica without its standing in the cell can open nothing."""
    world = World()
    world.registered = False
    assert result(world.look()) == ["This replica is not registered in its cell."]


def test_draining() -> None:
    """A daemon that stops says so, and asks nobody."""
    world = World()
    world.draining, world.full = True, True
    assert result(world.look()) == ["The daemon is stopping."]
    assert world.asked == []


def test_a_database_that_hangs() -> None:
    """The database's time is bounded, and it is asked once, however many want to know."""
    world = World()
    world.answer = Deferred
    one, other = world.look(), world.look()
    world.clock.advance(PATIENCE)
    late = world.look()
    assert len(world.asked) == 1
    assert result(one) == result(other) == ["The database does not answer."]
    world.asked[0].callback(None)
    assert result(late) == []
    # The next one asks again.
    world.answer = lambda: succeed(None)
    assert result(world.look()) == []
    assert len(world.asked) == 2


def test_who_goes_away() -> None:
    """One who does not wait for the answer changes nothing for the others."""
    world = World()
    world.answer = Deferred
    one, other = world.look(), world.look()
    one.addErrback(lambda failure: failure.trap(CancelledError))
    one.cancel()
    world.asked[0].callback(None)
    assert result(other) == []


def test_an_unforeseen_error_is_logged() -> None:
    """What is no outage is in the log, and counts as no answer."""
    world = World()
    world.answer = lambda: fail(ZeroDivisionError())
    with capturedLogs() as events:
        assert result(world.look()) == ["The database does not answer."]
    [event] = [e for e in events if "log_failure" in e]
    assert event["log_failure"].check(ZeroDivisionError)


def test_ping_asks_a_real_database() -> None:
    """The question is one that a database answers."""
    engine = make_engine("sqlite://")
    with engine.connect() as connection:
        ping(connection)
    engine.dispose()
