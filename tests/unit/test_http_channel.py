"""The HTTP/1.1 connection's bounds: deadlines, limits, framing, refusals (faults.md H4 to H7)."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.protocols.basic import LineReceiver
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from wires import Wire
from zope.interface import implementer

from consoled.api.faults import fault
from consoled.http.channel import (
    BODY_LIMIT,
    HEAD_LIMIT,
    LINGER,
    PLAIN_TEXT,
    REQUEST_DEADLINE,
    BoundedChannel,
    BoundedRequest,
    BoundedSite,
    Refusal,
)

GOOD = b"GET / HTTP/1.1\r\nHost: console.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: console.test\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Tail(Wire):
    """A wire that knows whether it is read from, as a TCP connection does."""

    reading = True

    def pauseProducing(self) -> None:
        """Reading stops."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Reading goes on."""
        self.reading = True


class Answering(Resource):
    """Answers with the body that it got, at once or when it is told to.

    :ivar seen: the paths and bodies of all requests that were whole.
    :ivar waiting: requests that are not answered yet, where ``late`` is set.
    """

    isLeaf = True
    late = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, bytes]] = []
        self.waiting: list[Request] = []

    def render(self, request: Any) -> Any:
        """Answers."""
        body = request.content.read()
        self.seen.append((request.path, body))
        if self.late:
            self.waiting.append(request)
            return NOT_DONE_YET
        return b"<" + body + b">"

    def answer(self) -> None:
        """Answers the first request that waits."""
        request: Any = self.waiting.pop(0)
        request.write(b"late")
        request.finish()


class Server:
    """A site in memory."""

    def __init__(self, refusal: Refusal = PLAIN_TEXT) -> None:
        self.clock = Clock()
        self.resource = Answering()
        self.site = BoundedSite(self.resource, self.clock, refusal)

    def connect(self, peer: Any = None) -> Tail:
        """A new connection."""
        wire = Tail(peerAddress=peer or IPv4Address("TCP", "203.0.113.9", 40000))
        wire.protocol = self.site.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        return wire

    def send(self, *segments: bytes) -> Tail:
        """A new connection that has sent this, in these segments."""
        wire = self.connect()
        for segment in segments:
            wire.protocol.dataReceived(segment)
        return wire

    def timers(self) -> int:
        """How many calls wait for their time."""
        return len(self.clock.getDelayedCalls())


@pytest.fixture
def server() -> Server:
    """A site that refuses in plain text."""
    return Server()


def statuses(wire: Wire) -> list[int]:
    """The status of every answer."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", wire.written)]


def test_good_request(server: Server) -> None:
    """A request is answered with its id, and the connection stays for another."""
    wire = server.send(GOOD)
    assert statuses(wire) == [200]
    assert re.search(rb"X-Openstack-Request-Id: req-[0-9a-f-]{36}\r\n", wire.written)
    assert wire.written.endswith(b"\r\n\r\n<>")
    wire.protocol.dataReceived(POST + b"Content-Length: 2\r\n\r\nhi")
    assert statuses(wire) == [200, 200]
    assert wire.written.endswith(b"<hi>")
    assert not wire.disconnecting


# Deadlines


def test_deadline_of_an_empty_connection(server: Server) -> None:
    """A peer that sends nothing is gone after the deadline."""
    wire = server.connect()
    server.clock.advance(REQUEST_DEADLINE - 0.01)
    assert wire.connected
    server.clock.advance(0.01)
    assert not wire.connected
    assert server.timers() == 0


def test_deadline_of_a_request_line(server: Server) -> None:
    """Bytes do not restart the deadline: half a request line does not live longer than none."""
    wire = server.connect()
    for byte in b"GET /aaaa":
        server.clock.advance(1)
        wire.protocol.dataReceived(bytes([byte]))
    assert wire.connected
    server.clock.advance(1)
    assert not wire.connected
    assert wire.written == b""
    assert server.timers() == 0


def test_deadline_of_a_head(server: Server) -> None:
    """A head of one byte a second is answered with 408 after ten of them."""
    wire = server.connect()
    wire.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
    for byte in b"Host: con":
        server.clock.advance(1)
        wire.protocol.dataReceived(bytes([byte]))
    assert wire.written == b""
    server.clock.advance(1)
    assert statuses(wire) == [408]
    server.clock.advance(LINGER)
    assert not wire.connected
    assert server.resource.seen == []


@pytest.mark.parametrize(
    "head", [POST + b"Content-Length: 60000\r\n\r\n", CHUNKED + b"ea60\r\n"], ids=["cl", "chunked"]
)
def test_deadline_of_a_body(server: Server, head: bytes) -> None:
    """A body of one byte a second is answered with 408 after ten of them."""
    wire = server.send(head)
    for _ in range(9):
        server.clock.advance(1)
        wire.protocol.dataReceived(b"x")
    assert wire.written == b""
    server.clock.advance(1)
    assert statuses(wire) == [408]
    assert server.resource.seen == []


def test_deadline_of_a_second_request(server: Server) -> None:
    """On a connection that is kept, the deadline runs from the next request's first byte."""
    wire = server.send(GOOD)
    server.clock.advance(50)
    assert wire.connected
    wire.protocol.dataReceived(b"G")
    for byte in b"ET / HTTP":
        server.clock.advance(1)
        wire.protocol.dataReceived(bytes([byte]))
    assert wire.connected
    server.clock.advance(1)
    assert not wire.connected


@pytest.mark.parametrize(
    "rest", [b"G", b"GET / HTTP/1.1\r\nHo", POST + b"Content-Length: 9\r\n\r\n"]
)
def test_deadline_of_a_pipelined_request(server: Server, rest: bytes) -> None:
    """It also runs for a request whose beginning came with the one before it."""
    wire = server.send(GOOD + rest)
    assert statuses(wire) == [200]
    server.clock.advance(REQUEST_DEADLINE)
    server.clock.advance(LINGER)
    assert not wire.connected


@pytest.mark.parametrize(
    "rest", [b"G", b"GET / HTTP/1.1\r\nHo", POST + b"Content-Length: 9\r\n\r\n"]
)
def test_deadline_of_a_request_before_its_turn(server: Server, rest: bytes) -> None:
    """It runs from the moment at which the request before it has been answered."""
    server.resource.late = True
    wire = server.send(GOOD, rest)
    server.clock.advance(30)
    assert wire.connected
    server.resource.answer()
    server.clock.advance(REQUEST_DEADLINE - 0.01)
    assert wire.connected
    server.clock.advance(0.01)
    server.clock.advance(LINGER)
    assert not wire.connected
    assert statuses(wire)[:1] == [200]


def test_no_deadline_for_the_answer(server: Server) -> None:
    """A request that is whole may be answered as late as it takes."""
    server.resource.late = True
    wire = server.send(GOOD)
    server.clock.advance(1000)
    server.resource.answer()
    assert statuses(wire) == [200]


def test_idle_connection_ends(server: Server) -> None:
    """A kept connection without a further request is closed after a minute."""
    wire = server.send(GOOD)
    server.clock.advance(60)
    assert not wire.connected
    assert server.timers() == 0


@pytest.mark.parametrize("sent", [b"", b"GET", GOOD, CHUNKED, GOOD + b"GET", b"\x00bad"], ids=repr)
def test_no_timer_outlives_the_connection(server: Server, sent: bytes) -> None:
    """Whatever has been sent, a lost connection leaves no timer."""
    wire = server.send(sent) if sent else server.connect()
    wire.drop()
    assert server.timers() == 0


# The head


@pytest.mark.parametrize("segment", [1, 1000, 65536])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 2 * HEAD_LIMIT,
        b"GET /" + b"a" * (HEAD_LIMIT - 14) + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2 * HEAD_LIMIT,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * HEAD_LIMIT,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"A: " + b"b" * 400 + b"\r\n") * 50,
    ],
    ids=["endless line", "long line", "endless header", "many headers", "large headers"],
)
def test_head_is_too_large(server: Server, head: bytes, segment: int) -> None:
    """A head over 16 KiB is refused as soon as it is, with and without line breaks."""
    wire = server.connect()
    sent = 0
    while sent < len(head) and not wire.written:
        wire.protocol.dataReceived(head[sent : sent + segment])
        sent += segment
    assert statuses(wire) in ([431], [400])
    assert sent <= HEAD_LIMIT + 2 + segment
    assert wire.protocol._buffer == b""


def test_head_of_the_limit(server: Server) -> None:
    """A head of exactly 16 KiB is taken."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\nA: "
    head = start + b"a" * (HEAD_LIMIT - len(start) - 4) + b"\r\n\r\n"
    assert len(head) == HEAD_LIMIT
    assert statuses(server.send(head)) == [200]
    assert statuses(server.send(head.replace(b"A: ", b"A:  "))) == [431]


def test_limit_is_per_request(server: Server) -> None:
    """Each request of a connection has the whole limit."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 12000 + b"\r\n\r\n"
    assert statuses(server.send(head * 3)) == [200] * 3


@pytest.mark.parametrize(
    "host",
    [
        b"console.test",
        b"console.test:6083",
        b"CONSOLE.test.",
        b"127.0.0.1",
        b"[::1]",
        b"[::1]:6083",
        b"under_score",
    ],
)
def test_good_hosts(server: Server, host: bytes) -> None:
    """Names, addresses and ports that browsers send."""
    assert statuses(server.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == [200]


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Host:\r\n",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a\r\nhOST: b\r\n",
        b"Host: a, b\r\n",
        b"Host: a b\r\n",
        b"Host: user@a\r\n",
        b"Host: a/b\r\n",
        b"Host: a#b\r\n",
        b"Host: a\\b\r\n",
        b"Host: a:b\r\n",
        b"Host: a:123456\r\n",
        b"Host: ::1\r\n",
        b"Host: [::1\r\n",
        b"Host: \xc3\xbc.test\r\n",
        b"Host: a\x00\r\n",
    ],
    ids=repr,
)
def test_bad_hosts(server: Server, lines: bytes) -> None:
    """A request has exactly one Host with one host in it (faults.md H4)."""
    assert statuses(server.send(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")) == [400]
    assert statuses(server.send(b"GET / HTTP/1.0\r\n" + lines + b"\r\n")) == [400]


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"http://console.test/",
        b"console.test:443",
        b"serial.html",
        b"?a",
        b"\\evil",
        b"/\xc3\xbc",
        b"/a\tb",
        b"/a\x00",
        b"/a\x7f",
        b"",
        b"/a b",
    ],
    ids=repr,
)
def test_odd_targets(server: Server, target: bytes) -> None:
    """A target is a path in ASCII."""
    wire = server.send(b"GET " + target + b" HTTP/1.1\r\nHost: console.test\r\n\r\n")
    assert statuses(wire) == [400]
    assert server.resource.seen == []


# Smuggling


SMUGGLED = {
    "duplicate length": b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "list of lengths": b"Content-Length: 1, 1\r\n\r\na",
    "CL.TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TE.TE": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n",
    "identity and length": b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
    "gzip": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "hidden": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "signed": b"Content-Length: +1\r\n\r\na",
    "negative": b"Content-Length: -1\r\n\r\na",
    "hexadecimal": b"Content-Length: 0x1\r\n\r\na",
    "underscore": b"Content-Length: 1_0\r\n\r\n0123456789",
    "empty": b"Content-Length: \r\n\r\na",
    "other digits": "Content-Length: ²\r\n\r\na".encode(),
    "5000 digits": b"Content-Length: " + b"9" * 5000 + b"\r\n\r\na",
    "5000 zeros": b"Content-Length: " + b"0" * 5000 + b"1\r\n\r\na",
    "space before colon": b"Content-Length : 1\r\n\r\na",
    "folded": b"Content-Length:\r\n 1\r\n\r\na",
    "folded coding": b"Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    "leading fold": b" Content-Length: 1\r\n\r\na",
    "no colon": b"Content-Length\r\n\r\n",
    "no name": b": 1\r\n\r\n",
    "bare LF in a value": b"A: b\nContent-Length: 1\r\n\r\na",
    "bare CR in a value": b"A: b\rContent-Length: 1\r\n\r\na",
    "bare LF for an end": b"Content-Length: 1\n\na",
    "NUL": b"A: b\x00\r\n\r\n",
    "signed chunk": b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    "prefixed chunk": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk with underscore": b"Transfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n0\r\n\r\n",
    "chunk without its end": b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunk with LF": b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n" + b"\r\n\r\n",
    "LF in an extension": b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n",
    "endless extension": b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 5000,
    "negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
def test_smuggling(server: Server, rest: bytes, split: bool) -> None:
    """Framing that two servers could read in two ways is 400 and the end (faults.md H4)."""
    sent = POST + rest + GOOD
    with capturedLogs() as logs:
        wire = server.send(*([sent[i : i + 1] for i in range(len(sent))] if split else [sent]))
    assert statuses(wire) == [400]
    assert b"Connection: close" in wire.written
    assert server.resource.seen == []
    assert not any("log_failure" in event for event in logs)
    server.clock.advance(LINGER)
    assert not wire.connected


def test_transfer_coding_of_http_1_0(server: Server) -> None:
    """HTTP/1.0 has no transfer codings; one there is faulty framing."""
    sent = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"
    assert statuses(server.send(sent)) == [400]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\nHost: console.test\n\n",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: console.test\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00",
    ],
    ids=["all LF", "only LF", "LF at the end", "TLS", "NUL"],
)
def test_what_never_becomes_a_line(server: Server, sent: bytes) -> None:
    """Bare LF, and TLS on a plain port, are refused at once and not at the deadline."""
    wire = server.send(sent)
    assert statuses(wire) == [400]


def test_line_end_in_two_segments(server: Server) -> None:
    """A CR LF that comes in two pieces is a line end all the same."""
    assert statuses(server.send(*GOOD.partition(b"\r")[:2], GOOD.partition(b"\r")[2])) == [200]
    assert statuses(server.send(*(bytes([byte]) for byte in GOOD))) == [200]


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"1.1"])
def test_versions(server: Server, version: bytes) -> None:
    """Only HTTP/1.0 and 1.1 are spoken."""
    sent = b"GET / " + version + b"\r\nHost: console.test\r\n\r\n"
    assert statuses(server.send(sent)) == [400]


def test_no_http_2(server: Server) -> None:
    """The preface of HTTP/2 is refused, and TLS does not offer it."""
    assert statuses(server.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == [400]
    assert server.site.acceptableProtocols() == [b"http/1.1"]


# The body


def test_body_of_the_limit(server: Server) -> None:
    """A body of exactly 64 KiB is taken, with a length and in chunks."""
    body = b"x" * BODY_LIMIT
    wire = server.send(POST + b"Content-Length: %d\r\n\r\n" % len(body), body)
    assert statuses(wire) == [200]
    wire = server.send(CHUNKED, b"8000\r\n" + body[:0x8000] + b"\r\n8000\r\n" + body[0x8000:])
    wire.protocol.dataReceived(b"\r\n0\r\n\r\n")
    assert statuses(wire) == [200]
    assert [seen for _, seen in server.resource.seen] == [body, body]


def test_declared_body_is_too_large(server: Server) -> None:
    """A length over the limit is refused before any of the body is taken, or asked for."""
    head = POST + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (BODY_LIMIT + 1)
    wire = server.send(head)
    assert statuses(wire) == [413]


def test_expected_body_is_asked_for(server: Server) -> None:
    """A client that waits for 100 Continue gets it where its body is welcome."""
    wire = server.send(POST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    assert statuses(wire) == [100]


@pytest.mark.parametrize("size", [1, 1000, 60000])
def test_chunked_body_is_too_large(server: Server, size: int) -> None:
    """An endless chunked body is refused while it arrives."""
    wire = server.send(CHUNKED)
    sent = 0
    while not wire.written:
        wire.protocol.dataReceived(b"%x\r\n%s\r\n" % (size, b"x" * size))
        sent += size
    assert statuses(wire) == [413]
    assert BODY_LIMIT < sent <= BODY_LIMIT + size
    assert server.resource.seen == []


def test_one_chunk_is_too_large(server: Server) -> None:
    """So is one endless chunk."""
    wire = server.send(CHUNKED + b"ffffffffffffffff\r\n")
    sent = 0
    while not wire.written:
        wire.protocol.dataReceived(b"x" * 4096)
        sent += 4096
    assert statuses(wire) == [413]
    assert sent <= BODY_LIMIT + 4096


def test_endless_trailers(server: Server) -> None:
    """Trailers after the last chunk end somewhere, too."""
    wire = server.send(CHUNKED + b"0\r\n")
    for _ in range(100):
        wire.protocol.dataReceived(b"a: " + b"b" * 1000 + b"\r\n")
    assert statuses(wire) == [400]


def test_body_stays_off_the_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request makes a temporary file, as twisted.web's own would for a chunked body."""
    import tempfile

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert statuses(server.send(CHUNKED + b"1\r\na\r\n0\r\n\r\n")) == [200]


# Pipelining


def test_pipelined_requests(server: Server) -> None:
    """Requests in one segment are answered in order."""
    sent = b"".join(GOOD.replace(b"GET /", b"GET /%d" % i) for i in range(5))
    wire = server.send(sent)
    assert statuses(wire) == [200] * 5
    assert [path for path, _ in server.resource.seen] == [b"/%d" % i for i in range(5)]


def test_bad_request_behind_a_good_one(server: Server) -> None:
    """The good one is answered, the bad one refused, and nothing after it is read."""
    wire = server.send(GOOD + b"GET / HTTP/1.1\r\n\r\n" + GOOD)
    assert statuses(wire) == [200, 400]
    assert len(server.resource.seen) == 1


@pytest.mark.parametrize("stalled", [False, True], ids=["reading", "not reading"])
def test_flood_behind_a_request(server: Server, stalled: bool) -> None:
    """What comes before its turn is bounded, also from a peer that does not read its answer."""
    server.resource.late = True
    wire = server.send(GOOD)
    if stalled:
        wire.protocol.pauseProducing()
    sent = 0
    while wire.reading and sent < 1_000_000:
        wire.protocol.dataReceived(b"x" * 4096)
        sent += 4096
    assert not wire.reading
    assert sent <= 32768
    if stalled:
        wire.protocol.resumeProducing()
        assert not wire.reading
    server.resource.answer()
    assert statuses(wire) == [200, 431] or statuses(wire) == [200, 400]


def test_reading_goes_on(server: Server) -> None:
    """A pipelining client whose answer was held up is served to its last request."""
    server.resource.late = True
    wire = server.send(GOOD)
    wire.protocol.pauseProducing()
    count = 0
    while wire.reading:
        wire.protocol.dataReceived(GOOD)
        count += 1
    for _ in range(count + 1):
        server.resource.answer()
    assert not wire.reading
    wire.protocol.resumeProducing()
    assert wire.reading
    assert statuses(wire) == [200] * (count + 1)


# Refusals


def test_refusal_in_plain_text(server: Server) -> None:
    """A refusal is a sentence with an id, and the same id is in the log."""
    with capturedLogs() as logs:
        wire = server.send(b"GET / HTTP/1.1\r\n\r\n")
    head, _, body = wire.written.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert headers[b"Content-Type"] == b"text/plain; charset=utf-8"
    assert headers[b"Content-Length"] == b"%d" % len(body)
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Cache-Control"] == b"no-store"
    assert headers[b"Connection"] == b"close"
    assert body == b"A request needs exactly one Host header with a host name in it.\n"
    (event,) = [event for event in logs if event.get("event") == "http_refused"]
    assert event["request_id"].encode() == headers[b"X-Openstack-Request-Id"]
    assert (event["status"], event["src"]) == (400, "203.0.113.9")


def test_refusal_in_the_form_of_nova() -> None:
    """The API's connections refuse as nova does."""
    server = Server(Refusal(b"application/json", fault))
    wire = server.send(POST + b"Content-Length: 100000\r\n\r\n")
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json\r\n" in head
    assert json.loads(body) == {
        "overLimit": {"code": 413, "message": f"The body is over the limit of {BODY_LIMIT} bytes."}
    }
    assert b"X-Openstack-Request-Id: req-" in head


def test_refusal_names_a_mapped_peer_plainly(server: Server) -> None:
    """An IPv4 client of a dual-stack port is logged as IPv4."""
    with capturedLogs() as logs:
        wire = server.connect(IPv6Address("TCP", "::ffff:203.0.113.9", 40000))
        wire.protocol.dataReceived(b"\n")
    assert logs[-1]["src"] == "203.0.113.9"


def test_nothing_is_read_after_a_refusal(server: Server) -> None:
    """After a refusal reading stops, bytes mean nothing, and the end comes shortly."""
    wire = server.send(b"GET / HTTP/1.1\r\n\r\n")
    before = wire.written
    assert not wire.reading
    for sent in (GOOD, b"\n", b"x" * 100_000):
        wire.protocol.dataReceived(sent)
    wire.protocol.resumeProducing()
    assert wire.written == before
    assert server.resource.seen == []
    assert wire.protocol._buffer == b""
    server.clock.advance(LINGER)
    assert not wire.connected
    assert server.timers() == 0


@pytest.mark.parametrize(
    "body", [b"1\r\na\r\n0\r\n\r\n", b"1\r\na", b"zz"], ids=["whole", "part", "bad"]
)
def test_body_after_a_refused_head(server: Server, body: bytes) -> None:
    """The body of a refused request, in the same segment, is not looked at."""
    with capturedLogs() as logs:
        wire = server.send(CHUNKED.replace(b"Host: console.test", b"Host: a b") + body)
    assert statuses(wire) == [400]
    assert not any("log_failure" in event for event in logs)


@implementer(ITCPTransport)
class TCP(Tail):
    """A wire that can be closed one way, as TCP can and TLS cannot.

    :ivar ended: what had been written when our side was closed.
    """

    ended: bytes | None = None

    def loseWriteConnection(self) -> None:
        """Closes our side."""
        self.ended = self.written


def test_end_of_a_refusal(server: Server) -> None:
    """Over plain TCP the peer sees a refusal's end at once, and need not wait for the abort."""
    wire = TCP()
    wire.protocol = server.site.buildProtocol(None)
    wire.protocol.makeConnection(wire)
    wire.protocol.dataReceived(b"\n")
    assert statuses(wire) == [400]
    assert wire.ended == wire.written
    assert wire.connected


def test_refused_once(server: Server) -> None:
    """One connection is refused once."""
    wire = server.send(b"\n")
    wire.protocol.refuse(413, "Again.")
    assert statuses(wire) == [400]


def test_query_is_in_no_log(server: Server) -> None:
    """No event of a refused or broken request carries its token (faults.md T7)."""
    secret = b"c0ffee-secret"
    with capturedLogs() as logs:
        for line in (b"Host: a b", b"", b"Host: a\r\nContent-Length: 99999", b"A: \x00"):
            server.send(b"GET /?%74oken=" + secret + b" HTTP/1.1\r\n" + line + b"\r\n\r\n")
        server.send(b"GET /?token=" + secret).drop()
    assert logs
    assert secret.decode() not in repr(logs)


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_any_bytes(pieces: list[bytes]) -> None:
    """No sequence of bytes raises, is answered with 5xx, or leaves a timer."""
    server = Server()
    wire = server.send(*(piece for piece in pieces if piece))
    assert all(status < 500 for status in statuses(wire))
    wire.drop()
    assert server.timers() == 0


LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"Host: a",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Connection: close",
        b"Cookie: a=b; =; c",
        b"",
        b"",
        b"3",
        b"abc",
        b"0",
        b" fold",
    ]
)


@given(st.lists(LINES, max_size=20), st.sampled_from([b"\r\n", b"\r\n", b"\n"]), st.integers(1, 50))
def test_any_lines(lines: list[bytes], end: bytes, size: int) -> None:
    """The same of lines that look like requests, however they are cut."""
    server = Server()
    sent = b"GET / HTTP/1.1\r\n" + end.join([*lines, b""])
    wire = server.send(*(sent[i : i + size] for i in range(0, len(sent), size)))
    assert all(status < 500 for status in statuses(wire))
    assert statuses(wire).count(400) <= 1
    wire.drop()
    assert server.timers() == 0


# What is used of Twisted's own


def test_private_names_of_twisted() -> None:
    """The private parts of twisted.web that are used are as they were when this was written."""
    channel = HTTPChannel()
    for name in ("_handlingRequest", "_dataBuffer", "requests"):
        assert name in vars(channel)
    for name in (
        "_optimisticEagerReadSize",
        "_respondToBadRequestAndDisconnect",
        "totalHeadersSize",
        "maxHeaders",
        "headerReceived",
        "allHeadersReceived",
        "allContentReceived",
        "requestDone",
        "rawDataReceived",
    ):
        assert hasattr(HTTPChannel, name)
    for name in ("_buffer", "_busyReceiving", "line_mode", "MAX_LENGTH", "lineLengthExceeded"):
        assert hasattr(LineReceiver, name)
    source = inspect.getsource(HTTPChannel)
    for used in ("self._networkProducer =", "self._path =", "self._version =", "_dataBuffer"):
        assert used in source
    for hook in ("gotLength", "handleContentChunk"):
        assert callable(getattr(Request, hook))


def test_every_refusal_of_twisted_is_ours(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """twisted.web's own way to refuse goes through ours, and no other writes a 400."""
    wire = server.connect()
    wire.protocol._respondToBadRequestAndDisconnect()
    assert wire.written.startswith(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain")
    source = inspect.getsource(HTTPChannel)
    assert source.count("HTTP/1.1 400") == 1


def test_classes_are_used(server: Server) -> None:
    """The site makes our connections and requests."""
    server.resource.late = True
    wire = server.send(GOOD)
    assert type(wire.protocol) is BoundedChannel
    assert type(server.resource.waiting[0]) is BoundedRequest


def test_form_bodies_are_not_parsed() -> None:
    """A form in a body never becomes query arguments."""
    server = Server()
    server.resource.late = True
    server.send(
        POST
        + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=a"
    )
    assert server.resource.waiting[0].args == {}


def test_memory_reactor_is_enough() -> None:
    """The site needs only the reactor's clock."""
    BoundedSite(Resource(), MemoryReactorClock()).buildProtocol(None)
