"""``/metrics``, ``/healthz`` and ``/readyz``: a site of its own, for no browser and no user."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from consoled.http.channel import BoundedSite
from consoled.metrics.health import Readiness
from consoled.metrics.instruments import CONTENT_TYPE, Instruments
from consoled.metrics.open_sessions import OpenSessions

log = Logger()

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@frozen
class Page:
    """One answer.

    :ivar status: its HTTP status.
    """

    status: int
    content_type: str
    body: bytes


@frozen
class Pages:
    """What is behind each path.

    :ivar clock: lets others have their turn.
    """

    instruments: Instruments
    sessions: OpenSessions
    readiness: Readiness
    clock: IReactorTime

    async def metrics(self) -> Page:
        """The figures, live ones as of now."""
        await self.sessions.look()
        pieces = []
        for piece in self.instruments.page():
            pieces.append(piece)
            await deferLater(self.clock, 0)
        return Page(200, CONTENT_TYPE, b"".join(pieces))

    async def health(self) -> Page:
        """The process lives: it has just answered."""
        return Page(200, TEXT, b"ok\n")

    async def ready(self) -> Page:
        """Whether this replica should be sent work."""
        obstacles = await self.readiness.obstacles()
        if not obstacles:
            return Page(200, JSON, _json(status="ready"))
        return Page(503, JSON, _json(status="not ready", reasons=obstacles))


def _json(**answer: object) -> bytes:
    return f"{json.dumps(answer)}\n".encode()


class PagesResource(Resource):
    """The root of the site."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web leaves it untyped
        self._pages: dict[bytes, Callable[[], Awaitable[Page]]] = {
            b"/metrics": pages.metrics,
            b"/healthz": pages.health,
            b"/readyz": pages.ready,
        }

    def render(self, request: IRequest) -> int:
        """Answers a request of whatever method, now or later."""
        return self._respond(request)

    def _respond(self, request: Any) -> int:
        answer: Deferred[None] = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answer.cancel())
        answer.addErrback(_forget_who_is_gone)
        later: int = NOT_DONE_YET
        return later

    async def _answer(self, request: Any) -> None:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD")
            page = Page(405, TEXT, b"Figures are only read here.\n")
        else:
            page = await self._page(request.path)
        request.setResponseCode(page.status)
        request.setHeader("Content-Type", page.content_type)
        request.setHeader("Content-Length", str(len(page.body)))
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.write(b"" if request.method == b"HEAD" else page.body)
        request.finish()

    async def _page(self, path: bytes) -> Page:
        make = self._pages.get(path)
        if make is None:
            return Page(404, TEXT, b"There are /metrics, /healthz and /readyz.\n")
        try:
            return await make()
        except CancelledError:
            raise
        except Exception:
            log.failure("{path} failed", path=path.decode("latin-1"))
            return Page(500, TEXT, b"Something went wrong inside consoled. Its log says what.\n")


def _forget_who_is_gone(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("a page for monitoring failed", failure)


def make_site(pages: Pages) -> BoundedSite:
    """The site, with the bounds of the other listeners."""
    return BoundedSite(PagesResource(pages), pages.clock)
