"""The way to an instance's port: one address after the other, in time, or a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface.verify import verifyObject

from consoled.errors import BackendTimeout, BackendUnreachable, Unavailable
from consoled.forwarding.agent import AgentEndpoints
from consoled.forwarding.idle import IdleWatch
from consoled.forwarding.way import Dialler, Reached, quiet
from consoled.model import Instance, InstanceState
from consoled.reaching.behalf import NOBODY, Behalf

VM = Instance("2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001", "vm", "demo", "h", InstanceState.RUNNING)


@define(eq=False)
class Roads:
    """Keeps every dial, until a test answers it."""

    dials: list[tuple[str, int, Deferred[Any]]] = field(factory=list)
    cancelled: int = 0

    def endpoint(self, instance: Instance, host: str, port: int, behalf: Behalf = NOBODY) -> Any:
        """An endpoint of that place."""
        assert instance is VM
        return Road(self, host, port)


@define(eq=False)
class Road:
    """An endpoint."""

    roads: Roads
    host: str
    port: int

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Waits."""

        def cancel(_: object) -> None:
            self.roads.cancelled += 1

        dial: Deferred[Any] = Deferred(cancel)
        self.roads.dials.append((self.host, self.port, dial))
        return dial


class World:
    """A dial under way to two addresses."""

    def __init__(self) -> None:
        self.clock, self.roads = Clock(), Roads()
        self.outcome: Any = None
        dialler = Dialler(self.roads, self.clock, 10.0)
        self.dial = Deferred.fromCoroutine(
            dialler.dial(VM, ("10.0.0.5", "fd00::5"), 80, quiet(Protocol()))
        )
        self.dial.addBoth(self._ended)

    def _ended(self, outcome: Any) -> None:
        self.outcome = outcome

    def error(self) -> Any:
        """What it failed with."""
        assert isinstance(self.outcome, Failure)
        return self.outcome.value


def test_first_address_that_answers_is_taken() -> None:
    """A refusal of one leads to the next."""
    world = World()
    world.roads.dials[0][2].errback(Failure(Refused()))
    protocol = Protocol()
    world.roads.dials[1][2].callback(protocol)
    assert [dial[:2] for dial in world.roads.dials] == [("10.0.0.5", 80), ("fd00::5", 80)]
    assert world.outcome == Reached(protocol, "fd00::5")


def test_time_is_shared_by_the_addresses() -> None:
    """Half for the first of two, and no more than all of it in all."""
    world = World()
    world.clock.advance(5.0)
    assert len(world.roads.dials) == 2
    world.clock.advance(5.0)
    assert type(world.error()) is BackendTimeout
    assert world.roads.cancelled == 2


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (Refused(), BackendUnreachable, "does a service listen"),
        (OSError("no route"), BackendUnreachable, "cannot be reached"),
        (BackendUnreachable("The proxy node x is away."), BackendUnreachable, "proxy node x"),
        (Unavailable("The database is away."), Unavailable, "database"),
    ],
)
def test_failure_is_a_sentence(cause: Exception, kind: type[Exception], words: str) -> None:
    """Of consoled's own where there is one; the cause is for the log."""
    world = World()
    for number in range(2):
        world.roads.dials[number][2].errback(Failure(cause))
    assert type(world.error()) is kind
    assert words in str(world.error())
    assert "no route" not in str(world.error())


def test_client_that_goes_ends_the_dial() -> None:
    """No further address is tried."""
    world = World()
    world.dial.cancel()
    assert type(world.error()) is CancelledError
    assert (len(world.roads.dials), world.roads.cancelled) == (1, 1)


def test_idle_is_told_once_and_counts_from_the_last_movement() -> None:
    """A movement puts it off; 0 seconds is without end."""
    clock = Clock()
    told: list[float] = []
    watch = IdleWatch(clock, 10.0, lambda: told.append(clock.seconds()))
    watch.start()
    clock.advance(6.0)
    watch.touch()
    clock.advance(6.0)
    assert told == []
    clock.advance(4.0)
    assert told == [16.0]
    endless = IdleWatch(clock, 0.0, lambda: told.append(0.0))
    endless.start()
    assert clock.getDelayedCalls() == []
    endless.stop()


def test_agents_go_where_they_are_led() -> None:
    """An Agent's endpoints are those of the dial; https wraps them, other schemes are refused."""
    seen: list[tuple[str, int]] = []

    def dial(host: str, port: int) -> Any:
        seen.append((host, port))
        return Road(Roads(), host, port)

    endpoints = AgentEndpoints(dial)
    assert verifyObject(IAgentEndpointFactory, endpoints)
    plain = endpoints.endpointForURI(URI.fromBytes(b"http://[fd00::5]:8080/x"))
    assert isinstance(plain, Road)
    assert not isinstance(endpoints.endpointForURI(URI.fromBytes(b"https://web.test/")), Road)
    assert seen == [("fd00::5", 8080), ("web.test", 443)]
    with pytest.raises(ValueError, match="not spoken"):
        endpoints.endpointForURI(URI.fromBytes(b"ftp://web.test/"))
