"""consoled.compute.libvirt.watcher: the connection for events comes back, and says so once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import pytest
from cells import outcome
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from consoled.compute.backoff import Backoff
from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.watcher import PATIENCE, STOP_PATIENCE, DomainWatcher
from consoled.compute.rounds import SETTLE, Rounds
from consoled.workers import InlineWorker

P = ParamSpec("P")
T = TypeVar("T")

URI = "qemu:///system"


class Reactor(Clock):
    """Time by hand; calls from other threads come at once."""

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        """At once."""
        call(*arguments)


class SlowWorker:
    """A worker whose thread may hang.

    :ivar stuck: what hangs, to be let go.
    """

    def __init__(self) -> None:
        self.hangs = self.ended = False
        self.stuck: list[Callable[[], object]] = []

    def start(self) -> None:
        """Nothing to start."""

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """At once, or when it is let go."""
        result: Deferred[T] = Deferred()

        def job() -> None:
            InlineWorker().run(fn, *args, **kwargs).addBoth(result.callback)

        if self.hangs:
            self.stuck.append(job)
        else:
            job()
        return result

    def stop(self) -> None:
        """The thread has ended."""
        self.ended = True


class Source:
    """A hypervisor's events, as the test makes them.

    :ivar cause: why it cannot be connected to; None where it can.
    :ivar breaks: whether a connection is lost before it is known.
    """

    def __init__(self) -> None:
        self.cause: str | None = None
        self.breaks = False
        self.opened = self.closed = 0
        self.changed: Callable[[str], None]
        self.lost: Callable[[str], None]

    def open(self, changed: Callable[[str], None], lost: Callable[[str], None]) -> None:
        """Connects."""
        if self.cause is not None:
            raise ClientError(self.cause)
        self.opened += 1
        self.changed, self.lost = changed, lost
        if self.breaks:
            lost("the connection broke")
            lost("the connection broke")

    def close(self) -> None:
        """Disconnects."""
        self.closed += 1


class World:
    """A watcher with everything around it."""

    def __init__(self) -> None:
        self.reactor, self.source, self.worker = Reactor(), Source(), SlowWorker()
        self.looks: list[str | None] = []
        self.watcher = DomainWatcher(
            name="libvirt",
            uri=URI,
            source=self.source,
            worker=self.worker,
            rounds=Rounds([self._look], self.reactor),
            reactor=self.reactor,
            backoff=Backoff(1.0, 30.0, lambda: 1.0),
        )

    def _look(self, uuid: str | None) -> Deferred[None]:
        self.looks.append(uuid)
        return succeed(None)

    def stop(self) -> None:
        """Ends it, and sees that nothing is left."""
        outcome(Deferred.fromCoroutine(self.watcher.stop()))
        assert self.reactor.getDelayedCalls() == []
        assert self.worker.ended


@pytest.fixture
def world() -> World:
    """A watcher that has not begun."""
    return World()


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What is logged in the test."""
    with capturedLogs() as captured:
        yield captured


def told(events: list[LogEvent]) -> list[str | None]:
    """The lines for operators."""
    return [formatEvent(event) for event in events]


CONNECTED = f"libvirt at {URI} tells what happens to its domains"


def lost(cause: str) -> str:
    """The line of a loss."""
    return (
        f"libvirt at {URI} does not tell what happens to its domains: {cause}; consoled tries "
        "again, and what is open goes on"
    )


def test_first_everything_then_what_changes(world: World, events: list[LogEvent]) -> None:
    """A connection begins with a look at everything; an event gives a look at its domain."""
    world.watcher.start()
    world.reactor.advance(0)
    assert world.looks == [None]
    world.source.changed("a")
    world.source.changed("a")
    world.reactor.advance(SETTLE)
    assert world.looks == [None, "a"]
    world.stop()
    assert world.source.closed == 1
    assert told(events) == [CONNECTED]


def test_a_lost_connection_comes_back(world: World, events: list[LogEvent]) -> None:
    """With growing pauses, one line for the loss and one for the return, and a look."""
    world.watcher.start()
    world.reactor.advance(0)
    world.source.cause = "Connection refused."
    world.source.lost("it has closed the connection")
    assert world.source.closed == 1
    for pause in (1, 2, 4, 8, 16, 30, 30):
        world.reactor.advance(pause)
    assert world.looks == [None]
    world.source.cause = None
    world.reactor.advance(30)
    world.reactor.advance(0)
    assert world.source.opened == 2
    assert world.looks == [None, None]
    assert told(events) == [
        CONNECTED,
        lost("it has closed the connection"),
        f"{CONNECTED} again",
    ]
    assert [event.get("hypervisor") for event in events] == ["libvirt"] * 3
    # The pauses begin anew.
    world.source.lost("the connection broke")
    world.reactor.advance(1)
    assert world.source.opened == 3
    world.stop()


def test_away_at_the_start(world: World, events: list[LogEvent]) -> None:
    """The daemon starts all the same, and is told why it knows nothing."""
    world.source.cause = "Failed to connect socket"
    world.watcher.start()
    world.reactor.advance(1)
    assert told(events) == [lost("Failed to connect socket")]
    world.stop()


def test_a_hypervisor_that_hangs(world: World, events: list[LogEvent]) -> None:
    """It counts as away after a while; its answer, when it comes, is taken."""
    world.worker.hangs = True
    world.watcher.start()
    world.reactor.advance(PATIENCE)
    assert told(events) == [lost("no answer within 10 s")]
    world.reactor.advance(1000)
    assert len(world.worker.stuck) == 1
    world.worker.hangs = False
    world.worker.stuck.pop()()
    world.reactor.advance(0)
    assert told(events)[1:] == [f"{CONNECTED} again"]
    assert world.looks[-1] is None
    world.stop()


def test_the_end_waits_for_no_hypervisor_that_hangs(world: World) -> None:
    """A call that is stuck is left behind."""
    world.worker.hangs = True
    world.watcher.start()
    ended = Deferred.fromCoroutine(world.watcher.stop())
    assert not ended.called
    world.reactor.advance(STOP_PATIENCE)
    outcome(ended)
    assert world.worker.ended
    assert world.reactor.getDelayedCalls() == []


def test_lost_while_it_connects(world: World) -> None:
    """What comes before the connection is there counts too, and twice is once."""
    world.source.breaks = True
    world.watcher.start()
    assert (world.source.opened, world.source.closed) == (1, 1)
    world.source.breaks = False
    world.reactor.advance(1)
    assert (world.source.opened, world.source.closed) == (2, 1)
    world.stop()
