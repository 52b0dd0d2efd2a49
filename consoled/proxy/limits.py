"""The limits of a session's time, each with a warning a minute before."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

IDLE = 4411
SESSION_LIMIT = 4412
WARNING = 60.0
"""Seconds between the warning and the end."""


@frozen
class SessionLimits:
    """``[consoleauth] max_session``, ``idle_timeout``, ``enforce_session_timeout``.

    :ivar longest: seconds that a session may last; 0 is without end.
    :ivar idle: seconds without input; 0 is without end.
    :ivar token_bound: whether a session ends when its token expires.
    """

    longest: float = 0.0
    idle: float = 0.0
    token_bound: bool = False


@define(eq=False)
class Stopwatch:
    """Ends one session in time.

    :ivar warn: told a sentence a minute before, and whether typing prevents the end.
    :ivar end: told the close code and the reason.
    """

    limits: SessionLimits
    clock: IReactorTime
    warn: Callable[[str, bool], None]
    end: Callable[[int, str], None]
    _timers: list[IDelayedCall] = field(factory=list, init=False)
    _of_token: list[IDelayedCall] = field(factory=list, init=False)
    _idle: IDelayedCall | None = field(default=None, init=False)
    _typed: float = field(default=0.0, init=False)
    _warned: bool = field(default=False, init=False)

    def start(self, token_left: float) -> None:
        """The session is open.

        :param token_left: seconds until its token expires.
        """
        self._typed = self.clock.seconds()
        if self.limits.longest:
            self._timers = self._limit(
                self.limits.longest, "The session has reached its longest time."
            )
        self.renew(token_left)
        if self.limits.idle:
            self._watch_idle()

    def renew(self, token_left: float) -> None:
        """The session goes on under another token.

        :param token_left: seconds until that one expires.
        """
        _cancel(self._of_token)
        if self.limits.token_bound:
            self._of_token = self._limit(
                token_left, "The console's URL has expired, and the session with it."
            )

    def touch(self) -> None:
        """The viewer typed something."""
        self._typed = self.clock.seconds()
        self._warned = False

    def stop(self) -> None:
        """The session is over."""
        _cancel([*self._timers, *self._of_token, *([self._idle] if self._idle else [])])
        self._idle = None

    def _limit(self, seconds: float, reason: str) -> list[IDelayedCall]:
        later = self.clock.callLater
        timers = [later(max(0.0, seconds), self.end, SESSION_LIMIT, reason)]
        if seconds > WARNING:
            timers.append(
                later(seconds - WARNING, self.warn, "This session ends in a minute.", False)
            )
        return timers

    def _watch_idle(self) -> None:
        """One timer for the warning or the end, whichever is next; typing only notes the time."""
        now = self.clock.seconds()
        over = self._typed + self.limits.idle
        warning = over - min(WARNING, self.limits.idle / 2)
        if now >= over:
            self._idle = None
            self.end(IDLE, "Nothing was typed for too long.")
            return
        if now >= warning and not self._warned:
            self._warned = True
            left = round(over - now)
            self.warn(f"Nothing was typed for a while: this session ends in {left} s.", True)
        following = over if self._warned else warning
        self._idle = self.clock.callLater(following - now, self._watch_idle)


def _cancel(timers: list[IDelayedCall]) -> None:
    for timer in timers:
        if timer.active():
            timer.cancel()
