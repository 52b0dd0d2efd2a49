"""How fast input goes to a guest: a token bucket, without I/O.

A guest's serial driver takes what comes at the speed of its line, and what its terminal cannot
keep is gone without a word (docs/getting-started.rst, "Pasting"). A real line would have been
slow enough; a socket is not.
"""

from __future__ import annotations

from attrs import define, field

BURST = 512
"""Bytes that go at once after a pause, at most."""

_BURST_SECONDS = 0.05
_STEP_SECONDS = 0.02
"""How long the bytes of one step take at the rate: fewer steps would be felt, more cost."""

_ROUNDING = 1e-6
"""Of a byte: after the time that it takes, a byte is there."""


@define
class Bucket:
    """Grants bytes at a steady rate, and some more after a pause.

    In no time ``t`` it grants more than ``burst + rate * t`` bytes.

    :ivar rate: bytes a second; 0 grants everything.
    :ivar now: the time of the last grant, in seconds of any clock that does not step back.
    """

    rate: float
    now: float
    _level: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    @property
    def burst(self) -> float:
        """Bytes that it holds at most: of a slow line fewer, whose guest is as slow."""
        return max(1.0, min(BURST, self.rate * _BURST_SECONDS))

    def grant(self, wanted: int, now: float) -> int:
        """Takes out as many of these bytes as there are.

        :param now: the time, in seconds.
        :returns: how many of them may go now.
        """
        if not self.rate:
            return wanted
        passed, self.now = now - self.now, now
        self._level = min(self.burst, self._level + passed * self.rate)
        granted = min(wanted, int(self._level + _ROUNDING))
        self._level -= granted
        return granted

    def wait(self) -> float:
        """Seconds until a step's worth of bytes can be granted; they are at least one."""
        step = max(1.0, min(self.burst, self.rate * _STEP_SECONDS))
        return max(0.0, step - self._level) / self.rate
