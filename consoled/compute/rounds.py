"""Looks at domains: soon after events, one after another, and again until they succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from consoled.compute.agenda import Agenda
from consoled.compute.backoff import Backoff
from consoled.errors import ConsoledError

SETTLE = 0.1
"""Seconds from an event to the look: an event seldom comes alone."""

INTERVAL = 300.0
"""Seconds between looks at all domains, for what no event told of, and for reservations of
ports that expire."""

Look = Callable[[str | None], Deferred[Any]]
"""Looks at the domain of that uuid, or at all."""


@define(eq=False)
class Rounds:
    """Has domains looked at.

    :ivar looks: what is done, in this order.
    :ivar retry: seconds until looks that failed are tried again.
    """

    looks: Sequence[Look]
    clock: IReactorTime
    retry: Backoff = field(factory=lambda: Backoff(2.0, 60.0))
    _log: Logger = field(factory=Logger, init=False)
    _agenda: Agenda = field(factory=Agenda, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _round: Deferred[None] | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)

    def start(self) -> None:
        """Looks from now on, when it is told to."""
        self._running = True
        self._arrange(INTERVAL)

    def stop(self) -> Deferred[None]:
        """Ends the looks; fires when none is under way."""
        self._running = False
        if self._next is not None and self._next.active():
            self._next.cancel()
        under_way = self._round or succeed(None)
        under_way.cancel()
        return under_way

    def changed(self, uuid: str) -> None:
        """Something happened to that domain."""
        self._agenda.note(uuid)
        self._arrange(SETTLE)

    def everything(self) -> None:
        """Anything may have happened to any domain."""
        self._agenda.note_all()
        self._arrange(0.0)

    def _arrange(self, pause: float) -> None:
        """A round within so many seconds, unless there is one: that looks what has come since."""
        if not self._running or self._round is not None:
            return
        if self._next is not None and self._next.active():
            if self._next.getTime() <= self.clock.seconds() + pause:
                return
            self._next.cancel()
        self._next = self.clock.callLater(pause, self._begin)

    def _begin(self) -> None:
        done = Deferred.fromCoroutine(self._run()).addCallback(self._over)
        # One that never waited is over by now.
        if not done.called:
            self._round = done

    async def _run(self) -> float:
        """One round; seconds until the next one. No error leaves it."""
        looks = self._agenda.take()
        try:
            while looks:
                for look in self.looks:
                    await look(looks[0])
                del looks[0]
        except CancelledError:
            return INTERVAL
        except ConsoledError:
            pass  # Whoever is away, the driver or the database, says so once.
        except Exception:
            self._log.failure("looking at domains failed; it is tried again")
        else:
            self.retry.reset()
            return INTERVAL if self._agenda.is_empty else SETTLE
        self._agenda.put_back(looks)
        return self.retry.pause()

    def _over(self, pause: float) -> None:
        self._round = None
        self._arrange(pause)
