"""How late the event loop is: a timer that knows when it should have run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL = 0.5
KEPT = 10
"""Measurements that count as recent: those of the last five seconds."""


@define(eq=False)
class LagMeter:
    """Measures the event loop's lag.

    :ivar note: called with each measurement, in seconds.
    """

    clock: IReactorTime
    note: Callable[[float], None]
    _due: float = field(default=0.0, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _recent: deque[float] = field(factory=lambda: deque(maxlen=KEPT), init=False)

    @property
    def worst(self) -> float:
        """The longest recent lag, in seconds."""
        return max(self._recent, default=0.0)

    def start(self) -> None:
        """Measures from now on."""
        self._due = self.clock.seconds() + INTERVAL
        self._call = self.clock.callLater(INTERVAL, self._measure)

    def stop(self) -> None:
        """Ends the timer."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _measure(self) -> None:
        lag = max(0.0, self.clock.seconds() - self._due)
        self.start()
        self._recent.append(lag)
        self.note(lag)
