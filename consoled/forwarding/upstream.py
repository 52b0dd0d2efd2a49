"""One request to an instance and its answer, each body as fast as the other side takes it.

Twisted's own client gives out an answer only when the request is sent whole: an instance that
refuses a large upload half-way would not be heard. Here both go their own way.

Private decoders of twisted.web's are used; tests/unit/test_upstream.py looks at them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import (
    _ChunkedTransferDecoder,
    _IdentityTransferDecoder,
    _MalformedChunkedDataError,
)
from zope.interface import implementer

from consoled.forwarding.heads import HEAD_LIMIT, AnswerHead, BadAnswer, parse_head
from consoled.http.body import StreamedBody

_BLANK = b"\r\n\r\n"


@implementer(IPushProducer)
class Upstream(Protocol):
    """A connection to an instance, for one request.

    :param method: of the request.
    :ivar head: fires with the answer's head; fails with BadAnswer, or with what ended the
        connection.
    :ivar finished: fires when the answer is whole; fails where it broke off.
    :ivar touched: told of every piece, whichever way.
    :ivar sent: bytes of the request's body that have gone.
    :ivar taken: bytes of the answer's body that have come.
    """

    def __init__(self, method: bytes) -> None:
        self.head: Deferred[AnswerHead] = Deferred(self._cancelled)
        self.finished: Deferred[None] = Deferred(self._cancelled)
        self.touched: Callable[[], None] = lambda: None
        self.sent = 0
        self.taken = 0
        self._method = method
        self._bodiless = False
        self._endless = False
        self._buffer = b""
        self._decoder: Any = None
        self._take: Callable[[bytes], None] | None = None
        self._body: StreamedBody | None = None
        self._chunks = False
        self._over = False

    def begin(self, head: bytes, body: StreamedBody | None) -> None:
        """Sends the request.

        :param head: whole.
        :param body: follows it as it arrives; in chunks where it has no length.
        """
        transport: Any = self.transport
        transport.write(head)
        if body is not None:
            self._body = body
            self._chunks = body.length is None
            transport.registerProducer(body, True)
            body.start(self)

    def write(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._over or not data:
            return
        self.sent += len(data)
        self.touched()
        transport: Any = self.transport
        if self._chunks:
            transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            transport.write(data)

    def ended(self) -> None:
        """The request's body is whole."""
        if not self._over:
            transport: Any = self.transport
            transport.unregisterProducer()
            self._body = None
            if self._chunks:
                transport.write(b"0\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        """The head first, then the body, as far as it is taken."""
        if self._over:
            return
        self.touched()
        if self._decoder is not None:
            self._decode(data)
            return
        self._buffer += data
        try:
            self._look_for_head()
        except BadAnswer:
            self._fail(Failure())

    def _look_for_head(self) -> None:
        while self._decoder is None:
            end = self._buffer.find(_BLANK)
            if end > HEAD_LIMIT or (end < 0 and len(self._buffer) > HEAD_LIMIT):
                raise BadAnswer(f"its head is longer than {HEAD_LIMIT} bytes")
            if end < 0:
                return
            head = parse_head(self._buffer[:end], self._method)
            self._buffer = self._buffer[end + len(_BLANK) :]
            if head.status == 101:
                raise BadAnswer("it changes the protocol, which nobody asked for")
            if head.status >= 200:
                self._await_taker(head)

    def _await_taker(self, head: AnswerHead) -> None:
        transport: Any = self.transport
        # Nothing of the body before somebody takes it.
        transport.pauseProducing()
        if head.chunked:
            self._decoder = _ChunkedTransferDecoder(self._piece, self._whole)
        else:
            self._decoder = _IdentityTransferDecoder(head.length, self._piece, self._whole)
        self._bodiless = head.length == 0
        self._endless = head.length is None and not head.chunked
        self.head.callback(head)

    def deliver(self, take: Callable[[bytes], None]) -> None:
        """Gives out the answer's body from now on.

        :param take: gets each piece.
        """
        self._take = take
        if self._over:
            return
        rest, self._buffer = self._buffer, b""
        if self._bodiless:
            self._whole(b"")
            return
        if rest:
            self._decode(rest)
        self.resumeProducing()

    def _decode(self, data: bytes) -> None:
        if self._take is None:
            self._buffer += data
            return
        try:
            self._decoder.dataReceived(data)
        except _MalformedChunkedDataError:
            self._fail(Failure(BadAnswer("its chunks are malformed")))

    def _piece(self, data: bytes) -> None:
        self.taken += len(data)
        if self._take is not None and not self._over:
            self._take(data)

    def _whole(self, _rest: bytes) -> None:
        self._end(None)

    def pauseProducing(self) -> None:
        """The client has enough for now."""
        if not self._over:
            transport: Any = self.transport
            transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client wants more."""
        if not self._over and self._take is not None:
            transport: Any = self.transport
            transport.resumeProducing()

    def stopProducing(self) -> None:
        """The client is gone."""
        self.abort()

    def expire(self) -> None:
        """Nothing has moved for too long."""
        self._fail(Failure(TimeoutError("nothing has moved for too long")))

    def abort(self) -> None:
        """Cuts the connection; nothing more is told."""
        if not self._over:
            self._over = True
            self._let_go()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of an answer without a length; of any other, and before it, a failure."""
        if self._over:
            return
        if self._decoder is None:
            self._fail(reason)
            return
        if self._endless:
            # The end of the connection is the end of the body; that of a broken one is not.
            self._end(None if reason.check(ConnectionDone) else reason)
        else:
            self._fail(Failure(BadAnswer("it broke off before its end")))

    def _fail(self, failure: Failure) -> None:
        if not self.head.called:
            self._over = True
            self._let_go()
            self.head.errback(failure)
        else:
            self._end(failure)

    def _end(self, failure: Failure | None) -> None:
        if self._over:
            return
        self._over = True
        self._let_go()
        if failure is None:
            self.finished.callback(None)
        else:
            self.finished.errback(failure)

    def _let_go(self) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        body, self._body = self._body, None
        if body is not None:
            transport.unregisterProducer()
            body.drop()
        transport.abortConnection()

    def _cancelled(self, _deferred: Deferred[Any]) -> None:
        self.abort()
