"""Bodies that are handed on while they arrive: pace, end, refusals, and the next request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_http_channel import Tail
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from consoled.http.channel import BODY_LIMIT, DRAIN, REQUEST_DEADLINE, BoundedSite

HEAD = b"PUT /stream HTTP/1.1\r\nHost: a\r\n"
SIZED = HEAD + b"Content-Length: 10\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Taker:
    """Takes a body."""

    def __init__(self) -> None:
        self.got = b""
        self.over = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        """A piece."""
        assert not self.over
        self.got += data
        self.on_write()

    def ended(self) -> None:
        """That was all."""
        assert not self.over
        self.over = True


class Streaming(Resource):
    """Keeps its requests."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.gone = 0

    def render(self, request: Any) -> int:
        """Answers when it is told to."""
        self.requests.append(request)
        request.notifyFinish().addErrback(self._left)
        return NOT_DONE_YET

    def _left(self, _failure: object) -> None:
        self.gone += 1


class Server:
    """A site in memory that streams one path."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.resource = Streaming()
        self.site = BoundedSite(
            self.resource, self.clock, streams=lambda target: target == b"/stream"
        )
        self.wire = Tail(peerAddress=IPv4Address("TCP", "203.0.113.9", 40000))
        self.wire.protocol = self.site.buildProtocol(None)
        self.wire.protocol.makeConnection(self.wire)

    def send(self, *segments: bytes) -> Any:
        """The newest request after these segments."""
        for segment in segments:
            self.wire.protocol.dataReceived(segment)
        self.clock.advance(0)
        return self.resource.requests[-1] if self.resource.requests else None

    def take(self, request: Any) -> Taker:
        """Somebody who takes the request's body."""
        taker = Taker()
        request.body.start(taker)
        return taker


@pytest.fixture
def server() -> Server:
    """One connection to a server."""
    return Server()


def test_request_is_seen_before_its_body(server: Server) -> None:
    """It is processed with its head, and nothing is read until somebody takes the body."""
    request = server.send(SIZED)
    assert request is not None
    assert request.body.length == 10
    assert not server.wire.reading
    taker = server.take(request)
    assert server.wire.reading
    server.send(b"01234")
    assert (taker.got, taker.over) == (b"01234", False)
    server.send(b"56789")
    assert (taker.got, taker.over) == (b"0123456789", True)


@pytest.mark.parametrize("cut", range(1, 40))
def test_cuts_do_not_matter(server: Server, cut: int) -> None:
    """However head and body are cut into reads, the same body comes out."""
    whole = CHUNKED + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nX: y\r\n\r\n"
    request = server.send(whole[: len(CHUNKED) - 5], whole[len(CHUNKED) - 5 :][:cut])
    if request is None:
        request = server.send(whole[len(CHUNKED) - 5 :][cut:])
        taker = server.take(request)
    else:
        taker = server.take(request)
        server.send(whole[len(CHUNKED) - 5 :][cut:])
    assert (taker.got, taker.over) == (b"abcdefg", True)


def test_taker_sets_the_pace(server: Server) -> None:
    """A taker that pauses stops the reading, also where the client's own answer flows."""
    request = server.send(HEAD + b"Content-Length: 100\r\n\r\n")
    taker = server.take(request)
    taker.on_write = request.body.pauseProducing
    server.send(b"a")
    assert not server.wire.reading
    # What was on its way already waits.
    server.send(b"b", b"c")
    assert taker.got == b"a"
    # The answer's transport has room again: that is not the taker's word.
    server.wire.protocol.pauseProducing()
    server.wire.protocol.resumeProducing()
    assert not server.wire.reading
    request.body.resumeProducing()
    assert taker.got == b"ab"
    taker.on_write = lambda: None
    request.body.resumeProducing()
    assert taker.got == b"abc"
    assert server.wire.reading


def test_slow_bodies_have_no_deadline(server: Server) -> None:
    """The deadline of a request ends with its head, whose taker has a time-out of its own."""
    request = server.send(SIZED)
    taker = server.take(request)
    server.clock.advance(REQUEST_DEADLINE * 20)
    server.send(b"0123456789")
    assert taker.over
    assert server.wire.connected


def test_head_still_has_its_deadline(server: Server) -> None:
    """A head that does not end is refused as ever, and so is a large body elsewhere."""
    server.send(HEAD)
    server.clock.advance(REQUEST_DEADLINE)
    assert server.wire.written.startswith(b"HTTP/1.1 408 ")
    other = Server()
    other.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1))
    assert other.wire.written.startswith(b"HTTP/1.1 413 ")


def test_connection_goes_on_after_a_whole_body(server: Server) -> None:
    """The next request on the connection is read, whether it waited or came later."""
    request = server.send(SIZED + b"0123456789" + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert server.take(request).over
    request.write(b"done")
    request.finish()
    server.clock.advance(0)
    assert [r.path for r in server.resource.requests] == [b"/stream", b"/next"]
    assert b"Connection: close" not in server.wire.written


def test_leave_to_send_is_given_by_the_taker(server: Server) -> None:
    """100 Continue comes when the body is wanted."""
    request = server.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    assert server.wire.written == b""
    server.take(request)
    assert server.wire.written == CONTINUE


def test_no_leave_after_the_answer(server: Server) -> None:
    """A refused client is not told to go on; its connection ends in a moment."""
    request = server.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    request.setResponseCode(401)
    request.write(b"no")
    request.finish()
    assert CONTINUE not in server.wire.written
    assert b"Connection: close" in server.wire.written
    server.clock.advance(DRAIN)
    assert not server.wire.connected


def test_early_answer_drains_what_comes(server: Server) -> None:
    """The rest of a body after its answer is read and forgotten, and the answer ends with it."""
    request = server.send(HEAD + b"Content-Length: 1000\r\n\r\n")
    request.write(b"no")
    request.finish()
    assert server.wire.reading
    server.send(b"x" * 500)
    assert not request.finished
    server.send(b"x" * 500)
    assert request.finished
    assert not server.wire.connected


def test_what_comes_after_the_drain_belongs_to_nobody(server: Server) -> None:
    """A client that goes on sending when its answer has ended does no harm."""
    server.wire.sticky = True
    request = server.send(HEAD + b"Content-Length: 1000\r\n\r\n")
    request.write(b"no")
    request.finish()
    server.clock.advance(DRAIN)
    server.send(b"x" * 2000)
    assert len(server.resource.requests) == 1


def test_malformed_chunks_cut_the_connection(server: Server) -> None:
    """There may be an answer on its way: another one in its midst would be a lie."""
    request = server.send(CHUNKED)
    taker = server.take(request)
    server.send(b"zz\r\n")
    assert not server.wire.connected
    assert server.resource.gone == 1
    assert not taker.over
    assert b"400" not in server.wire.written


def test_client_that_goes_ends_its_request(server: Server) -> None:
    """Also before anybody was told of the request."""
    request = server.send(SIZED)
    server.take(request)
    server.wire.drop()
    assert server.resource.gone == 1
    other = Server()
    other.wire.protocol.dataReceived(SIZED)
    other.wire.drop()
    other.clock.advance(1)
    assert other.resource.requests == []
