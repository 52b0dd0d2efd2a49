"""The cells of a deployment, as this one sees them."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled import __version__
from consoled.auth.policy import Rule
from consoled.cells.neighbour import Neighbour, Sight, State
from consoled.errors import Forbidden
from consoled.interfaces import Policy
from consoled.model import Caller


@frozen
class SeenCell:
    """A cell.

    :ivar api_url: where it is asked; None for the own one.
    """

    name: str
    api_url: str | None
    sight: Sight


@frozen
class CellDirectory:
    """Shows them.

    :ivar own: this cell's name.
    :ivar since: when it came up, seconds since the epoch.
    """

    own: str
    neighbours: Sequence[Neighbour]
    policy: Policy
    since: float

    def cells(self, caller: Caller) -> Deferred[list[SeenCell]]:
        """All cells, the own one first.

        :raises consoled.errors.Forbidden: policy says no.
        """
        return Deferred.fromCoroutine(self._cells(caller))

    async def _cells(self, caller: Caller) -> list[SeenCell]:
        if not await self.policy.allows(Rule.CELLS_LIST, caller, caller.project_id):
            raise Forbidden(f"Policy does not allow {Rule.CELLS_LIST}; it is for operators.")
        own = SeenCell(self.own, None, Sight(State.UP, self.since, 0.0, __version__))
        return [own, *(SeenCell(n.name, n.api_url, n.sight) for n in self.neighbours)]
