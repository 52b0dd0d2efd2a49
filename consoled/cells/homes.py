"""Which cell has what: remembered, bounded, and never trusted.

It saves asking every cell, and nothing more: what it says is found out anew by each request.
So it is kept in memory only, and a restart learns it again (docs: decisions/0050).
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

MOST = 50_000
"""Ids that are remembered; the one that was not asked for for longest goes first."""


@define(eq=False)
class Homes:
    """The cells of ids."""

    most: int = MOST
    _cells: OrderedDict[str, str] = field(factory=OrderedDict, init=False, repr=False)

    def learn(self, uuid: str, cell: str) -> None:
        """That cell has it."""
        self._cells[uuid] = cell
        self._cells.move_to_end(uuid)
        if len(self._cells) > self.most:
            self._cells.popitem(last=False)

    def find(self, uuid: str) -> str | None:
        """The cell that had it last, or None."""
        cell = self._cells.get(uuid)
        if cell is not None:
            self._cells.move_to_end(uuid)
        return cell

    def forget(self, uuid: str) -> None:
        """It is not there, or not any more."""
        self._cells.pop(uuid, None)

    def __len__(self) -> int:
        return len(self._cells)
