"""Notices that nothing moves any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall


@define(eq=False)
class IdleWatch:
    """One timer; a movement only notes the time.

    :ivar seconds: without any movement; 0 is without end.
    :ivar expired: told once.
    """

    clock: Any
    seconds: float
    expired: Callable[[], None]
    _moved: float = field(default=0.0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """From now on."""
        self._moved = self.clock.seconds()
        if self.seconds:
            self._timer = self.clock.callLater(self.seconds, self._look)

    def touch(self) -> None:
        """Something moved."""
        self._moved = self.clock.seconds()

    def stop(self) -> None:
        """Nobody waits any more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        left = self._moved + self.seconds - self.clock.seconds()
        if left > 0:
            self._timer = self.clock.callLater(left, self._look)
        else:
            self.expired()
