"""Which connection of a server carries a stream, and when another one is made."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from ssh_pair import HOST_KEY, Pair, known
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from consoled.transports.ssh.carrier import Carrier, ChannelRefused
from consoled.transports.ssh.channel import DirectStream, Stream
from consoled.transports.ssh.errors import NodeFailed, NoForwarding, TargetFailed
from consoled.transports.ssh.hop import Hop
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.values import Login, NoKeys, ProxyNode

NODE = ProxyNode("gate", 22, Login("joe", NoKeys(), known(HOST_KEY)), name="the gate")


class Session(DirectStream):
    """A stream that counts as a session."""

    is_session = True


class FakeLink:
    """What a carrier's end is told."""

    def __init__(self) -> None:
        self.node = NODE
        self.ended: list[Any] = []

    def end(self, error: Any) -> None:
        """Noted."""
        self.ended.append(error)


class FakeCarrier(Carrier):
    """Opens as many sessions as it is told to.

    :ivar allowed: sessions that the server allows.
    """

    def __init__(self, clock: Clock, most: int, allowed: int) -> None:
        link: Any = FakeLink()
        connection: Any = None
        super().__init__(link, connection, clock, most)
        self.allowed, self.agreed = allowed, 0

    @property
    def open_sessions(self) -> int:
        """Sessions that were agreed to."""
        return self.agreed

    async def open(self, stream: Stream, deadline: float) -> None:
        """Agreed to, or not."""
        if stream.is_session and self.agreed >= self.allowed:
            self.hop.freed(self, stream)
            raise ChannelRefused(2, b"open failed")
        self.agreed += stream.is_session

    hop: Hop


class World:
    """A hop whose dials end when the test says so."""

    def __init__(self, allowed: int = 99, **limits: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.limits = PoolLimits(**limits)
        self.allowed = allowed
        self.dials: list[Deferred[Carrier]] = []
        self.cancelled: list[Any] = []
        self.hop = Hop((NODE,), self.clock, self.limits, self._dial)
        self.opened: list[Any] = []

    def _dial(self, route: Any, deadline: float) -> Deferred[Carrier]:
        self.dials.append(Deferred(self.cancelled.append))
        return self.dials[-1]

    def open(self, kind: type[DirectStream] = DirectStream) -> Deferred[Stream]:
        """Somebody wants a stream."""
        opening = Deferred.fromCoroutine(
            self.hop.open(lambda: kind("10.0.0.5", 23), self.clock.seconds() + 10)
        )
        opening.addBoth(self.opened.append)
        return opening

    def connect(self) -> FakeCarrier:
        """The oldest dial has a connection."""
        carrier = FakeCarrier(self.clock, self.limits.channels, self.allowed)
        carrier.hop = self.hop
        self.dials.pop(0).callback(carrier)
        return carrier


def test_the_first_streams_share_one_dial() -> None:
    """Ten at the same time are one connection."""
    world = World()
    for _ in range(10):
        world.open()
    assert len(world.dials) == 1
    carrier = world.connect()
    assert len(world.opened) == carrier.channels == world.hop.channels == 10


def test_a_full_connection_is_followed_by_another() -> None:
    """Of two channels each, five streams take three connections, made at the same time."""
    world = World(channels=2)
    for _ in range(5):
        world.open()
    assert len(world.dials) == 3
    for _ in range(3):
        world.connect()
    assert len(world.opened) == 5
    assert [carrier.channels for carrier in world.hop.carriers] == [2, 2, 1]
    world.hop.freed(world.hop.carriers[0], world.opened[0])
    world.open()
    assert not world.dials
    assert [carrier.channels for carrier in world.hop.carriers] == [2, 2, 1]


def test_room_that_comes_free_is_given_on() -> None:
    """A stream that ends while others wait for a dial makes way for the first of them."""
    world = World(channels=1)
    world.open()
    carrier = world.connect()
    world.open()
    assert len(world.opened) == 1
    world.hop.freed(carrier, world.opened[0])
    assert len(world.opened) == 2
    spare = world.connect()
    assert not spare.channels
    world.clock.advance(world.limits.linger)
    assert spare.link.ended
    assert world.hop.carriers == [carrier]


def test_a_dial_that_fails_is_told_to_all_who_wait() -> None:
    """And the server is remembered as dead, until it is well or the time is over."""
    world = World(dead_for=30.0)
    for _ in range(3):
        world.open()
    error = NodeFailed("The SSH server the gate refused the connection.")
    world.dials.pop().errback(error)
    assert [failure.value for failure in world.opened] == [error] * 3
    assert world.hop.is_dead
    world.clock.advance(31)
    assert not world.hop.is_dead
    assert not world.hop.in_use
    world.open()
    world.dials.pop().errback(error)
    world.open()
    world.connect()
    assert not world.hop.is_dead


def test_nobody_waits_any_more() -> None:
    """The last one who gives up cancels the dial; one before that does not."""
    world = World()
    first, second = world.open(), world.open()
    first.cancel()
    assert not world.cancelled
    second.cancel()
    assert len(world.cancelled) == 1
    assert all(failure.check(CancelledError) for failure in world.opened)
    assert not world.hop.in_use
    world.open()
    assert len(world.dials) == 2


def test_sessions_that_the_server_limits() -> None:
    """A refused session goes on another connection, and the limit is known from then on."""
    world = World(allowed=2)
    for _ in range(3):
        world.open(Session)
    first = world.connect()
    assert len(world.opened) == 2
    assert first.most_sessions == 2
    world.connect()
    assert len(world.opened) == 3
    # Streams that are not sessions have room where they had.
    world.open()
    assert first.channels == 3
    for _ in range(3):
        world.open(Session)
    assert len(world.dials) == 1


def test_a_server_without_sessions() -> None:
    """Where not even the first one is opened, no further connection is tried."""
    world = World(allowed=0)
    world.open(Session)
    world.connect()
    assert world.opened[0].check(NoForwarding)
    assert not world.dials


def test_a_connection_that_rests_and_is_used_again() -> None:
    """It lingers after its last stream, and is closed when nothing comes."""
    world = World(linger=60.0)
    world.open()
    carrier = world.connect()
    world.hop.freed(carrier, world.opened[0])
    world.clock.advance(59)
    world.open()
    world.clock.advance(120)
    assert not carrier.link.ended
    world.hop.freed(carrier, world.opened[1])
    world.clock.advance(60)
    assert carrier.link.ended
    assert not world.hop.in_use


def test_stopping() -> None:
    """Who waits is told, dials are cancelled, connections are closed."""
    world = World(channels=1)
    world.open()
    carrier = world.connect()
    world.open()
    world.hop.close(NodeFailed("the end"))
    assert carrier.link.ended
    assert world.cancelled
    assert str(world.opened[1].value) == "the end"


def carrier_of(pair: Pair) -> Carrier:
    """A carrier of a real connection."""
    return Carrier(pair.link, pair.connection, pair.clock, 10)


def test_no_answer_of_the_target() -> None:
    """While the server itself answers, it is the target that does not."""
    pair = Pair()
    pair.far.opens = False
    failed: list[Failure] = []
    opening = carrier_of(pair).open(DirectStream("10.0.0.5", 23), pair.clock.seconds() + 10)
    Deferred.fromCoroutine(opening).addErrback(failed.append)
    for _ in range(2):
        pair.clock.advance(5)
        pair.run()
    assert failed[0].check(TargetFailed)
    assert not pair.lost


def test_no_answer_of_the_server() -> None:
    """A server that does not even answer a question is not asked for further streams."""
    pair = Pair()
    pair.far.opens = pair.far.answers = False
    carrier = carrier_of(pair)
    failed: list[Failure] = []
    opening = carrier.open(DirectStream("10.0.0.5", 23), pair.clock.seconds() + 10)
    Deferred.fromCoroutine(opening).addErrback(failed.append)
    for _ in range(2):
        pair.clock.advance(5)
        pair.run()
    assert failed[0].check(NodeFailed)
    assert not carrier.has_room(False)


def test_a_channel_that_is_refused() -> None:
    """The server's code and words are passed on, and the place is free again."""
    pair = Pair()
    pair.far.getChannel = lambda *_: (_ for _ in ()).throw(RuntimeError("no"))
    failed: list[Failure] = []
    opening = carrier_of(pair).open(DirectStream("10.0.0.5", 23), pair.clock.seconds() + 10)
    Deferred.fromCoroutine(opening).addErrback(failed.append)
    pair.run()
    error: Any = failed[0].value
    assert isinstance(error, ChannelRefused)
    assert (error.code, error.words) == (2, b"unknown failure")
    assert len(pair.closed) == 1


@pytest.mark.parametrize("module", ["pool", "scan", "values"])
def test_the_library_is_alone(module: str) -> None:
    """It installs no reactor when it is imported, and values need no Twisted at all."""
    code = (
        f"import sys, consoled.transports.ssh.{module}\n"
        "assert 'twisted.internet.reactor' not in sys.modules\n"
        f"assert {module!r} != 'values' or 'twisted' not in sys.modules\n"
        "assert not {'sqlalchemy', 'autobahn', 'libvirt'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
