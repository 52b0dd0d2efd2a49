"""Requests for what this cell does not have, handed on to the cells that may have it.

A route's answer "nothing here has that id" (:class:`~consoled.errors.NotInThisCell`) is where it
begins: the same request, with the caller's own token, goes to the cell that had the id last, else
to all of them at once, and the first answer that is not "nothing here"
is the answer. Each cell finds out
for itself who the caller is and what they may do. Where a cell does not answer, what nobody else
has may be there: 503 then, and 404 when every cell has said no.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from consoled import __version__
from consoled.api.exchange import exchange_of
from consoled.api.faults import fault, finish
from consoled.api.matching import Route
from consoled.api.routes import is_uuid
from consoled.cells.asking import CellAnswer, Wish
from consoled.cells.gathering import Gatherer
from consoled.cells.homes import Homes
from consoled.cells.hop import CELL, NOT_HERE, VERSION, Hop
from consoled.cells.merging import LISTINGS
from consoled.cells.neighbour import Neighbour
from consoled.cells.wishing import Wishes
from consoled.errors import CellAway, NotInThisCell, Unavailable
from consoled.interfaces import Identity

Here = Callable[[], Awaitable[bytes]]

REACHED = frozenset(
    {"/v1/servers/{server_id}/http/{port}/{path*}", "/v1/servers/{server_id}/tcp/{port}"}
)
"""What carries bytes to an instance: not from cell to cell."""

UUIDS = ("server_id", "session_id", "recording_id")
OTHERS = ("token_id", "token")
"""The values in templates that a cell may have, or another one."""

RETURNED = (
    *("Content-Type", "Content-Disposition", "Content-Range", "Accept-Ranges"),
    *("Retry-After", "WWW-Authenticate", "Allow"),
    *("OpenStack-API-Version", "X-OpenStack-Nova-API-Version", "Vary"),
)
"""The headers of a cell's answer that are the client's."""

_WEAK = (HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
"""What a cell may answer before it has looked whether it has that id."""


@frozen
class Found:
    """Who answered, and what."""

    neighbour: Neighbour
    answer: CellAnswer


class _SaysNo(Exception):
    """The cell has nothing of that id for this caller."""


class _SaysLittle(Exception):
    """The cell's answer counts where no other cell has one.

    :ivar found: the answer.
    """

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


@define(eq=False)
class Handover:
    """Answers requests together with other cells.

    :ivar own: this cell's name.
    :ivar identity: asked before anything leaves the cell.
    :ivar homes: remembers which cell has what.
    :ivar wishes: makes requests for other cells.
    """

    own: str
    neighbours: Sequence[Neighbour]
    identity: Identity
    wishes: Wishes
    homes: Homes = field(factory=Homes)
    _gatherer: Gatherer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._gatherer = Gatherer(self.own, self.neighbours, self.wishes, self.homes)

    def greet(self, request: Request) -> None:
        """Says to another cell which one answers."""
        if Hop.of(request.requestHeaders) is not None:
            request.setHeader(CELL, self.own)
            request.setHeader(VERSION, __version__)
            # Until something is found.
            request.setHeader(NOT_HERE, "true")

    async def answer(
        self, request: Request, route: Route, values: Mapping[str, str], here: Here
    ) -> bytes:
        """The answer's body; status and headers are set on the request.

        :param here: this cell's own answer.
        :raises consoled.errors.CellAway: a cell that may have it does not answer.
        :raises consoled.errors.ConsoledError: as ``here`` does.
        """
        if Hop.of(request.requestHeaders) is not None:
            return await self._alone(request, here)
        if not self.neighbours:
            return await here()
        template = route.template
        if template.endswith("/servers/{server_id}") and values["server_id"] == "detail":
            template = template.replace("{server_id}", "detail")
        listing = LISTINGS.get(template)
        if listing is not None and route.method == "GET":
            return await self._gatherer.answer(request, listing, here)
        name = next((name for name in (*UUIDS, *OTHERS) if name in values), None)
        if name is None or (name in UUIDS and not is_uuid(values[name])):
            return await here()
        uuid = values[name] if name in UUIDS else None
        return await self._one(request, route, values, uuid, here)

    async def _alone(self, request: Request, here: Here) -> bytes:
        """The answer to another cell: what is not here is said to be so, and not looked for."""
        try:
            body = await here()
        except NotInThisCell:
            raise
        except Exception:
            request.responseHeaders.removeHeader(NOT_HERE)
            raise
        request.responseHeaders.removeHeader(NOT_HERE)
        return body

    async def _one(
        self,
        request: Request,
        route: Route,
        values: Mapping[str, str],
        uuid: str | None,
        here: Here,
    ) -> bytes:
        reached = route.template in REACHED
        said_no: set[str] = set()
        home = self._home(uuid)
        if home is not None:
            exchange = exchange_of(request)
            exchange.route = route.template
            exchange.caller = await self.identity.authenticate(request.requestHeaders)
            wish = await self._wish(request, values, reached)
            found = await self._ask_home(home, wish, said_no)
            if found is not None:
                return self._deliver(request, found, reached)
        try:
            body = await here()
        except (NotInThisCell, Unavailable):
            if exchange_of(request).caller is None:
                raise
            wish = await self._wish(request, values, reached)
            found = await self._search(wish, said_no, what=uuid)
            if found is None:
                raise
            if uuid is not None and _proves(found.answer.status):
                self.homes.learn(uuid, found.neighbour.name)
            return self._deliver(request, found, reached)
        if uuid is not None:
            self.homes.forget(uuid)
        return body

    def _home(self, uuid: str | None) -> Neighbour | None:
        name = None if uuid is None else self.homes.find(uuid)
        return next((n for n in self.neighbours if n.name == name), None)

    async def _wish(self, request: Request, values: Mapping[str, str], reached: bool) -> Wish:
        wish = await self.wishes.of(request)
        if not reached:
            return wish
        return wish.asking(f"/v1/servers/{values['server_id']}".encode("ascii"))

    async def _ask_home(self, home: Neighbour, wish: Wish, said_no: set[str]) -> Found | None:
        """The answer of the cell that had it last; None where others have to be asked."""
        try:
            answer = await home.ask(wish)
        except CellAway:
            return None
        if answer.says_no:
            said_no.add(home.name)
            return None
        return Found(home, answer)

    async def _search(self, wish: Wish, said_no: Collection[str], what: str | None) -> Found | None:
        """The first answer of the others that is not a no; None where all have said no.

        :raises consoled.errors.CellAway: one does not answer, and no other has it.
        """
        asked = [n for n in self.neighbours if n.name not in said_no]
        if not asked:
            return None
        outcomes = [Deferred.fromCoroutine(self._judged(n, wish)) for n in asked]
        first: Any = await DeferredList(outcomes, fireOnOneCallback=True, consumeErrors=True)
        if isinstance(first, tuple):
            for outcome in outcomes:
                outcome.cancel()
            found: Found = first[0]
            return found
        failures = [failure for _, failure in first]
        away = [n.name for n, f in zip(asked, failures, strict=True) if f.check(Unavailable)]
        for failure in failures:
            if not failure.check(_SaysNo, _SaysLittle, Unavailable):
                failure.raiseException()
        if away:
            raise _may_be_there(away, what, self.homes)
        little = [failure.value.found for failure in failures if failure.check(_SaysLittle)]
        return little[0] if little else None

    async def _judged(self, neighbour: Neighbour, wish: Wish) -> Found:
        answer = await neighbour.ask(wish)
        if answer.says_no or answer.status == HTTPStatus.UNAUTHORIZED:
            raise _SaysNo
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise neighbour.absence()
        if answer.status in _WEAK:
            raise _SaysLittle(Found(neighbour, answer))
        return Found(neighbour, answer)

    def _deliver(self, request: Request, found: Found, reached: bool) -> bytes:
        neighbour, answer = found.neighbour, found.answer
        exchange_of(request).cell = neighbour.name
        if reached and answer.status in (HTTPStatus.OK, HTTPStatus.FORBIDDEN):
            return _lead_there(request, neighbour)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            exchange_of(request).reason = f"cell {neighbour.name} answers {answer.status}"
        _copy_headers(answer.headers, request.responseHeaders)
        if answer.status == HTTPStatus.NO_CONTENT:
            request.responseHeaders.removeHeader(b"Content-Type")
            request.setResponseCode(answer.status)
            return b""
        return finish(request, answer.status, answer.body)


def _proves(status: int) -> bool:
    """Whether an answer is one about something that is there."""
    return status < HTTPStatus.BAD_REQUEST or status in (HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)


def _copy_headers(source: Headers, to: Headers) -> None:
    for name in RETURNED:
        values = source.getRawHeaders(name)
        if values is not None:
            to.setRawHeaders(name, values)


def _lead_there(request: Request, neighbour: Neighbour) -> bytes:
    where = neighbour.api_url
    request.setHeader(b"Location", where.encode("ascii") + request.uri)
    status = HTTPStatus.TEMPORARY_REDIRECT
    text = (
        f"This instance is in the cell {neighbour.name}, and connections to it go over that "
        f"cell's own API: {where}."
    )
    return finish(request, status, fault(status, text, "otherCell"))


def _may_be_there(away: Sequence[str], what: str | None, homes: Homes) -> CellAway:
    home = None if what is None else homes.find(what)
    if home in away:
        return CellAway(f"{what} is in cell {home}, which does not answer now; try again.")
    cells = f"cell {away[0]} does" if len(away) == 1 else f"the cells {', '.join(away)} do"
    return CellAway(
        f"Nothing of that id is in the cells that answer, and {cells} not answer now: it may be "
        "there. Try again in a moment."
    )
