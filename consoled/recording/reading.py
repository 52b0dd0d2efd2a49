"""Reading a recording back: its events, and the exact bytes.

It is strict, as it also judges what :mod:`consoled.recording.cast` writes; and bounded, as a
file may come from anybody.
"""

from __future__ import annotations

import binascii
import json
import math
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from attrs import frozen

from consoled.recording.cast import OUTPUT, RAW

MAX_LINE = 1024 * 1024
"""Bytes of a line at most; those of consoled stay below 32 KiB."""


class NotARecording(ValueError):
    """This is not an asciicast v3 file; the text says where and why."""


@frozen
class Event:
    """One event.

    :ivar interval: seconds since the event before.
    :ivar raw: the exact bytes of its text where they are not UTF-8, else None.
    """

    interval: float
    code: str
    data: str
    raw: bytes | None = None

    @property
    def exact(self) -> bytes:
        """The bytes that the event stands for."""
        return self.data.encode() if self.raw is None else self.raw


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the last one perhaps without its end.

    :raises NotARecording: one is longer than :data:`MAX_LINE`.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise NotARecording(f"line {number} is longer than {MAX_LINE} bytes")
        yield line


def header_of(line: bytes) -> dict[str, Any]:
    """The header in a file's first line.

    :raises NotARecording: it is none of version 3.
    """
    value = _json(1, line)
    term = value.get("term") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("version") != 3 or not isinstance(term, dict):
        raise NotARecording("line 1 is not the header of an asciicast v3 file")
    if not all(type(term.get(name)) is int and term[name] > 0 for name in ("cols", "rows")):
        raise NotARecording("line 1 does not say the size of the terminal")
    return value


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events after the header.

    :param lines: of the whole file.
    :raises NotARecording: where and why it is none.
    """
    numbered = enumerate(lines, 1)
    header_of(next(numbered, (1, b""))[1])
    waiting: Event | None = None
    for number, line in numbered:
        if line.startswith(RAW):
            if waiting is None or waiting.raw is not None:
                raise NotARecording(f"line {number} is the raw form of no event")
            waiting = Event(waiting.interval, waiting.code, waiting.data, _raw(number, line))
        elif not line.startswith(b"#") and line.strip():
            if waiting is not None:
                yield waiting
            waiting = _event(number, line)
    if waiting is not None:
        yield waiting


def original_bytes(lines: Iterable[bytes], code: str = OUTPUT) -> bytes:
    """All bytes of one direction, exactly as they were on the wire.

    :param lines: of the whole file.
    :param code: ``o`` or ``i``.
    :raises NotARecording: where and why it is none.
    """
    return b"".join(event.exact for event in events(lines) if event.code == code)


def _event(number: int, line: bytes) -> Event:
    value = _json(number, line)
    if not isinstance(value, list) or len(value) != 3:
        raise NotARecording(f"line {number} is neither an event nor a comment")
    interval, code, data = value
    if type(interval) not in (int, float) or not math.isfinite(interval) or interval < 0:
        raise NotARecording(f"line {number} has no interval")
    if not isinstance(code, str) or not isinstance(data, str):
        raise NotARecording(f"line {number} has no code and text")
    return Event(float(interval), code, data)


def _raw(number: int, line: bytes) -> bytes:
    try:
        return b64decode(line[len(RAW) :].rstrip(b"\n"), validate=True)
    except binascii.Error as error:
        raise NotARecording(f"line {number} is not base64") from error


def _json(number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotARecording(f"line {number} is not JSON") from error
