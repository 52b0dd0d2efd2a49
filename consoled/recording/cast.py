"""The lines of a recording: asciicast v3 (https://docs.asciinema.org/manual/asciicast/v3/).

A file begins with a header, a JSON object; each line after it is an event, ``[interval, code,
data]``, or a comment that begins with ``#`` and that players pass over. ``interval`` is the
time since the event before, in seconds. It is the difference of two rounded moments, so the
sum of the intervals never drifts from the clock.

An event's data is text and a console's output is bytes, so this is how one becomes the other:

- Bytes that are UTF-8 are that text. A sequence that is not complete yet (3 bytes at most)
  waits for its end, or for the end of the recording.
- Where an event's bytes are not UTF-8, its text has U+FFFD for what is not, and the next line
  is ``# raw`` with all bytes of that event in base64.

:func:`consoled.recording.reading.original_bytes` goes back, exactly.

Everything is ASCII: JSON escapes the rest, so that nothing in a file commands the terminal of
whoever prints it, and no line has a break inside.
"""

from __future__ import annotations

import json
from base64 import b64encode
from json.encoder import encode_basestring_ascii as _quote_any

from attrs import define, field, frozen

OUTPUT = "o"
INPUT = "i"
RESIZE = "r"
MARKER = "m"

RAW = b"# raw "
"""Begins the comment with the exact bytes of the event before it."""

PIECE = 4096
"""Bytes of output in one event at most: a longer one keeps others from the interpreter."""


@frozen
class Header:
    """What a player is told first.

    :ivar timestamp: when the recording began, seconds since the epoch.
    :ivar title: what the player shows: the instance's name.
    :ivar idle_time_limit: seconds that a player should stay in an idle time, or None.
    """

    timestamp: int
    title: str
    cols: int = 80
    rows: int = 24
    idle_time_limit: float | None = None

    def line(self) -> bytes:
        """The first line of the file."""
        value: dict[str, object] = {
            "version": 3,
            "term": {"cols": self.cols, "rows": self.rows},
            "timestamp": self.timestamp,
            "title": self.title,
        }
        if self.idle_time_limit is not None:
            value["idle_time_limit"] = self.idle_time_limit
        return json.dumps(value).encode("ascii") + b"\n"


def quote(text: str) -> str:
    """The text as a JSON string in ASCII, as :func:`json.dumps` gives it.

    Console output is mostly ASCII with line breaks and colours, and for that a few passes by
    ``replace`` take a fifth of the encoder's time.
    """
    if text.isascii():
        plain = (
            text.replace("\\", "\\\\")
            .replace('"', '\\"')
            .replace("\n", "\\n")
            .replace("\r", "\\r")
            .replace("\x1b", "\\u001b")
        )
        if plain.isprintable():
            return f'"{plain}"'
    return _quote_any(text)


def complete(data: bytes) -> int:
    """How many of the bytes stand before a UTF-8 sequence that has only begun."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            return len(data) - back if _length(byte) > back else len(data)
    return len(data)


def _length(lead: int) -> int:
    """The bytes of the UTF-8 sequence that begins with this one (Unicode, table 3-7)."""
    if 0xC2 <= lead <= 0xDF:
        return 2
    if 0xE0 <= lead <= 0xEF:
        return 3
    return 4 if 0xF0 <= lead <= 0xF4 else 1


@define
class CastWriter:
    """Turns what happens on a console into lines; it keeps at most 3 bytes of each direction.

    All methods give whole lines, or nothing.

    :ivar began: the moment of the beginning, in seconds of the clock that ``at`` is of.
    """

    began: float
    _told: int = field(default=0, init=False)
    _tails: dict[str, bytes] = field(factory=lambda: {OUTPUT: b"", INPUT: b""}, init=False)

    def output(self, at: float, data: bytes) -> bytes:
        """What the guest printed."""
        return self._bytes(at, OUTPUT, data)

    def input(self, at: float, data: bytes) -> bytes:
        """What the viewer typed."""
        return self._bytes(at, INPUT, data)

    def marker(self, at: float, text: str) -> bytes:
        """Something that happened, in a few words."""
        return self._event(at, MARKER, text)

    def resize(self, at: float, cols: int, rows: int) -> bytes:
        """The terminal's new size."""
        return self._event(at, RESIZE, f"{cols}x{rows}")

    def close(self, at: float) -> bytes:
        """What still waited for its end."""
        lines = b"".join(self._piece(at, code, tail) for code, tail in self._tails.items() if tail)
        self._tails = {OUTPUT: b"", INPUT: b""}
        return lines

    def _bytes(self, at: float, code: str, data: bytes) -> bytes:
        data = self._tails[code] + data
        lines, start = [], 0
        while len(data) - start > PIECE:
            piece = data[start : start + PIECE]
            piece = piece[: complete(piece)]
            lines.append(self._piece(at, code, piece))
            start += len(piece)
        rest = data[start:]
        end = complete(rest)
        if end:
            lines.append(self._piece(at, code, rest[:end]))
        self._tails[code] = rest[end:]
        return b"".join(lines)

    def _piece(self, at: float, code: str, data: bytes) -> bytes:
        try:
            return self._event(at, code, data.decode())
        except UnicodeDecodeError:
            line = self._event(at, code, data.decode(errors="replace"))
            return line + RAW + b64encode(data) + b"\n"

    def _event(self, at: float, code: str, text: str) -> bytes:
        moment = max(round((at - self.began) * 1000), self._told)
        interval, self._told = moment - self._told, moment
        # Never an exponent: not every player reads one.
        return b'[%d.%03d, "%s", %s]\n' % (
            *divmod(interval, 1000),
            code.encode(),
            quote(text).encode("ascii"),
        )
