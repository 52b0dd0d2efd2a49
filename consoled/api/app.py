"""The API as a resource: what every answer and every log line has.

Each answer is JSON with ``X-Openstack-Request-Id``, ``Cache-Control: no-store``
and ``X-Content-Type-Options: nosniff``; each request leaves one access line
with the route's template, never the path or the query.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from consoled.api.breaks import BreaksApi
from consoled.api.cells import CellsApi
from consoled.api.compute import ComputeApi
from consoled.api.domains import Configurators, DomainsApi
from consoled.api.exchange import Exchange, attach, exchange_of, global_request_id
from consoled.api.faults import FaultHandler
from consoled.api.forwarding import ForwardingApi
from consoled.api.matching import RouteTable
from consoled.api.migrations import MigrationsApi
from consoled.api.native import NativeApi
from consoled.api.node_groups import NodeGroupsApi
from consoled.api.nova import NovaApi
from consoled.api.recordings import RecordingsApi
from consoled.api.routes import Routes
from consoled.api.sessions import SessionsApi
from consoled.api.tokens import TokensApi
from consoled.breaking import ConsoleBreaker
from consoled.cells.handing import Handover
from consoled.cells.parts import CellParts
from consoled.compute.image_source import Questions
from consoled.compute.migration.parts import HostMigrations
from consoled.forwarding.parts import ForwardingParts
from consoled.http.listen import peer_address
from consoled.http.requestid import REQUEST_ID_HEADER, new_request_id
from consoled.interfaces import Identity
from consoled.issuing import ConsoleIssuer
from consoled.reaching.groups import NodeGroups
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.revoking import TokenRegister

log = Logger()

CHALLENGE = 'X-Auth-Token realm="consoled"'


@frozen
class ApiParts:
    """What the routes ask. What is None leaves its routes away, where nothing else is said.

    :ivar identity: says who sends a request.
    :ivar issuer: does what it asks for.
    :ivar register: has the tokens that were issued.
    :ivar challenge: the ``WWW-Authenticate`` of a 401.
    :ivar recordings: what was recorded.
    :ivar replays: gives out links that play it.
    :ivar breaker: sends BREAK.
    :ivar groups: the node groups.
    :ivar forwarding: carries HTTP and TCP to instances.
    :ivar domains: configures domains; its routes say so where the driver has none.
    :ivar images: asks what an instance's image says of serial ports.
    :ivar migrations: migrates them; its routes say so where the driver has none.
    :ivar compute: the compute API.
    :ivar cells: answers what other cells have, and shows them.
    """

    identity: Identity
    issuer: ConsoleIssuer
    register: TokenRegister
    challenge: str = CHALLENGE
    recordings: RecordingStore | None = None
    replays: ReplayLinks | None = None
    breaker: ConsoleBreaker | None = None
    groups: NodeGroups | None = None
    forwarding: ForwardingParts | None = None
    domains: Configurators | None = None
    images: Questions | None = None
    migrations: HostMigrations | None = None
    compute: ComputeApi | None = None
    cells: CellParts | None = None


def make_api(
    parts: ApiParts,
    source: Callable[[Request], str] | None = None,
    seconds: Callable[[], float] = time.monotonic,
) -> IResource:
    """The whole API, to be the root of a site.

    :param source: a request's client address for the log; by default the peer's.
    :param seconds: a clock that does not step.
    """
    faults = FaultHandler(parts.challenge)
    handover = None if parts.cells is None else parts.cells.handover
    return ApiResource(route_table(parts), faults, source or peer, seconds, handover)


def route_table(parts: ApiParts) -> RouteTable:
    """All routes."""
    table = RouteTable()
    routes = Routes(table, parts.identity)
    NovaApi(parts.issuer).mount(routes)
    NativeApi(parts.issuer).mount(routes)
    SessionsApi(parts.issuer).mount(routes)
    DomainsApi(parts.issuer, parts.domains, parts.images).mount(routes)
    MigrationsApi(parts.issuer, parts.migrations).mount(routes)
    TokensApi(parts.register).mount(routes)
    if parts.compute is not None:
        parts.compute.mount(routes)
    if parts.recordings is not None:
        RecordingsApi(parts.recordings, parts.replays).mount(routes)
    if parts.breaker is not None:
        BreaksApi(parts.breaker).mount(routes)
    if parts.groups is not None:
        NodeGroupsApi(parts.groups).mount(routes)
    if parts.forwarding is not None:
        ForwardingApi(parts.forwarding.http, parts.forwarding.tunnels).mount(routes)
    if parts.cells is not None:
        CellsApi(parts.cells.directory).mount(routes)
    return table


def peer(request: Request) -> str:
    """The address of the connection's other end."""
    return peer_address(getattr(request.getClientAddress(), "host", ""))


class ApiResource(Resource):
    """Gives a request its exchange, then hands it to its route.

    :param faults: answers what fails.
    :param cells: answers what other cells have.
    """

    isLeaf = True

    def __init__(
        self,
        table: RouteTable,
        faults: FaultHandler,
        source: Callable[[Request], str],
        seconds: Callable[[], float],
        cells: Handover | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web leaves it untyped
        self._table = table
        self._faults = faults
        self._source = source
        self._seconds = seconds
        self._cells = cells

    def render(self, request: Request) -> int:
        """Answers, now or later; a client that goes away ends what is done for it."""
        exchange = Exchange(
            request_id=getattr(request, "request_id", None) or new_request_id(),
            global_request_id=global_request_id(request.getHeader(REQUEST_ID_HEADER)),
            src=self._source(request),
            started=self._seconds(),
        )
        attach(request, exchange)
        request.setHeader(REQUEST_ID_HEADER, exchange.request_id)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if self._cells is not None:
            self._cells.greet(request)
        finished = request.notifyFinish().addBoth(self._finished, request)
        answering = Deferred.fromCoroutine(self._answer(request, exchange))
        answering.addErrback(partial(log.failure, "an answer could not be written"))
        finished.addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        try:
            route, values = self._table.find(request.method, request.postpath or ())
            here = partial(route.endpoint, request, **values)
            if self._cells is None:
                body = await here()
            else:
                body = await self._cells.answer(request, route, values, here)
        except Exception:
            failure = Failure()
            if exchange.abandoned:
                if not failure.check(CancelledError):
                    log.failure("a request failed whose client had gone", failure)
                return
            body = self._faults.answer(request, failure)
        if not exchange.abandoned and not exchange.taken:
            request.write(body)
            request.finish()

    def _finished(self, outcome: Failure | None, request: Request) -> Failure | None:
        exchange = exchange_of(request)
        gone = exchange.abandoned = outcome is not None
        caller = exchange.caller
        log.emit(
            LogLevel.warn if request.code >= 500 and not gone else LogLevel.info,
            "{method} {route} {status} in {duration_s} s",
            event="request_abandoned" if gone else "request_answered",
            method=request.method.decode("ascii", "replace")[:16],
            route=exchange.route,
            status=None if gone else request.code,
            reason=exchange.reason,
            duration_s=round(self._seconds() - exchange.started, 6),
            request_id=exchange.request_id,
            global_request_id=exchange.global_request_id,
            user_id=caller and caller.user_id,
            project_id=caller and caller.project_id,
            src=exchange.src,
            cell=exchange.cell,
        )
        return outcome
