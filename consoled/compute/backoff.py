"""How long to wait before the next try. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define, field


@define(eq=False)
class Backoff:
    """Pauses that double from try to try, up to a bound, each with a random part.

    Half of a pause is certain; by the other half, daemons that lost the same hypervisor at one
    moment do not all come back at one moment.

    :ivar first: seconds of the first pause, at most.
    :ivar most: seconds of any pause, at most.
    :ivar jitter: gives the random part, 0 <= part < 1.
    """

    first: float
    most: float
    jitter: Callable[[], float] = random.random
    _whole: float | None = field(default=None, init=False)

    def pause(self) -> float:
        """Seconds until the next try."""
        self._whole = min(self.most, self.first if self._whole is None else 2 * self._whole)
        return self._whole * (1 + self.jitter()) / 2

    def reset(self) -> None:
        """A try has succeeded."""
        self._whole = None
