"""Whether a domain that is not on one compute host may be on another one of the cell."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.errors import Unavailable
from consoled.interfaces import DomainDriver


@frozen(eq=False)
class OtherHosts:
    """The other compute hosts.

    :ivar drivers: of each.
    """

    drivers: Sequence[DomainDriver]

    def have(self, uuids: Sequence[str]) -> Deferred[frozenset[str]]:
        """Those that one of them has, or may have: a host that is away may have any."""
        return Deferred.fromCoroutine(self._have(tuple(uuids)))

    async def _have(self, uuids: tuple[str, ...]) -> frozenset[str]:
        nowhere = frozenset(uuids)
        # All are asked at once: one that hangs costs its own patience only.
        for asked in [driver.gone(uuids) for driver in self.drivers]:
            try:
                nowhere &= frozenset(await asked)
            except Unavailable:
                nowhere = frozenset()
        return frozenset(uuids) - nowhere
