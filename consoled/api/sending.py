"""Sending a file as an answer: whole or a range of it (RFC 9110, section 14), piece by piece.

Each piece is read in a worker, and the next one when the client has taken it.
"""

from __future__ import annotations

import os
import re
from http import HTTPStatus

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from consoled.api.faults import fault, finish
from consoled.interfaces import Worker

PIECE = 64 * 1024

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.ASCII)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for, as (start, stop); all where it asks for none.

    What is no single range of bytes counts as none (RFC 9110, section 14.2).

    :returns: None where the file has none of them.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return 0, size
    first, last, suffix = (None if text is None else int(text) for text in match.groups())
    if suffix is not None:
        return (max(0, size - suffix), size) if suffix and size else None
    assert first is not None
    if last is not None and last < first:
        return 0, size
    stop = size if last is None else min(last + 1, size)
    return (first, stop) if first < size else None


async def send_file(
    request: Request, worker: Worker, descriptor: int, size: int, media_type: str
) -> bytes:
    """Answers with the file, which is closed afterwards.

    :param size: its bytes, however long it grows meanwhile.
    """
    try:
        wanted = request.getHeader("range")
        found = span(wanted, size)
        request.setHeader("Accept-Ranges", "bytes")
        if found is None:
            request.setHeader("Content-Range", f"bytes */{size}")
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            text = f"The file has {size} bytes, and none in this range."
            return finish(request, status, fault(status, text, "badRequest"))
        start, stop = found
        request.setHeader("Content-Type", media_type)
        request.setHeader("Content-Length", str(stop - start))
        if (start, stop) != (0, size) or (wanted and _RANGE.fullmatch(wanted)):
            request.setResponseCode(HTTPStatus.PARTIAL_CONTENT)
            request.setHeader("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        if request.method != b"HEAD":
            await _send(request, worker, descriptor, start, stop)
        return b""
    finally:
        # In the worker, after a read that a client that went away has left there.
        worker.run(os.close, descriptor)


async def _send(request: Request, worker: Worker, descriptor: int, start: int, stop: int) -> None:
    flow = _Flow()
    request.registerProducer(flow, True)
    try:
        while start < stop and not flow.over:
            try:
                data = await worker.run(os.pread, descriptor, min(PIECE, stop - start), start)
            except OSError:
                data = b""
            if not data:
                # The status is sent: an end before Content-Length is all that can be said.
                _abort(request)
                return
            request.write(data)
            start += len(data)
            await flow.ready()
    finally:
        request.unregisterProducer()


def _abort(request: Request) -> None:
    transport = request.transport
    if transport is not None:
        transport.loseConnection()


@implementer(IPushProducer)
@define(eq=False)
class _Flow:
    """Says when the client has taken what was written."""

    over: bool = False
    _waits: Deferred[None] | None = field(default=None, init=False)

    def ready(self) -> Deferred[None]:
        """Fires when more can be written."""
        if self._waits is None:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return self._waits

    def pauseProducing(self) -> None:
        if self._waits is None:
            self._waits = Deferred()

    def resumeProducing(self) -> None:
        waits, self._waits = self._waits, None
        if waits is not None and not waits.called:
            waits.callback(None)

    def stopProducing(self) -> None:
        self.over = True
        self.resumeProducing()
