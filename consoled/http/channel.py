"""The HTTP/1.1 connection with the bounds that twisted.web leaves out.

``twisted.web`` already answers 400 to duplicate lengths, to a length beside a
transfer coding and to folded garbage. Here it learns the rest of
reference/faults.md H4 to H7: an absolute deadline for a whole request, exactly
one Host, strict line ends and framing, a cap on the head, on the body and on
pipelined requests *while they arrive*, and no HTTP/2 (where a WebSocket cannot
be handed over).

A site may name requests whose bodies are not kept but handed on while they arrive
(:mod:`consoled.http.body`): these are processed when their head is there, and no
cap or deadline holds for their bodies.

Private names of Twisted's are used here; tests/unit/test_http_channel.py pins
them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.logger import Logger
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

from consoled.http.body import StreamedBody
from consoled.http.listen import peer_address
from consoled.http.requestid import REQUEST_ID_HEADER, new_request_id

log = Logger()

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
REQUEST_DEADLINE = 10.0
LINGER = 0.5
DRAIN = 1.0
"""Seconds that the rest of a streamed body is read for, and forgotten, after the answer."""

Streams = Callable[[bytes], bool]
"""Whether the body of a request for that target is handed on while it arrives."""

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(:[0-9]{1,5})?")
_TARGET = re.compile(rb"/[\x21-\x7e]*")

_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
}


@frozen
class Refusal:
    """The body of an answer that the connection itself gives.

    :ivar content_type: its media type.
    :ivar render: the body for a status and a sentence.
    """

    content_type: bytes
    render: Callable[[int, str], bytes]


def plain_text(_status: int, sentence: str) -> bytes:
    """A refusal for people: the sentence."""
    return f"{sentence}\n".encode()


PLAIN_TEXT = Refusal(b"text/plain; charset=utf-8", plain_text)


class BoundedRequest(Request):
    """A request whose body is counted as it arrives, and that carries its id.

    :ivar body: its body, where that is handed on while it arrives.
    """

    body: StreamedBody | None = None
    _begun = False
    _draining: IDelayedCall | None = None

    def __init__(self, channel: HTTPChannel, queued: Any = None) -> None:
        super().__init__(channel)
        self.request_id = new_request_id()
        self.responseHeaders.setRawHeaders(REQUEST_ID_HEADER, [self.request_id])
        self._received = 0

    def gotLength(self, length: int | None) -> None:
        """Keeps the body in memory: it is small, and the base would make a file of some."""
        self.content = io.BytesIO()
        channel = cast(BoundedChannel, self.channel)
        if length != 0 and channel.streams(channel._path):
            self.body = StreamedBody(length, channel.hold, channel.go_on)

    def begin(self, command: bytes, path: bytes, version: bytes) -> None:
        """Processes a request whose body is still to come."""
        if not self._begun and self.channel is not None:
            self._begun = True
            super().requestReceived(command, path, version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is whole."""
        if self.body is not None:
            self.body.end()
            if self._draining is not None:
                self._drained()
                return
        if not self._begun:
            self._begun = True
            super().requestReceived(command, path, version)

    def write(self, data: bytes) -> None:
        """Says with the head that the connection ends where a body is not whole by then."""
        if self.body is not None and not self.body.whole and not self.startedWriting:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            channel = cast(BoundedChannel, self.channel)
            channel.persistent = 0
            # After the answer there is no leave to send a body.
            channel._owes_continue = False
        super().write(data)

    def finish(self) -> None:
        """Ends the answer; a client that still sends its body has a while to see it."""
        if self.body is None or self.body.whole or self._disconnected:
            super().finish()
            return
        if not self.startedWriting:
            self.write(b"")
        channel = cast(BoundedChannel, self.channel)
        self._draining = channel.callLater(DRAIN, self._drained)
        self.body.drop()

    def _drained(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None and draining.active():
            draining.cancel()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        """Ends the wait for the rest of a body, and whoever takes it."""
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        super().connectionLost(reason)

    def handleContentChunk(self, data: bytes) -> None:
        """Counts a piece of the body; over the limit it is dropped and refused."""
        if self.body is not None:
            self.body.feed(data)
            return
        self._received += len(data)
        if self._received > BODY_LIMIT:
            cast(BoundedChannel, self.channel).refuse(
                413, f"The body is over the limit of {BODY_LIMIT} bytes."
            )
            return
        super().handleContentChunk(data)


class BoundedChannel(HTTPChannel):
    """One HTTP/1.1 connection.

    The deadline runs from the connection, or from the first byte of a further
    request, to that request's last byte; it does not restart with every byte.
    After a refusal the same timer ends the connection.
    """

    totalHeadersSize = HEAD_LIMIT
    MAX_LENGTH = HEAD_LIMIT
    maxHeaders = 100
    refusal: Refusal = PLAIN_TEXT
    streams: Streams = staticmethod(lambda _target: False)

    _deadline: IDelayedCall | None = None
    _refused = False
    _owes_continue = False
    _head_size = 0

    def connectionMade(self) -> None:
        """Starts the deadline of the first request."""
        super().connectionMade()
        self._start_deadline()

    def dataReceived(self, data: bytes) -> None:
        """Starts the deadline of a further request with its first byte, unless that is whole."""
        if self._refused:
            return
        super().dataReceived(data)
        if self.requests or self._buffer:
            self._start_deadline()
        # What is left now is the beginning of a line, unless this is a call within a call.
        if self.line_mode and not self._busyReceiving:
            if _is_no_line(self._buffer):
                self.refuse(400, "The request is malformed: its lines do not end with CR LF.")
            elif self._head_size + len(self._buffer) > HEAD_LIMIT:
                self._head_too_large()

    def rawDataReceived(self, data: bytes) -> None:
        """Takes a piece of the body, or of requests that come before their turn.

        The base stops reading when those are too many, but not from a peer that
        does not read its answer; that one could fill the memory.
        """
        if self._refused:
            return
        super().rawDataReceived(data)
        if sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def lineReceived(self, line: bytes) -> None:
        """Refuses a head over the limit with 431, and a folded header."""
        if self._refused:
            return
        self._head_size += len(line) + 2
        if self._head_size > HEAD_LIMIT:
            self._head_too_large()
        elif line[:1] in (b" ", b"\t"):
            self.refuse(400, "The request is malformed: a header goes over several lines.")
        else:
            super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """Refuses a length of thousands of digits, which is no int to Python."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:
            self._respondToBadRequestAndDisconnect()
            return False

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuses an endless line with 431."""
        self._head_too_large()

    def _head_too_large(self) -> None:
        self.refuse(431, f"The request's head is over the limit of {HEAD_LIMIT} bytes.")

    def allHeadersReceived(self) -> None:
        """Judges target, Host, framing and length before any of the body is taken."""
        self._head_size = 0
        headers = self.requests[-1].requestHeaders
        hosts = headers.getRawHeaders(b"host") or []
        codings = [coding.lower() for coding in headers.getRawHeaders(b"transfer-encoding") or []]
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            self.refuse(400, "A request needs exactly one Host header with a host name in it.")
        elif not _TARGET.fullmatch(self._path):
            self.refuse(400, "The request's target must be a path.")
        elif codings and (self._version, codings) != (b"HTTP/1.1", [b"chunked"]):
            # The base lets "identity" pass, and HTTP/1.0, which knows no codings.
            self.refuse(400, "The request's Transfer-Encoding is not one that is spoken here.")
        elif self.length is not None and self.length > BODY_LIMIT and not self.streams(self._path):
            self.refuse(413, f"The body is over the limit of {BODY_LIMIT} bytes.")
        else:
            super().allHeadersReceived()
            if self._streamed is not None:
                self._begin_streamed()

    @property
    def _streamed(self) -> StreamedBody | None:
        """The body that is on its way, where it is handed on."""
        return self.requests[-1].body if self.requests and not self._handlingRequest else None

    def _begin_streamed(self) -> None:
        self._stop_deadline()
        # Whoever takes the body has a time-out of its own.
        self._savedTimeOut = self.setTimeout(None)
        self._networkProducer.pauseProducing()
        # After this call: the parser has yet to learn that a body follows.
        begin = partial(self.requests[-1].begin, self._command, self._path, self._version)
        self.callLater(0, begin)

    def hold(self) -> None:
        """Reads nothing more for now."""
        self._networkProducer.pauseProducing()

    def go_on(self) -> None:
        """Reads on; a client that waits for leave to send a body has it."""
        if self._owes_continue:
            self._owes_continue = False
            super()._send100Continue()
        if not self._waitingForTransport and not self._refused:
            self._networkProducer.resumeProducing()

    def _send100Continue(self) -> None:
        """For a streamed body when somebody takes it, if ever."""
        if self._streamed is not None:
            self._owes_continue = True
        else:
            super()._send100Continue()

    def resumeProducing(self) -> None:
        """The client takes more of an answer; that says nothing of the body that it sends."""
        super().resumeProducing()
        if (body := self._streamed) is not None and body.held:
            self._networkProducer.pauseProducing()

    def allContentReceived(self) -> None:
        """The request is whole: the deadline ends."""
        if self._refused:
            return
        self._owes_continue = False
        self._stop_deadline()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Starts the deadline of a request that has already begun to arrive."""
        if request.body is not None and not request.body.whole:
            # What still comes of it belongs to nobody.
            self._refused = True
        super().requestDone(request)
        if self._buffer:
            self._start_deadline()

    def connectionLost(self, reason: Any = None) -> None:
        """Ends the timers."""
        self._stop_deadline()
        super().connectionLost(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The hook of twisted.web for everything that it finds malformed.
        self.refuse(400, "The request is malformed.")

    def refuse(self, status: int, sentence: str) -> None:
        """Answers for the connection itself, then closes it.

        Nothing more is read, so that a flood stays in the kernel; the peer has
        half a second to fetch the answer, whose end it sees at once.

        :param status: the HTTP status.
        :param sentence: what is wrong, for a person.
        """
        if self._refused or self.transport is None:
            return
        self._refused = True
        if self._streamed is not None:
            # Its answer may be on its way already.
            self._hang_up()
            return
        self.clearLineBuffer()
        self._stop_deadline()
        request_id = new_request_id()
        body = self.refusal.render(status, sentence)
        log.info(
            "HTTP request refused with {status}: {reason}",
            event="http_refused",
            status=status,
            reason=sentence,
            request_id=request_id,
            src=peer_address(getattr(self.getPeer(), "host", "")),
        )
        head = [
            b"HTTP/1.1 %d %s" % (status, _PHRASES[status]),
            b"Content-Type: " + self.refusal.content_type,
            b"Content-Length: %d" % len(body),
            b"X-Content-Type-Options: nosniff",
            b"Cache-Control: no-store",
            b"%s: %s" % (REQUEST_ID_HEADER.encode(), request_id.encode()),
            b"Connection: close",
        ]
        transport: Any = self.transport
        transport.unregisterProducer()
        self._networkProducer.pauseProducing()
        transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        if ITCPTransport.providedBy(transport) and not self.isSecure():
            transport.loseWriteConnection()
        self.setTimeout(None)
        self._deadline = self.callLater(LINGER, self._hang_up)

    def _hang_up(self) -> None:
        self._deadline = None
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _start_deadline(self) -> None:
        if self._deadline is None and not self._handlingRequest and self._streamed is None:
            self._deadline = self.callLater(REQUEST_DEADLINE, self._too_slow)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.requests and not self._handlingRequest:
            self.refuse(408, f"The request was not complete after {REQUEST_DEADLINE:.0f} seconds.")
        else:
            self._refused = True
            self._hang_up()


def _is_no_line(beginning: bytes) -> bool:
    """Whether these bytes can never become a line of a head: a bare LF, TLS to a plain port."""
    first = beginning[:1]
    return b"\n" in beginning or (b"" < first < b"!" and first != b"\r")


class BoundedSite(Site):
    """A site of bounded connections; HTTP/1.1 only.

    :param refusal: the form of what a connection itself refuses.
    :param streams: whose bodies are handed on while they arrive; None: nobody's.
    """

    noisy = False

    def __init__(
        self,
        resource: Any,
        reactor: Any,
        refusal: Refusal = PLAIN_TEXT,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=BoundedRequest,
            reactor=reactor,
            timeout=60,
            parsePOSTFormSubmission=False,
        )
        self._refusal = refusal
        self._streams = streams

    def protocol(self) -> BoundedChannel:  # type: ignore[override]  # a factory, as the base has
        """A connection that refuses in this site's form."""
        channel = BoundedChannel()
        channel.refusal = self._refusal
        if self._streams is not None:
            channel.streams = self._streams
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: a WebSocket cannot be handed over from HTTP/2."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Nothing here: each resource writes its own line, without the query."""
