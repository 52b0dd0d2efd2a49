"""One request to an instance: framing, pace both ways, early answers, every kind of end."""

from __future__ import annotations

from typing import Any

import pytest
from test_http_channel import Tail
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from consoled.forwarding.heads import HEAD_LIMIT, AnswerHead, BadAnswer
from consoled.forwarding.upstream import Upstream
from consoled.http.body import StreamedBody

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Exchange:
    """An upstream in memory and what it has told."""

    def __init__(self, method: bytes = b"GET", length: int | None = 0) -> None:
        self.upstream = Upstream(method)
        self.wire = Tail()
        self.wire.protocol = self.upstream
        self.upstream.makeConnection(self.wire)
        self.head: Any = None
        self.end: Any = None
        self.body = b""
        self.read = True
        self.source: StreamedBody | None = None
        if length != 0:
            self.source = StreamedBody(length, self._pause, self._resume)
        self.upstream.head.addBoth(self._headed)
        self.upstream.finished.addBoth(self._ended)
        self.upstream.begin(b"HEAD", self.source)

    def _pause(self) -> None:
        self.read = False

    def _resume(self) -> None:
        self.read = True

    def _headed(self, outcome: Any) -> None:
        self.head = outcome

    def _ended(self, outcome: Any) -> None:
        self.end = outcome or "whole"

    def receive(self, *segments: bytes) -> Exchange:
        """These come from the instance."""
        for segment in segments:
            self.upstream.dataReceived(segment)
        return self

    def take(self) -> Exchange:
        """The client takes the body."""
        self.upstream.deliver(self._piece)
        return self

    def _piece(self, data: bytes) -> None:
        self.body += data


def why(outcome: object) -> type[Exception] | None:
    """The kind of failure that it is."""
    return type(outcome.value) if isinstance(outcome, Failure) else None  # type: ignore[return-value]  # a Failure holds an exception


def test_body_waits_until_it_is_taken() -> None:
    """After the head nothing more is read until the client has its headers."""
    exchange = Exchange().receive(OK[:9], OK[9:] + b"he")
    assert isinstance(exchange.head, AnswerHead)
    assert not exchange.wire.reading
    assert exchange.body == b""
    exchange.take()
    assert exchange.wire.reading
    assert exchange.body == b"he"
    exchange.receive(b"llo and more")
    assert (exchange.body, exchange.end) == (b"hello", "whole")
    assert not exchange.wire.connected


def test_client_sets_the_pace() -> None:
    """Pausing and resuming go through to the instance's connection."""
    exchange = Exchange().receive(OK).take()
    exchange.upstream.pauseProducing()
    assert not exchange.wire.reading
    exchange.upstream.resumeProducing()
    assert exchange.wire.reading


@pytest.mark.parametrize("cut", range(1, 30))
def test_chunks_are_taken_apart_wherever_they_are_cut(cut: int) -> None:
    """The body is the same; trailers are read and dropped."""
    rest = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n"
    exchange = Exchange().receive(CHUNKED + rest[:cut]).take()
    exchange.receive(rest[cut:])
    assert (exchange.body, exchange.end) == (b"abcdefg", "whole")


def test_body_without_length_ends_with_its_connection() -> None:
    """In order: that is the end of it. Broken: that is none."""
    exchange = Exchange().receive(b"HTTP/1.0 200 OK\r\n\r\nsome").take()
    exchange.wire.drop()
    assert (exchange.body, exchange.end) == (b"some", "whole")
    broken = Exchange().receive(b"HTTP/1.0 200 OK\r\n\r\nsome").take()
    broken.wire.drop(ConnectionLost())
    assert why(broken.end) is ConnectionLost


@pytest.mark.parametrize("head", [OK, CHUNKED])
def test_answer_that_breaks_off_is_not_whole(head: bytes) -> None:
    """A body shorter than announced is a failure."""
    exchange = Exchange().receive(head + b"2").take()
    exchange.wire.drop()
    assert why(exchange.end) is BadAnswer


def test_malformed_chunks_are_a_failure() -> None:
    """They end the answer, and the connection."""
    exchange = Exchange().receive(CHUNKED + b"zz\r\n").take()
    assert why(exchange.end) is BadAnswer
    assert not exchange.wire.connected


def test_answers_without_a_body_are_whole_at_once() -> None:
    """HEAD, 204 and 304, whatever their length says."""
    for method, head in (
        (b"HEAD", OK),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ):
        assert Exchange(method).receive(head).take().end == "whole"


def test_interim_answers_are_skipped() -> None:
    """100 and 103 go no further; 101 was not asked for."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert Exchange().receive(early + OK).head.status == 200
    assert why(Exchange().receive(b"HTTP/1.1 101 Switching\r\n\r\n").head) is BadAnswer


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_LIMIT, b"x" * (HEAD_LIMIT + 1)]
)
def test_endless_heads_are_cut(sent: bytes) -> None:
    """No more of a head is kept than its limit."""
    exchange = Exchange().receive(*(sent[i : i + 1000] for i in range(0, len(sent), 1000)))
    assert why(exchange.head) is BadAnswer
    assert not exchange.wire.connected


def test_no_answer_is_a_failure() -> None:
    """The end of the connection before a head, and silence."""
    exchange = Exchange()
    exchange.wire.drop()
    assert why(exchange.head) is ConnectionDone
    silent = Exchange()
    silent.upstream.expire()
    assert why(silent.head) is TimeoutError
    assert not silent.wire.connected


def test_upload_goes_on_as_it_arrives() -> None:
    """With a length as it is; without one in chunks."""
    sized = Exchange(b"PUT", 7)
    assert sized.source is not None
    sized.source.feed(b"abc")
    sized.source.feed(b"defg")
    sized.source.end()
    assert sized.wire.written == b"HEADabcdefg"
    assert sized.wire.producer is None
    chunks = Exchange(b"PUT", None)
    assert chunks.source is not None
    chunks.source.feed(b"abc")
    chunks.source.end()
    assert chunks.wire.written == b"HEAD3\r\nabc\r\n0\r\n\r\n"
    assert (chunks.upstream.sent, sized.upstream.sent) == (3, 7)


def test_instance_sets_the_pace_of_an_upload() -> None:
    """Its full buffer stops the reading of the client."""
    exchange = Exchange(b"PUT", 100)
    exchange.wire.producer.pauseProducing()
    assert not exchange.read
    assert exchange.source is not None
    exchange.source.feed(b"abc")
    assert exchange.wire.written == b"HEAD"
    exchange.wire.producer.resumeProducing()
    assert exchange.read
    assert exchange.wire.written == b"HEADabc"


def test_early_answer_is_heard_and_ends_the_upload() -> None:
    """What the client still sends is dropped, not sent."""
    exchange = Exchange(b"PUT", 100)
    assert exchange.source is not None
    exchange.source.feed(b"abc")
    exchange.receive(OK + b"hello").take()
    assert exchange.end == "whole"
    exchange.source.feed(b"def")
    assert exchange.wire.written == b"HEADabc"
    assert exchange.read


def test_abort_is_quiet() -> None:
    """Nobody is told, and the connection is gone; so it is when whoever waits is cancelled."""
    exchange = Exchange().receive(OK).take()
    exchange.upstream.abort()
    assert exchange.end is None
    assert not exchange.wire.connected
    other = Exchange()
    waiting: Deferred[Any] = other.upstream.head
    waiting.cancel()
    assert why(other.head) is CancelledError
    assert not other.wire.connected


def test_every_piece_counts_as_movement() -> None:
    """Both ways."""
    moved: list[None] = []
    exchange = Exchange(b"PUT", 3)
    exchange.upstream.touched = lambda: moved.append(None)
    assert exchange.source is not None
    exchange.source.feed(b"abc")
    exchange.receive(OK)
    assert len(moved) == 2
