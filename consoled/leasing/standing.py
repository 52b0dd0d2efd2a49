"""How long this replica may act under its present id."""

from __future__ import annotations

import math

from attrs import define, field


@define(eq=False)
class Standing:
    """One incarnation of this replica, from its registration to its end.

    It ends when its validity runs out once, and for good: whoever was stopped past it does
    not come back to what it held.

    :ivar replica_id: its row in ``replicas``.
    :ivar until: the moment on the own clock at which its validity runs out.
    """

    replica_id: str
    until: float = field(default=-math.inf, init=False)

    def begin(self, until: float) -> None:
        """It is registered."""
        self.until = until

    def valid(self, now: float) -> bool:
        """Whether its leases may be used at that moment."""
        return now < self.until

    def extend(self, until: float, now: float) -> bool:
        """A beat has been committed; False if that is known too late."""
        if not self.valid(now):
            return False
        self.until = max(self.until, until)
        return True

    def end(self) -> None:
        """It is not valid any more, at no moment."""
        self.until = -math.inf
