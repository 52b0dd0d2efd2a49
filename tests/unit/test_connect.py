"""consoled.transports.connect: asking for a console by name before the relay."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field
from cells import outcome
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from wires import Wire

from consoled.errors import BackendUnreachable
from consoled.transports.connect import (
    LONGEST_ANSWER,
    LONGEST_PATH,
    ConnectEndpoint,
    connect_request,
    least_missing,
    status_of,
)

PATH = "/console?ref=OpaqueRef:1"
AGREED = b"HTTP/1.1 200 OK\r\nServer: hv\r\n\r\n"


class Guest(Protocol):
    """What the relay would be: it notes what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.made = 0
        self.lost: list[Any] = []

    def connectionMade(self) -> None:
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason)


class Guests(Factory):
    """Makes one."""

    protocol = Guest
    noisy = False


@define
class Exchange:
    """A dialled endpoint in memory, and what its caller hears."""

    reactor: MemoryReactorClock = field(factory=MemoryReactorClock)
    factory: Any = field(factory=Guests)
    path: str = PATH
    answer: Deferred[Any] = field(init=False)
    wire: Wire = field(factory=Wire, init=False)

    def __attrs_post_init__(self) -> None:
        inner = TCP4ClientEndpoint(self.reactor, "192.0.2.1", 80)
        self.answer = ConnectEndpoint(inner, self.path, self.reactor, 5.0).connect(self.factory)

    def dialled(self) -> Exchange:
        """The dial succeeds."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        self.wire.protocol = protocol
        protocol.makeConnection(self.wire)
        return self

    def says(self, data: bytes) -> Exchange:
        """The server sends something."""
        self.wire.protocol.dataReceived(data)
        return self

    def fault(self) -> str:
        """Why there is no connection; it is closed, and no timer is left."""
        with pytest.raises(BackendUnreachable) as caught:
            outcome(self.answer)
        assert not self.wire.connected
        assert self.reactor.getDelayedCalls() == []
        assert PATH not in str(caught.value)
        return str(caught.value)


def test_the_exchange() -> None:
    """One request, the server's 200, and then the connection is the protocol's own."""
    exchange = Exchange().dialled()
    assert exchange.wire.written == b"CONNECT /console?ref=OpaqueRef:1 HTTP/1.1\r\n\r\n"
    assert exchange.reactor.getDelayedCalls() != []
    guest = outcome(exchange.says(AGREED).answer)
    assert (guest.made, guest.received, guest.transport) == (1, b"", exchange.wire)
    exchange.says(b"login: ").says(b"\r\n\r\n")
    assert guest.received == b"login: \r\n\r\n"
    assert exchange.reactor.getDelayedCalls() == []
    exchange.wire.drop(ConnectionLost())
    [reason] = guest.lost
    assert reason.check(ConnectionLost)


@given(guest=st.binary(max_size=40), cuts=st.lists(st.integers(0, 80), max_size=8))
def test_no_byte_of_the_guest_is_lost(guest: bytes, cuts: list[int]) -> None:
    """However the stream is cut, the guest's bytes begin right after the blank line."""
    stream = AGREED + guest
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    exchange = Exchange().dialled()
    for start, end in pairwise(edges):
        exchange.says(stream[start:end])
    assert outcome(exchange.answer).received == guest


@given(st.binary(max_size=20), st.integers(0, 4))
def test_reads_never_reach_beyond_the_answer(head: bytes, cut: int) -> None:
    """However an answer that has not ended goes on, that many bytes are still its own."""
    answer = (head + b"\r\n\r\n"[:cut]).partition(b"\r\n\r\n")[0]
    missing = least_missing(answer)
    assert 1 <= missing <= 4
    assert all(b"\r\n\r\n" not in (answer + b"\r\n\r\n"[-n:]) for n in range(1, missing))
    assert b"\r\n\r\n" in answer + b"\r\n\r\n"[-missing:]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/1.1 200 \r\nX: 404\r\n\r\n", 200),
        (b"HTTP/1.1 404 Not Found, 200 tried\r\n\r\n", 404),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None),
        (b"HTTP/2 200\r\n\r\n", None),
        (b"200 OK\r\n\r\n", None),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        (b"RFB 003.008\n\r\n\r\n", None),
        (b"\r\n\r\n", None),
    ],
)
def test_the_status_is_the_first_lines(answer: bytes, status: int | None) -> None:
    """A 200 anywhere else agrees to nothing."""
    assert status_of(answer) == status


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "with the status 403"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "with the status 204"),
        (b"SSH-2.0-x\r\n\r\n", "that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * LONGEST_ANSWER, "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * LONGEST_ANSWER + b"\r\n\r\n", "more than 4096 bytes"),
    ],
)
def test_a_refusal_says_what_came(answer: bytes, said: str) -> None:
    """Not the path, which may be a secret; the connection is closed at once."""
    exchange = Exchange().dialled().says(answer)
    assert said in exchange.fault()
    exchange.says(b"more")


def test_the_longest_answer() -> None:
    """Of exactly the bound is still read."""
    head = b"HTTP/1.1 200 OK\r\nX: "
    longest = head + b"x" * (LONGEST_ANSWER - len(head) - 4) + b"\r\n\r\n"
    assert outcome(Exchange().dialled().says(longest).answer).made == 1
    one_at_a_time = Exchange().dialled()
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * (LONGEST_ANSWER - 17):
        one_at_a_time.says(bytes([byte]))
    assert "more than 4096 bytes" in one_at_a_time.fault()


def test_no_answer_in_time() -> None:
    """The clock runs from the connection to the blank line, however slowly it comes."""
    exchange = Exchange().dialled()
    for _ in range(9):
        exchange.reactor.advance(0.5)
        exchange.says(b"x")
    assert exchange.wire.connected
    exchange.reactor.advance(0.5)
    assert "no answer to CONNECT within 5 seconds" in exchange.fault()


@pytest.mark.parametrize(
    ("reason", "how"), [(ConnectionDone(), "closed"), (ConnectionLost(), "lost")]
)
def test_a_server_that_hangs_up(reason: Exception, how: str) -> None:
    """Before the blank line there is no connection to hand over."""
    exchange = Exchange().dialled().says(AGREED[:-1])
    exchange.wire.drop(reason)
    assert f"{how} the connection instead of an answer" in exchange.fault()


def test_a_dial_that_fails_is_the_endpoints_own_error() -> None:
    """The wrapper adds nothing to it."""
    exchange = Exchange()
    exchange.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionLost()))
    with pytest.raises(ConnectionLost):
        outcome(exchange.answer)


def test_cancelling_the_exchange_closes_the_connection() -> None:
    """Nothing is left behind: no socket, no timer, no late answer."""
    exchange = Exchange().dialled()
    exchange.answer.cancel()
    with pytest.raises(CancelledError):
        outcome(exchange.answer)
    assert exchange.wire.aborting
    assert exchange.reactor.getDelayedCalls() == []
    exchange.says(AGREED)


class Unwilling(Guests):
    """Wants no connection any more."""

    def buildProtocol(self, addr: Any) -> None:
        return None


def test_a_factory_that_wants_no_connection() -> None:
    """As with Twisted's own endpoints."""
    exchange = Exchange(factory=Unwilling()).dialled().says(AGREED)
    with pytest.raises(NoProtocol):
        outcome(exchange.answer)
    assert exchange.wire.aborting


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a b",
        "/a\r\nHost: x",
        "/a\n",
        "/a\t",
        "/a\x00",
        "/a\x7f",
        "/a\x85",
        "/a\u2028b",
        "/" + "x" * LONGEST_PATH,
    ],
)
def test_a_path_that_would_be_more_than_a_path(path: str) -> None:
    """It is refused before anything is dialled."""
    exchange = Exchange(path=path)
    with pytest.raises(BackendUnreachable, match="internal access path"):
        outcome(exchange.answer)
    assert exchange.reactor.tcpClients == []


def test_a_path_beyond_ascii() -> None:
    """Goes as UTF-8, as nova sends it."""
    assert connect_request("/é") == b"CONNECT /\xc3\xa9 HTTP/1.1\r\n\r\n"


class Paused(Guest):
    """As the relay's own leg: it reads nothing before its viewer is there."""

    transport: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()
        self.enough: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.received.endswith(b"$"):
            self.enough.callback(None)


class PausedGuests(Guests):
    """Makes one."""

    protocol = Paused


class Hypervisor(Protocol):
    """Agrees, and the guest prints in the same breath."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")
        self.transport.write(AGREED + b"\r\n\r\nlogin:$")


class Hypervisors(Factory):
    """Makes one for each connection."""

    protocol = Hypervisor
    noisy = False


class OverTCP(TestCase):
    """Real sockets."""

    async def test_the_guests_first_bytes_wait_for_the_protocol(self) -> None:
        """What came in one segment with the answer is read when the protocol wants it."""
        reactor: Any = real_reactor
        server = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listening: Any = await server.listen(Hypervisors())
        try:
            inner = TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
            guest: Any = await ConnectEndpoint(inner, PATH, reactor, 30.0).connect(PausedGuests())
            self.assertEqual(guest.received, b"")
            self.assertEqual(guest.transport.bufferSize, Connection.bufferSize)
            guest.transport.resumeProducing()
            await guest.enough
            self.assertEqual(guest.received, b"\r\n\r\nlogin:$")
            guest.transport.abortConnection()
        finally:
            await listening.stopListening()
