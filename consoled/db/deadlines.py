"""One limit for the time of many answers, and one timer for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from consoled.db.grouping import Call


@define(eq=False)
class Deadlines:
    """Gives up calls that are not answered in time.

    As they all have the same time, they are overdue in the order in which they came.

    :ivar limit: seconds from :meth:`watch` to the answer.
    :ivar error: makes what an overdue call is answered with.
    """

    clock: IReactorTime
    limit: float
    error: Callable[[], Exception]
    _watched: deque[tuple[float, Call]] = field(factory=deque, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def watch(self, call: Call) -> None:
        """Gives the call up if it has no answer when its time is over."""
        self._forget_answered()
        if call.answer.called:
            return
        self._watched.append((self.clock.seconds() + self.limit, call))
        if self._timer is None:
            self._timer = self.clock.callLater(self.limit, self._look)

    def stop(self) -> None:
        """Watches nothing more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        while self._watched and self._watched[0][0] <= now:
            call = self._watched.popleft()[1]
            if not call.answer.called:
                call.give_up(self.error())
        self._forget_answered()
        if self._watched and self._timer is None:
            self._timer = self.clock.callLater(self._watched[0][0] - now, self._look)

    def _forget_answered(self) -> None:
        while self._watched and self._watched[0][1].answer.called:
            self._watched.popleft()
