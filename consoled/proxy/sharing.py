"""Lines that print much make room for lines on which somebody types.

One read of a flood holds the reactor for some 50 us, and the next line is served after it. That
is not all that it takes, though: who makes the flood and who reads it run on the same machine,
and a process that never sleeps lets the others wait for a processor. So while others type, a line
rests after each portion of output. It still prints far more than anybody reads.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

PORTION = 96 * 1024
"""Bytes of output after which a line rests."""

REST = 0.001
"""Seconds of a rest: 90 MB a second are left to the line."""

RECENT = 0.2
"""Seconds for which somebody who has typed counts as typing."""


@define(eq=False)
class Sharing:
    """Who has typed lately, of all lines of the daemon.

    :ivar seconds: a clock that does not step.
    """

    seconds: Callable[[], float]
    _last: object = None
    _last_at: float = -RECENT
    _other_at: float = -RECENT

    def typed(self, line: object) -> None:
        """Somebody types on that line."""
        if line is not self._last:
            self._last, self._other_at = line, self._last_at
        self._last_at = self.seconds()

    def others_type(self, line: object) -> bool:
        """Whether somebody types on another line than that one."""
        when = self._other_at if line is self._last else self._last_at
        return self.seconds() - when < RECENT
