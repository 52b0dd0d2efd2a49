"""Which way to an instance is tried when, and what its user hears where none leads there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field
from fakes import WEB_1, make_instance
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.errors import BackendUnreachable, Unavailable
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.reaching.reach import MOST_TRIES, Reach, spread
from consoled.transports.over_ssh import ShellTransport, SSHTransport
from consoled.transports.ssh.errors import NodeFailed, TargetRefused
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.values import Login, NoKeys, ProxyNode, Route, Terminal

INSTANCE = make_instance(WEB_1, "web-1")
FACTORY = Factory.forProtocol(Protocol)
LOGIN = Login("jump", NoKeys(), HostKeys.parse(""))


def node(name: str) -> ProxyNode:
    """A proxy node of that name."""
    return ProxyNode(f"{name}.example.org", 22, LOGIN, name=name)


ONE, TWO, THREE = node("one"), node("two"), node("three")
INNER = ProxyNode("198.51.100.5", 22, LOGIN, name="web-1")
OTHER_ADDRESS = ProxyNode("198.51.100.6", 22, LOGIN, name="web-1 b")


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Dial:
    """One dial, answered by hand.

    :ivar cancelled: whether it was given up.
    """

    name: str
    log: list[str]
    outcome: Any = None
    answer: Deferred[Any] | None = field(default=None, init=False)
    cancelled: bool = field(default=False, init=False)

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """As was set, or later."""
        self.log.append(self.name)
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        if self.outcome is not None:
            return succeed(self.outcome)
        self.answer = Deferred(self._cancel)
        return self.answer

    def _cancel(self, answer: Deferred[Any]) -> None:
        self.cancelled = True
        answer.errback(ConnectingCancelledError(None))


class World:
    """Routes, a pool and direct dials, all of which do as they are told.

    :ivar log: what was dialled, in order.
    :ivar dials: by name: what happens to the dial.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.dials: dict[str, Dial] = {}
        self.outcomes: dict[str, Any] = {}
        self.ways: Sequence[Route] = [()]
        self.host_ways: Sequence[Route] = [()]
        self.targets: Sequence[ProxyNode] = ()
        self.error: Exception | None = None
        self.dead_ones: set[ProxyNode] = set()
        self.channels: dict[ProxyNode, int] = {}
        self.clock = Clock()
        self.reach = Reach(self, self, self.direct, self.clock, 10.0)

    def to(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """As it was set."""
        return succeed(self.ways) if self.error is None else fail(self.error)

    def to_host(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """As it was set."""
        return succeed(self.host_ways) if self.error is None else fail(self.error)

    def shells(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[ProxyNode]]:
        """As it was set."""
        return succeed(self.targets)

    def endpoint(self, route: Route, host: str, port: int) -> IStreamClientEndpoint:
        """A dial over the route."""
        return self._dial("+".join(one.name for one in route) + f">{host}:{port}")

    def shell(self, route: Route, target: ProxyNode, terminal: Terminal) -> IStreamClientEndpoint:
        """A shell over the route."""
        assert (terminal.columns, terminal.rows, terminal.term) == (80, 24, "xterm-256color")
        return self._dial("+".join(one.name for one in route) + f"$ {target.host}")

    def is_dead(self, route: Route) -> bool:
        """As it was set."""
        return bool(self.dead_ones & set(route))

    def load(self, route: Route) -> int:
        """As it was set."""
        return self.channels.get(route[-1], 0) if route else 0

    def direct(self, host: str, port: int) -> IStreamClientEndpoint:
        """A direct dial."""
        return self._dial(f"{host}:{port}")

    def _dial(self, name: str) -> IStreamClientEndpoint:
        dial = self.dials[name] = Dial(name, self.log, self.outcomes.get(name))
        endpoint: Any = dial
        return endpoint


@pytest.fixture
def world() -> World:
    """A world."""
    return World()


def outcome(connecting: Deferred[Any]) -> Any:
    """What the dial has come to; None where it still goes on."""
    found: list[Any] = []
    connecting.addBoth(found.append)
    return found[0] if found else None


def error(connecting: Deferred[Any]) -> BaseException:
    """What the dial has failed with."""
    failure = outcome(connecting)
    assert isinstance(failure, Failure), failure
    assert failure.value is not None
    return failure.value


def test_directly(world: World) -> None:
    """Without proxy nodes a serial port is dialled as it is, and its error is the dial's own."""
    world.outcomes["192.0.2.1:10000"] = ConnectionRefusedError()
    endpoint = SSHTransport(world.reach).endpoint(INSTANCE, Console(0, "192.0.2.1", 10000))
    assert isinstance(error(endpoint.connect(FACTORY)), ConnectionRefusedError)
    assert world.log == ["192.0.2.1:10000"]


def test_a_console_without_a_port(world: World) -> None:
    """There is nothing to dial for a console that has no port."""
    with pytest.raises(BackendUnreachable):
        SSHTransport(world.reach).endpoint(INSTANCE, Console(0, "192.0.2.1", None))


def test_over_the_hosts_proxy(world: World) -> None:
    """A serial port is dialled over the nodes that lead to its compute host."""
    world.host_ways, world.ways = [(ONE, TWO)], [(THREE,)]
    world.outcomes["one+two>192.0.2.1:10000"] = "connected"
    endpoint = SSHTransport(world.reach).endpoint(INSTANCE, Console(0, "192.0.2.1", 10000))
    assert outcome(endpoint.connect(FACTORY)) == "connected"


def test_to_the_instance(world: World) -> None:
    """An address of the instance's own is dialled over the nodes that lead there."""
    world.host_ways, world.ways = [(ONE,)], [(THREE,)]
    world.outcomes["three>10.0.0.5:80"] = "connected"
    assert outcome(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY)) == "connected"


def test_the_next_node(world: World) -> None:
    """A node that fails gives way to the next one, and the user hears nothing of it."""
    world.ways = [(ONE,), (TWO,)]
    world.outcomes["one>10.0.0.5:80"] = NodeFailed("one is away")
    world.outcomes["two>10.0.0.5:80"] = "connected"
    assert outcome(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY)) == "connected"
    assert world.log == ["one>10.0.0.5:80", "two>10.0.0.5:80"]


def test_all_nodes_fail(world: World) -> None:
    """Where no way leads there, the user hears of the last one."""
    world.ways = [(ONE,), (TWO,)]
    world.outcomes["one>10.0.0.5:80"] = NodeFailed("one is away")
    world.outcomes["two>10.0.0.5:80"] = NodeFailed("two is away")
    told = error(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY))
    assert str(told) == "two is away"


def test_the_target_refuses(world: World) -> None:
    """What refuses behind a node that is well is not asked for again over others."""
    world.ways = [(ONE,), (TWO,)]
    world.outcomes["one>10.0.0.5:80"] = TargetRefused("10.0.0.5:80 refused")
    told = error(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY))
    assert str(told) == "10.0.0.5:80 refused"
    assert world.log == ["one>10.0.0.5:80"]


def test_a_silent_node(world: World) -> None:
    """A node that does not answer leaves time for the next one; all of it is within the limit."""
    world.ways = [(ONE,), (TWO,)]
    connecting = world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY)
    assert world.log == ["one>10.0.0.5:80"]
    world.clock.advance(4.5)
    assert world.dials["one>10.0.0.5:80"].cancelled
    assert world.log == ["one>10.0.0.5:80", "two>10.0.0.5:80"]
    world.clock.advance(4.5)
    assert world.dials["two>10.0.0.5:80"].cancelled
    told = error(connecting)
    assert isinstance(told, BackendUnreachable)
    assert str(told) == "No answer from 10.0.0.5:80 over two within 4.5 s."
    assert not world.clock.getDelayedCalls()


def test_the_next_one_is_not_late(world: World) -> None:
    """The connection that came in the end is the one that counts."""
    world.ways = [(ONE,), (TWO,)]
    connecting = world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY)
    world.clock.advance(5)
    answer = world.dials["two>10.0.0.5:80"].answer
    assert answer is not None
    answer.callback("connected")
    assert outcome(connecting) == "connected"
    assert not world.clock.getDelayedCalls()


def test_a_silent_port(world: World) -> None:
    """A direct dial that is not answered in time is given up as any other."""
    connecting = world.reach.endpoint(INSTANCE, "10.0.0.6", 80).connect(FACTORY)
    world.clock.advance(9)
    assert isinstance(error(connecting), TimedOut)


def test_given_up(world: World) -> None:
    """A cancelled dial is given up where it is, and no further way is tried (faults: F10)."""
    world.ways = [(ONE,), (TWO,)]
    connecting = world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY)
    connecting.cancel()
    assert isinstance(error(connecting), CancelledError)
    assert world.dials["one>10.0.0.5:80"].cancelled
    assert world.log == ["one>10.0.0.5:80"]
    assert not world.clock.getDelayedCalls()


def test_nobody_knows_the_way(world: World) -> None:
    """While the database is away, nobody guesses."""
    world.error = Unavailable("the database is away")
    told = error(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY))
    assert isinstance(told, Unavailable)


def test_spread() -> None:
    """Who is well comes before who is dead, who has less to carry before who has more."""
    world = World()
    routes: list[Route] = [(ONE,), (TWO,), (THREE,)]
    assert spread(routes, world) == routes
    world.channels = {ONE: 2, TWO: 1, THREE: 1}
    assert spread(routes, world) == [(TWO,), (THREE,), (ONE,)]
    world.dead_ones = {TWO}
    assert spread(routes, world) == [(THREE,), (ONE,), (TWO,)]
    assert spread([(ONE, TWO), (ONE, THREE)], world) == [(ONE, THREE), (ONE, TWO)]
    assert spread([()], world) == [()]


def test_a_wrong_key_is_not_shown_for_ever(world: World) -> None:
    """However many ways there are, only some are tried."""
    nodes = [node(f"n{number}") for number in range(20)]
    world.ways = [(one,) for one in nodes]
    for one in nodes:
        world.outcomes[f"{one.name}>10.0.0.5:80"] = NodeFailed(f"{one.name} refused the key")
    error(world.reach.endpoint(INSTANCE, "10.0.0.5", 80).connect(FACTORY))
    assert len(world.log) == MOST_TRIES


def test_a_shell(world: World) -> None:
    """A shell is tried at each address of the instance over each way, an address that refuses
    once only."""
    world.ways, world.targets = [(ONE,), (TWO,)], [INNER, OTHER_ADDRESS]
    world.outcomes["one$ 198.51.100.5"] = TargetRefused("198.51.100.5:22 refused")
    world.outcomes["one$ 198.51.100.6"] = NodeFailed("one is away")
    world.outcomes["two$ 198.51.100.6"] = "a shell"
    endpoint = ShellTransport(world.reach).endpoint(INSTANCE, Console(0, WEB_1, 1, "ssh"))
    assert outcome(endpoint.connect(FACTORY)) == "a shell"
    assert world.log == ["one$ 198.51.100.5", "one$ 198.51.100.6", "two$ 198.51.100.6"]


def test_a_shell_directly(world: World) -> None:
    """A shell on an instance that can be reached needs no proxy node."""
    world.targets = [INNER]
    world.outcomes["$ 198.51.100.5"] = "a shell"
    assert outcome(world.reach.shell(INSTANCE, Terminal()).connect(FACTORY)) == "a shell"


def test_nowhere_to_log_in(world: World) -> None:
    """Where the login is gone since the URL was made, the shell does not open."""
    told = error(world.reach.shell(INSTANCE, Terminal()).connect(FACTORY))
    assert isinstance(told, BackendUnreachable)
