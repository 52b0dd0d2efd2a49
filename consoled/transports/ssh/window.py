"""How much a channel's other side may send before it is told to go on (RFC 4254, section 5.2).

A window is promised again when what it brought has been taken by its reader, not when it
arrived: so a reader that stalls holds a window's worth of bytes and no more. A small window
costs throughput on a long way; so it doubles while more than half of it is taken in a round
trip, which is when the reader keeps up and the way is what limits. It is small again after the
reader has stalled.
"""

from __future__ import annotations

from attrs import define, field

SMALLEST = 64 * 1024
"""Bytes that a channel begins with, and what it holds for a reader that stalls."""

LARGEST = 2 * 1024 * 1024
"""Bytes that a channel may grow to; OpenSSH's own."""

STEP = 96 * 1024
"""Bytes at the most that a large window waits for before it promises them again: in halves, what
is under way would come in bursts with gaps between them."""

STALLED = 1.0
"""Seconds of a pause after which a window is small again."""


@define
class Window:
    """One channel's window.

    :ivar size: what is promised when nothing waits.
    :ivar left: what the other side may still send.
    """

    size: int = SMALLEST
    left: int = SMALLEST
    _waiting: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    def receive(self, count: int) -> bool:
        """So many bytes came; whether the other side was allowed to send them."""
        if count > self.left:
            return False
        self.left -= count
        self._waiting += count
        return True

    def take(self, count: int) -> bool:
        """The reader took so many bytes; whether it is time to promise more."""
        self._waiting -= count
        self._taken += count
        room = self.size - self.left - self._waiting
        return room >= STEP or room >= self.size // 2

    def promise(self, now: float, round_trip: float) -> int:
        """How many bytes more the other side may send.

        :param now: any clock's seconds.
        :param round_trip: seconds.
        """
        elapsed = now - self._since
        if elapsed >= round_trip:
            if 2 * self._taken * round_trip > self.size * elapsed and self.size < LARGEST:
                self.size *= 2
            self._taken, self._since = 0, now
        room = self.size - self.left - self._waiting
        self.left += room
        return room

    def paused(self, seconds: float) -> None:
        """The reader goes on after a pause of so many seconds."""
        if seconds > STALLED:
            self.size = SMALLEST
