"""A recording's file for another replica of the cell, which was asked for it and has it not.

``GET /v1/replica/recordings/{id}`` 200 with the file, 404 where it is not here either;
``DELETE`` 204, 404, or 409 while its session goes on. Both with a ticket, as viewers have
that another replica brings (:mod:`consoled.replicas.tickets`); what the caller may do was
judged by the replica that asks.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.api.recordings import MEDIA_TYPE
from consoled.api.sending import send_file
from consoled.errors import Unavailable
from consoled.recording.files import RecordingFiles
from consoled.recording.values import is_session_id
from consoled.replicas.hops import TICKET
from consoled.replicas.tickets import TicketOffice

log = Logger()

PATH = "/v1/replica/recordings/"


def papers(method: str, session_id: str) -> bytes:
    """What a ticket is for: this, with this recording, and nothing else."""
    return f"{method} {PATH}{session_id}".encode()


@frozen
class Lender:
    """Answers other replicas that ask for a recording.

    :ivar files: those of this host.
    """

    tickets: TicketOffice
    files: RecordingFiles

    def is_asked(self, request: Any) -> bool:
        """Whether another replica says that it wants a recording."""
        begins: bool = request.path.startswith(PATH.encode())
        return begins and request.requestHeaders.hasHeader(TICKET)

    def take(self, request: Any) -> None:
        """Answers such a request, now or later."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        request.setHeader("Cache-Control", "no-store")
        # Not ended with the client's connection: an opened file has to be closed again.
        Deferred.fromCoroutine(self._take(request, gone)).addErrback(
            lambda failure: log.failure("lending a recording failed", failure)
        )

    async def _take(self, request: Any, gone: list[object]) -> None:
        try:
            await self._answer(request, gone)
        except (OSError, Unavailable) as error:
            log.warn("a recording cannot be lent: {reason}", reason=str(error))
            request.setResponseCode(HTTPStatus.SERVICE_UNAVAILABLE)
        if not gone:
            request.finish()

    async def _answer(self, request: Any, gone: list[object]) -> None:
        session_id = request.path.decode("latin-1").removeprefix(PATH)
        method = request.method.decode("latin-1")
        if not await self._invited(request, method, session_id):
            request.setResponseCode(HTTPStatus.FORBIDDEN)
            return
        try:
            if method == "DELETE":
                deleted = await self.files.delete(session_id)
                request.setResponseCode(HTTPStatus.NO_CONTENT if deleted else HTTPStatus.CONFLICT)
                return
            content = await self.files.open(session_id)
        except FileNotFoundError:
            request.setResponseCode(HTTPStatus.NOT_FOUND)
            return
        if gone:
            self.files.close(content)
            return
        worker = self.files.worker
        await send_file(request, worker, content.descriptor, content.size, MEDIA_TYPE)

    async def _invited(self, request: Any, method: str, session_id: str) -> bool:
        values = request.requestHeaders.getRawHeaders(TICKET) or [b""]
        if not is_session_id(session_id) or method not in ("GET", "DELETE"):
            return False
        secret = values[0].decode("latin-1")
        return await self.tickets.take(secret, papers(method, session_id))
