"""Lists of several cells as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import field, frozen

from consoled.api.server_views import Wanted
from consoled.errors import BadRequest

View = Mapping[str, Any]
Query = dict[bytes, list[bytes]]

MISSING = "missing_cells"
"""The member of an answer with the names of the cells that it lacks."""

_RECORDINGS = 100
"""As many as consoled.api.recordings gives where nobody asks for another number."""


def _by_name(view: View) -> tuple[str, str]:
    return str(view.get("name")), str(view.get("id"))


def _by_console(view: View) -> tuple[str, int]:
    index = view.get("console_index")
    return str(view.get("server_id")), index if isinstance(index, int) else 0


def _by_begin(view: View) -> str:
    return str(view.get("started_at"))


@frozen
class Page:
    """Which part of a list is wanted.

    :ivar after: the id after which it begins.
    :ivar limit: how many; None is all.
    """

    after: str | None = None
    limit: int | None = None

    def of(self, views: Sequence[View]) -> Sequence[View]:
        """That part.

        :raises consoled.errors.BadRequest: the page before ended with one that is not there.
        """
        if self.after is not None:
            ids = [view.get("id") for view in views]
            if self.after not in ids:
                raise BadRequest("The query's marker is not the id of a server.")
            views = views[ids.index(self.after) + 1 :]
        return views if self.limit is None else views[: self.limit]


def _whole(query: Query) -> Page:
    return Page()


def _compute(query: Query) -> Page:
    """Takes the page out of the query: no cell knows where it is in the whole list."""
    wanted = Wanted.of(query)
    for name in (b"limit", b"marker"):
        query.pop(name, None)
    return Page(wanted.after, wanted.limit)


def _newest(query: Query) -> Page:
    sent = query.get(b"limit", [b""])[-1]
    return Page(limit=int(sent) if sent.isdigit() else _RECORDINGS)


@frozen
class Listing:
    """A route whose answer is a list.

    :ivar member: of the answer, with the list.
    :ivar order: of the list.
    :ivar reverse: whether that is its end first.
    :ivar page: which part a query asks for; it may take out what the cells are not asked.
    :ivar tells: whether the answer has :data:`MISSING`; where its form is not ours, a header says
        it alone.
    """

    member: str
    order: Callable[[View], Any]
    reverse: bool = False
    page: Callable[[Query], Page] = field(default=_whole)
    tells: bool = True

    def views(self, answer: Any) -> list[View] | None:
        """The list in an answer's JSON; None where it is something else."""
        found = answer.get(self.member) if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(view, dict) for view in found):
            return None
        return found

    def merged(self, lists: Iterable[Sequence[View]], page: Page) -> Sequence[View]:
        """One list. What two cells claim to have is the first one's.

        :raises consoled.errors.BadRequest: as of :meth:`Page.of`.
        """
        first: dict[Any, View] = {}
        for views in lists:
            for view in views:
                first.setdefault(view.get("id"), view)
        return page.of(sorted(first.values(), key=self.order, reverse=self.reverse))


_COMPUTE = Listing("servers", _by_name, page=_compute, tells=False)

LISTINGS: Mapping[str, Listing] = {
    "/v1/servers": Listing("servers", _by_name),
    "/v1/sessions": Listing("sessions", _by_console),
    "/v1/recordings": Listing("recordings", _by_begin, reverse=True, page=_newest),
    "/v2.1/servers": _COMPUTE,
    "/v2.1/servers/detail": _COMPUTE,
}
"""By their templates."""


def target(path: bytes, query: Query) -> bytes:
    """A request's path with that query."""
    return path + b"?" + urlencode(query, doseq=True).encode("ascii") if query else path
