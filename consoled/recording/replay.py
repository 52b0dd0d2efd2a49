r"""Playing a recording in the terminal of whoever looks at it, without obeying it.

A guest can print what makes a terminal answer (and the shell after it read that as typed),
write to the clipboard, or stay in a mode after the end. So only what draws is let through:
text, line breaks, colours and the movements of the cursor. Everything else is taken out:
OSC, DCS, APC, PM, SOS, all reports and window operations, mouse and paste modes, in their
eight-bit forms too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from attrs import define, field

from consoled.recording.cast import OUTPUT
from consoled.recording.reading import Event

RESTORE = "\x1b[0m\x1b[r\x1b[?25h\x1b[?7h\x1b[?1l\x1b[?1049l\x1b[4l\x1b>\x1b(B\x0f\r\n"
"""What undoes all that is let through."""

_LONGEST = 256
"""Characters of one sequence at most; what is longer is none."""

_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f]+|[\t\n\r\b\x0b\x0c\x0e\x0f]")
_DRAWING = re.compile("[0-9;:]*[@A-HJKLMPSTXZ`abdefgmr]|[0-9;]*[hl]|s|u")
_MODES = frozenset({"?1", "?3", "?5", "?6", "?7", "?25", "?47", "?1047", "?1048", "?1049", "4"})
_CSI = re.compile("\x1b\\[([0-?]*[ -/]*[@-~])")
_CSI_PART = re.compile("\x1b\\[[0-?]*[ -/]*")
_SHORT = re.compile("\x1b([()][0AB]|[78DEMc=>])")
_STRING = re.compile("\x1b[]P_^X]")
_STRING_END = re.compile("\x1b\\\\|[\x07\x18\x1a]")
_OTHER = re.compile("\x1b[ -/]*[0-~]")
# The eight-bit forms, which some terminals obey in UTF-8 too.
_C1 = {code: f"\x1b{chr(code - 0x40)}" for code in range(0x80, 0xA0)}


@define
class Sieve:
    """Lets through what draws. What is cut between two events waits, bounded."""

    _rest: str = field(default="", init=False)
    _in_string: bool = field(default=False, init=False)

    def clean(self, text: str) -> str:
        """What the terminal may have of the text."""
        text, self._rest = self._rest + text.translate(_C1), ""
        out: list[str] = []
        place = 0
        while place < len(text):
            if self._in_string:
                place = self._skip_string(text, place)
            elif (plain := _TEXT.match(text, place)) is not None:
                out.append(plain[0])
                place = plain.end()
            elif text[place] == "\x1b":
                place = self._escape(text, place, out)
            else:
                place += 1
        return "".join(out)

    def _skip_string(self, text: str, place: int) -> int:
        end = _STRING_END.search(text, place)
        if end is not None:
            self._in_string = False
            return end.end()
        if text.endswith("\x1b"):
            self._rest = "\x1b"
        return len(text)

    def _escape(self, text: str, place: int, out: list[str]) -> int:
        if (csi := _CSI.match(text, place)) is not None:
            if len(csi[0]) <= _LONGEST and _draws(csi[1]):
                out.append(csi[0])
            return csi.end()
        if (short := _SHORT.match(text, place)) is not None:
            # A reset would also clear what the user's terminal was set to.
            out.append("\x1b[0m\x1b[H\x1b[2J" if short[1] == "c" else short[0])
            return short.end()
        if _STRING.match(text, place) is not None:
            self._in_string = True
            return place + 2
        part = _CSI_PART.match(text, place)
        cut = len(text) - place <= 2 if part is None else part.end() == len(text)
        if cut and len(text) - place <= _LONGEST:
            self._rest = text[place:]
            return len(text)
        other = _OTHER.match(text, place)
        if part is None and other is not None:
            return other.end()
        return place + 1 if part is None else part.end()


def _draws(sequence: str) -> bool:
    """Whether a CSI sequence, without its beginning, only draws."""
    if sequence[-1] in "hl":
        modes = sequence[:-1].split(";")
        prefix = "?" if modes[0].startswith("?") else ""
        return all((prefix + mode.lstrip("?")) in _MODES for mode in modes)
    return _DRAWING.fullmatch(sequence) is not None


def play(
    events: Iterable[Event],
    write: Callable[[str], None],
    wait: Callable[[float], None],
    *,
    speed: float = 1.0,
    idle_limit: float | None = None,
) -> None:
    """Plays the output of a recording; what was typed goes nowhere.

    :param wait: waits so many seconds.
    :param speed: how many times as fast as it was.
    :param idle_limit: the longest pause in seconds, before the speed counts; None keeps all.
    """
    sieve = Sieve()
    pause = 0.0
    for event in events:
        interval = event.interval
        pause += interval if idle_limit is None else min(interval, idle_limit)
        if event.code != OUTPUT:
            continue
        text = sieve.clean(event.data)
        if pause > 0:
            wait(pause / speed)
            pause = 0.0
        write(text)
