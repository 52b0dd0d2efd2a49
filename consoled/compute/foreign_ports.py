"""Ports on which somebody else was found listening, remembered for a while."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

REMEMBERED_FOR = 300.0
"""Seconds in which such a port is not tested again."""


@define(eq=False)
class ForeignPorts:
    """Ports of one compute host that are not worth a test now.

    :ivar seconds: a monotonic clock.
    :ivar remembered_for: seconds.
    """

    seconds: Callable[[], float]
    remembered_for: float = REMEMBERED_FOR
    _until: dict[int, float] = field(factory=dict, init=False)

    def note(self, port: int) -> None:
        """Somebody was found there just now."""
        self._until[port] = self.seconds() + self.remembered_for

    def now(self) -> frozenset[int]:
        """Those that were found not too long ago."""
        now = self.seconds()
        self._until = {port: until for port, until in self._until.items() if until > now}
        return frozenset(self._until)
