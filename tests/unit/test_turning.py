"""The lean turn of the reactor: it reads what is there, and ends what has failed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.http.turning import install


class Peer(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost: Failure | None = None
        self.on_data: Callable[[], None] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """Bytes."""
        self.heard += data
        self.on_data()

    def connectionLost(self, reason: Any = None) -> None:
        """The end."""
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfPeer(Peer):
    """One that may still write when nothing more comes."""

    half = False

    def readConnectionLost(self) -> None:
        """Nothing more comes."""
        self.half = True

    def writeConnectionLost(self) -> None:
        """Nothing more goes."""


class Room:
    """A reactor of its own, turned by hand."""

    def __init__(self) -> None:
        self.reactor = EPollReactor()
        install(self.reactor)
        self.reactor.startRunning(installSignalHandlers=False)

    def turn(self, until: Callable[[], object]) -> None:
        """Turns until that holds; each turn waits for an event."""
        for _ in range(100):
            self.reactor.runUntilCurrent()
            if until():
                return
            timeout = self.reactor.timeout()
            self.reactor.doIteration(1 if timeout is None else timeout)
        raise AssertionError("nothing has happened")

    def accepted(self, peer: Peer) -> socket.socket:
        """The other end of a connection that ``peer`` has accepted."""
        factory = Factory.forProtocol(lambda: peer)
        factory.noisy = False
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        other = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=60)
        self.turn(lambda: peer.transport)
        port.stopListening()
        return other

    def close(self) -> None:
        """Ends its connections and descriptors."""
        for selectable in self.reactor.removeAll():
            if selectable not in self.reactor._internalReaders:
                selectable.connectionLost(Failure(ConnectionAbortedError()))
        for reader in list(self.reactor._internalReaders):
            reader.connectionLost(None)
        self.reactor._poller.close()


@pytest.fixture
def room() -> Iterator[Room]:
    """A room."""
    found = Room()
    yield found
    found.close()


def test_what_comes_is_read(room: Room) -> None:
    """Bytes reach the protocol, the answer goes the ordinary way, and an end is an end."""
    peer = Peer()
    with room.accepted(peer) as other:
        other.sendall(b"hello")
        room.turn(lambda: peer.heard == b"hello")
        assert peer.transport is not None
        peer.transport.write(b"x" * 1_000_000)
        got = 0
        while got < 1_000_000:
            room.reactor.doIteration(0)
            got += len(other.recv(1 << 16))
        other.shutdown(socket.SHUT_WR)
        room.turn(lambda: peer.lost)


def test_a_half_close_is_told(room: Room) -> None:
    """Who can be closed by halves is told of one half only."""
    peer = HalfPeer()
    with room.accepted(peer) as other:
        other.shutdown(socket.SHUT_WR)
        room.turn(lambda: peer.half)
        assert peer.lost is None


def test_a_failure_ends_its_own_connection_only(room: Room) -> None:
    """What a protocol raises is logged and closes its connection; the others go on."""
    peer, beside = Peer(), Peer()

    def fail() -> None:
        raise LookupError("spilled")

    peer.on_data = fail
    with room.accepted(peer) as other, room.accepted(beside) as another:
        with capturedLogs() as logs:
            other.sendall(b"a")
            room.turn(lambda: peer.lost)
        assert [event["log_failure"].type for event in logs if "log_failure" in event] == [
            LookupError
        ]
        assert peer.lost is not None
        assert peer.lost.check(LookupError)
        another.sendall(b"b")
        room.turn(lambda: beside.heard)


def test_who_is_closed_in_a_turn_hears_nothing_more(room: Room) -> None:
    """Of two with something to read, the first aborts both: the second one is not read."""
    one, two = Peer(), Peer()

    def abort() -> None:
        for peer in (one, two):
            transport: Any = peer.transport
            transport.abortConnection()

    one.on_data = two.on_data = abort
    with room.accepted(one) as other, room.accepted(two) as another:
        other.sendall(b"a")
        another.sendall(b"b")
        room.turn(lambda: one.lost and two.lost)
    assert sorted([one.heard, two.heard]) in ([b"", b"a"], [b"", b"b"])


def test_the_loop_serves_events_calls_and_timers(room: Room) -> None:
    """Bytes, a call from a thread, timers and the end: each has its turn in the loop."""
    peer, happened = Peer(), []
    reactor = room.reactor

    def heard() -> None:
        happened.append("bytes")
        if peer.heard == b"ab":
            caller.start()

    def called() -> None:
        happened.append("call")
        reactor.callLater(0, ring)

    def ring() -> None:
        happened.append("timer")
        reactor.addSystemEventTrigger("after", "shutdown", reactor.crash)
        other.sendall(b"c")
        peer.on_data = reactor.stop

    peer.on_data = heard
    caller = Thread(target=reactor.callFromThread, args=(called,))
    with room.accepted(peer) as other:
        far = reactor.callLater(3600, lambda: None)
        sending = reactor.callLater(0.01, other.sendall, b"b")
        other.sendall(b"a")
        reactor.mainLoop()
        far.cancel()
        caller.join()
    assert happened == ["bytes", "bytes", "call", "timer"]
    assert peer.heard == b"abc"
    assert sending.called
    assert not reactor.running


def test_the_loop_survives_a_failure(room: Room) -> None:
    """What goes wrong in the loop itself is logged, and it goes on."""
    reactor: Any = room.reactor
    looks = iter([None, 0.0])

    def look() -> float | None:
        for wait in looks:
            return wait or fail()
        reactor.crash()
        return 0.0

    def fail() -> float:
        raise LookupError("a table was spilled")

    reactor.timeout = look
    with capturedLogs() as logs:
        reactor.mainLoop()
    assert [event["log_failure"].type for event in logs if "log_failure" in event] == [
        LookupError,
        LookupError,
    ]


def test_other_reactors_are_left_alone() -> None:
    """Only Twisted's epoll reactor itself is changed: of no other are the tables known."""

    class Other(EPollReactor):
        """Somebody's own."""

    reactor = Other.__new__(Other)
    install(reactor)
    assert not {"doIteration", "mainLoop"} & vars(reactor).keys()
