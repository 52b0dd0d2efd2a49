r"""What of the input is recorded: only what the guest shows anyway.

A password is not echoed, so input is judged line by line (up to Enter, ^C or ^D): a line is
recorded if the guest echoed all of its characters, each within :data:`PATIENCE`; otherwise
nothing of it is, and one marker stands for it. A line is held back until that is known.

An echo counts only if it is the very next thing that the guest prints. So other output at the
same moment makes a line hidden although it was echoed; it never makes one visible that was
not. What is hidden by that stands in the output all the same.

Keys that print nothing themselves (arrows, Tab, Backspace, escape sequences) need no echo.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from attrs import define, field

PATIENCE = 0.3
"""Seconds that the guest has to echo a character."""

LONGEST = 4096
"""Bytes of one line at most; what is longer is judged in parts."""

HIDDEN = "input hidden"
"""The marker of input that was not echoed."""

_KEY = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b.|[\x00-\x1f\x7f]|[^\x00-\x1f\x7f]", re.S)
_ENDS = (b"\r", b"\n", b"\x03", b"\x04")
# What shells print around an echo, and what Enter is echoed as.
_AROUND = re.compile(rb"(?:\x1b\[[0-?]*[ -/]*[@-~]|[\r\n])+")

Found = tuple[float, bytes | None]


@define
class EchoFilter:
    """Judges the input of one session. Moments are seconds of one clock, and never go back.

    What is found comes as ``(moment, bytes)``, or ``(moment, None)`` for hidden input.
    """

    _line: bytearray = field(factory=bytearray, init=False)
    _pending: deque[tuple[float, int]] = field(factory=deque, init=False)
    _hidden: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)

    def typed(self, at: float, data: bytes) -> Iterator[Found]:
        """Input from the viewer."""
        yield from self.passed(at)
        for match in _KEY.finditer(data):
            if self._ended:
                # The line before was ended, and the guest has not answered to all of it.
                yield from self._finish(at)
            key = match[0]
            if not self._hidden:
                self._line += key
                if key[0] >= 0x20 and key != b"\x7f":
                    self._pending.append((at + PATIENCE, key[0]))
            if key in _ENDS or len(self._line) >= LONGEST:
                self._ended = True
                if not self._pending:
                    yield from self._finish(at)

    def printed(self, at: float, data: bytes) -> Iterator[Found]:
        """Output of the guest."""
        yield from self.passed(at)
        if not self._pending:
            return
        place = 0
        while self._pending and place < len(data):
            around = _AROUND.match(data, place)
            if around is not None:
                place = around.end()
            elif data[place] == self._pending[0][1]:
                self._pending.popleft()
                place += 1
            else:
                yield from self._hide(at)
                return
        if self._ended and not self._pending:
            yield from self._finish(at)

    def passed(self, at: float) -> Iterator[Found]:
        """Time: what was not echoed by now is hidden."""
        if self._pending and self._pending[0][0] < at:
            yield from self._hide(at)

    def close(self, at: float) -> Iterator[Found]:
        """The session's end."""
        yield from self._finish(at)

    def _hide(self, at: float) -> Iterator[Found]:
        self._line.clear()
        self._pending.clear()
        if not self._hidden:
            self._hidden = True
            yield at, None
        if self._ended:
            self._hidden = self._ended = False

    def _finish(self, at: float) -> Iterator[Found]:
        if self._pending:
            yield from self._hide(at)
        elif self._line:
            yield at, bytes(self._line)
        self._line.clear()
        self._hidden = self._ended = False
