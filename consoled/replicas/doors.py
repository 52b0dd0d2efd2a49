"""The ways in for other replicas of the cell, besides that of viewers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen


class Door(Protocol):
    """One kind of request that other replicas make, each with a ticket."""

    def is_asked(self, request: Any) -> bool:
        """Whether it is of this kind."""

    def take(self, request: Any) -> None:
        """Answers it, now or later."""


@frozen
class Doors:
    """All of them, as one."""

    doors: Sequence[Door]

    def is_asked(self, request: Any) -> bool:
        """Whether it is of one of the kinds."""
        return any(door.is_asked(request) for door in self.doors)

    def take(self, request: Any) -> None:
        """Answers it, now or later."""
        next(door for door in self.doors if door.is_asked(request)).take(request)
