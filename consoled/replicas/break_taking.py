"""A BREAK that another replica asks for, on a line of this one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import Conflict, Unavailable
from consoled.interfaces import BreakControl
from consoled.proxy.book import SessionBook
from consoled.proxy.breaking import break_on_line
from consoled.replicas.break_papers import PAPERS, PATH, subject, unpack
from consoled.replicas.hops import TICKET
from consoled.replicas.papers import UnreadablePapers
from consoled.replicas.tickets import TicketOffice

log = Logger()


@frozen
class BreakTaker:
    """Answers other replicas that ask for a BREAK; they have judged who may.

    :ivar breaks: sends it; None where the driver cannot.
    :ivar sessions: the lines of this replica.
    """

    tickets: TicketOffice
    breaks: BreakControl | None
    sessions: SessionBook

    def is_asked(self, request: Any) -> bool:
        """Whether another replica says that it wants a BREAK."""
        asked: bool = request.path == PATH and request.requestHeaders.hasHeader(TICKET)
        return asked

    def take(self, request: Any) -> None:
        """Answers such a request, now or later."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        Deferred.fromCoroutine(self._take(request, gone)).addErrback(
            lambda failure: log.failure("a BREAK for another replica failed", failure)
        )

    async def _take(self, request: Any, gone: list[object]) -> None:
        try:
            status, text = await self._answer(request), ""
        except Conflict as error:
            status, text = HTTPStatus.CONFLICT, str(error)
        except Unavailable as error:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
        if gone:
            return
        request.setResponseCode(status)
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        request.write(text.encode())
        request.finish()

    async def _answer(self, request: Any) -> HTTPStatus:
        tickets = request.requestHeaders.getRawHeaders(TICKET) or [b""]
        papers = request.requestHeaders.getRawHeaders(PAPERS) or [b""]
        secret = tickets[0].decode("latin-1")
        if request.method != b"POST" or not await self.tickets.take(secret, subject(papers[0])):
            return HTTPStatus.FORBIDDEN
        try:
            wish = unpack(papers[0])
        except UnreadablePapers as error:
            log.warn("another replica's BREAK cannot be understood: {reason}", reason=str(error))
            return HTTPStatus.BAD_REQUEST
        if self.breaks is None:
            return HTTPStatus.NOT_FOUND
        sent = await break_on_line(self.sessions, wish.key, self.breaks, wish.sysrq, wish.by)
        return HTTPStatus.NO_CONTENT if sent else HTTPStatus.NOT_FOUND
