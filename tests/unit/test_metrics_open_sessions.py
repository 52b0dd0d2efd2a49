"""The sums over open sessions."""

from __future__ import annotations

from fakes import result
from metric_samples import figures, make_instruments
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.metrics.open_sessions import AT_ONCE, OpenSessions, Reading


class World:
    """Sessions that show what they are told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.readings: dict[str, Reading] = {}
        self.instruments = make_instruments()
        self.sessions = OpenSessions(self.instruments, self.readings.get, self.clock)

    def show(
        self, session_id: str, bytes_in: int, bytes_out: int, buffered: int = 0, paused: float = 0.0
    ) -> None:
        """What that session shows from now on."""
        self.readings[session_id] = Reading(bytes_in, bytes_out, paused, buffered)

    def look(self) -> Deferred[None]:
        """One look."""
        return Deferred.fromCoroutine(self.sessions.look())

    @property
    def relayed(self) -> dict[tuple[str, ...], float]:
        """The counters of the relay."""
        return figures(self.instruments, "relay_bytes_total")


def test_bytes_are_live() -> None:
    """Bytes of an open session count when somebody looks, and once only."""
    world = World()
    world.sessions.opened("s1", "tcp")
    world.show("s1", 10, 1000)
    result(world.look())
    assert world.relayed == {("in",): 10, ("out",): 1000}
    world.show("s1", 15, 4000)
    result(world.look())
    result(world.look())
    assert world.relayed == {("in",): 15, ("out",): 4000}
    assert world.sessions.ended("s1", 16, 4000, 0.0)
    assert world.relayed == {("in",): 16, ("out",): 4000}
    assert not world.sessions.ended("s1", 16, 4000, 0.0)


def test_pauses_are_live() -> None:
    """The time for which a viewer holds up a guest counts while it does, and once."""
    world = World()
    world.sessions.opened("s1", "tcp")
    for paused in (2.0, 3.0):
        world.show("s1", 0, 0, paused=paused)
        result(world.look())
    world.sessions.ended("s1", 0, 0, 3.5)
    assert figures(world.instruments, "relay_paused_seconds_total") == {(): 3.5}


def test_what_waits() -> None:
    """What waits in buffers is the sum over all sessions at the last look."""
    world = World()
    for session_id in ("s1", "s2"):
        world.sessions.opened(session_id, "tcp")
        world.show(session_id, 0, 0, buffered=100)
    result(world.look())
    assert figures(world.instruments, "buffered_bytes") == {(): 200}
    world.sessions.ended("s1", 0, 0, 0.0)
    result(world.look())
    assert figures(world.instruments, "buffered_bytes") == {(): 100}


def test_a_session_that_is_not_there() -> None:
    """A session that cannot be found any more adds nothing and takes nothing away."""
    world = World()
    world.sessions.opened("s1", "tcp")
    world.show("s1", 10, 20)
    result(world.look())
    del world.readings["s1"]
    result(world.look())
    assert world.relayed == {("in",): 10, ("out",): 20}


def test_counters_never_fall() -> None:
    """A session that says less than before does not take anything back."""
    world = World()
    world.sessions.opened("s1", "tcp")
    world.show("s1", 10, 20)
    result(world.look())
    world.sessions.ended("s1", 0, 0, 0.0)
    assert world.relayed == {("in",): 10, ("out",): 20}


def test_many_sessions_take_turns() -> None:
    """A long list is gone through piece by piece; one that ends meanwhile counts once."""
    world = World()
    for number in range(2 * AT_ONCE + 1):
        world.sessions.opened(str(number), "tcp")
        world.show(str(number), 1, 0)
    looking = world.look()
    assert not looking.called
    assert world.relayed == {("in",): AT_ONCE}
    world.sessions.ended(str(2 * AT_ONCE), 1, 0, 0.0)
    world.clock.advance(0)
    world.clock.advance(0)
    result(looking)
    assert world.relayed == {("in",): 2 * AT_ONCE + 1}


def test_two_looks_at_once() -> None:
    """Looks that overlap count nothing twice."""
    world = World()
    for number in range(AT_ONCE + 1):
        world.sessions.opened(str(number), "tcp")
        world.show(str(number), 1, 0)
    one, other = world.look(), world.look()
    world.clock.advance(0)
    result(one)
    result(other)
    assert world.relayed == {("in",): AT_ONCE + 1}
