"""Lists of all cells: each one's own, asked at once, as one answer.

An answer is given while cells are away, too; the header ``X-Consoled-Missing-Cells`` names them,
and so does ``missing_cells`` in the native routes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.web.server import Request

from consoled.api.exchange import exchange_of
from consoled.api.faults import encode, finish
from consoled.cells.asking import Wish
from consoled.cells.homes import Homes
from consoled.cells.merging import MISSING, Listing, Query, View, target
from consoled.cells.neighbour import Neighbour
from consoled.cells.wishing import Wishes
from consoled.errors import ConsoledError, Unavailable

log = Logger()

MISSING_HEADER = "X-Consoled-Missing-Cells"

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""A cell that refuses the caller is not missing: it has nothing for them."""


@frozen
class Gatherer:
    """Asks for the lists.

    :ivar homes: learns from lists of servers which cell has what.
    """

    own: str
    neighbours: Sequence[Neighbour]
    wishes: Wishes
    homes: Homes

    async def answer(
        self, request: Request, listing: Listing, here: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """One list of all cells.

        :param here: this cell's own.
        :raises consoled.errors.ConsoledError: as ``here`` does, but for
            :class:`~consoled.errors.Unavailable` while another cell answers.
        """
        query: Query = request.args or {}
        page = listing.page(query)
        missing, lists = [], []
        away = None
        try:
            whole = json.loads(await here())
            lists.append(listing.views(whole) or [])
        except Unavailable as error:
            if exchange_of(request).caller is None:
                raise
            missing.append(self.own)
            away, whole = error, {}
        wish = (await self.wishes.of(request)).asking(target(request.path, query))
        asked = [Deferred.fromCoroutine(self._ask(n, wish, listing)) for n in self.neighbours]
        outcomes: Any = await DeferredList(asked, consumeErrors=True)
        for neighbour, (good, outcome) in zip(self.neighbours, outcomes, strict=True):
            if good:
                lists.append(outcome)
                self._learn(neighbour, listing, outcome)
            elif outcome.check(ConsoledError):
                missing.append(neighbour.name)
            else:
                outcome.raiseException()
        if away is not None and not lists:
            raise away
        return self._finish(request, listing, whole, listing.merged(lists, page), missing)

    async def _ask(self, neighbour: Neighbour, wish: Wish, listing: Listing) -> Sequence[View]:
        """Its list.

        :raises consoled.errors.Unavailable: it gives none.
        """
        answer = await neighbour.ask(wish)
        if answer.status in _REFUSED:
            return ()
        views = _views(listing, answer.body) if answer.status == HTTPStatus.OK else None
        if views is None:
            log.warn(
                "cell {cell} answers {status} where its list of {what} was asked for",
                event="cell_list_refused",
                cell=neighbour.name,
                status=answer.status,
                what=listing.member,
            )
            raise neighbour.absence()
        return views

    def _learn(self, neighbour: Neighbour, listing: Listing, views: Sequence[View]) -> None:
        if listing.member != "servers":
            return
        for view in views:
            if isinstance(uuid := view.get("id"), str):
                self.homes.learn(uuid, neighbour.name)

    def _finish(
        self,
        request: Request,
        listing: Listing,
        whole: View,
        views: Sequence[View],
        missing: Sequence[str],
    ) -> bytes:
        if missing:
            request.setHeader(MISSING_HEADER, ", ".join(missing))
        told = {MISSING: list(missing)} if listing.tells else {}
        answer = {**whole, listing.member: list(views), **told}
        return finish(request, HTTPStatus.OK, encode(answer))


def _views(listing: Listing, body: bytes) -> Sequence[View] | None:
    try:
        return listing.views(json.loads(body))
    except (ValueError, RecursionError):
        return None
