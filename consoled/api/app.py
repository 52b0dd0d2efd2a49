"""The API as a resource: what every answer and every log line has.

Each answer is JSON with ``X-Openstack-Request-Id``, ``Cache-Control: no-store``
and ``X-Content-Type-Options: nosniff``; each request leaves one access line
with the route's template, never the path or the query.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from klein import Klein
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from consoled.api.exchange import Exchange, attach, exchange_of, global_request_id
from consoled.api.faults import FaultHandler
from consoled.api.native import NativeApi
from consoled.api.nova import NovaApi
from consoled.api.recordings import RecordingsApi
from consoled.api.requests import check_target
from consoled.api.routes import Routes
from consoled.api.sessions import SessionsApi
from consoled.api.tokens import TokensApi
from consoled.http.listen import peer_address
from consoled.http.requestid import REQUEST_ID_HEADER, new_request_id
from consoled.interfaces import Identity
from consoled.issuing import ConsoleIssuer
from consoled.recording.store import RecordingStore
from consoled.revoking import TokenRegister

log = Logger()

CHALLENGE = 'X-Auth-Token realm="consoled"'


def make_api(
    identity: Identity,
    issuer: ConsoleIssuer,
    register: TokenRegister,
    *,
    challenge: str = CHALLENGE,
    source: Callable[[Request], str] | None = None,
    seconds: Callable[[], float] = time.monotonic,
    recordings: RecordingStore | None = None,
) -> IResource:
    """The whole API, to be the root of a site.

    :param identity: says who sends a request.
    :param issuer: does what it asks for.
    :param register: has the tokens that were issued.
    :param challenge: the ``WWW-Authenticate`` of a 401.
    :param source: a request's client address for the log; by default the peer's.
    :param seconds: a clock that does not step.
    :param recordings: what was recorded; None leaves its routes away.
    """
    faults = FaultHandler(challenge)
    app = Klein()
    # A redirect would carry the Host header of whoever asks into a Location.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.handle_errors(Exception)(lambda r, failure: faults.answer(cast(Request, r), failure))
    routes = Routes(app, identity)
    NovaApi(issuer).mount(routes)
    NativeApi(issuer).mount(routes)
    SessionsApi(issuer).mount(routes)
    TokensApi(register).mount(routes)
    if recordings is not None:
        RecordingsApi(recordings).mount(routes)
    return ApiResource(app.resource(), faults, source or peer, seconds)


def peer(request: Request) -> str:
    """The address of the connection's other end."""
    return peer_address(getattr(request.getClientAddress(), "host", ""))


class ApiResource(Resource):
    """Gives a request its exchange, then hands it to the routes.

    :param routes: Klein's resource.
    :param faults: answers what fails before a route is found.
    """

    isLeaf = True

    def __init__(
        self,
        routes: IResource,
        faults: FaultHandler,
        source: Callable[[Request], str],
        seconds: Callable[[], float],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web leaves it untyped
        self._routes = routes
        self._faults = faults
        self._source = source
        self._seconds = seconds

    def render(self, request: Request) -> bytes | int:
        """Answers, now or later."""
        exchange = Exchange(
            request_id=getattr(request, "request_id", None) or new_request_id(),
            global_request_id=global_request_id(request.getHeader(REQUEST_ID_HEADER)),
            src=self._source(request),
            started=self._seconds(),
        )
        attach(request, exchange)
        request.setHeader(REQUEST_ID_HEADER, exchange.request_id)
        request.setHeader("Content-Type", "application/json")
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.notifyFinish().addBoth(self._finished, request)
        try:
            check_target(request)
            later: int = self._routes.render(request)
            return later
        except Exception:
            # Klein reads Host and method before its own error handling begins.
            return self._faults.answer(request, Failure())

    def _finished(self, outcome: Failure | None, request: Request) -> None:
        exchange = exchange_of(request)
        gone = outcome is not None
        caller = exchange.caller
        log.emit(
            LogLevel.warn if request.code >= 500 and not gone else LogLevel.info,
            "{method} {route} {status} in {duration_s} s",
            event="request_abandoned" if gone else "request_answered",
            method=request.method.decode("ascii", "replace")[:16],
            route=exchange.route,
            status=None if gone else request.code,
            duration_s=round(self._seconds() - exchange.started, 6),
            request_id=exchange.request_id,
            global_request_id=exchange.global_request_id,
            user_id=caller and caller.user_id,
            project_id=caller and caller.project_id,
            src=exchange.src,
        )
