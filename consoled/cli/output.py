"""What the command prints: tables for people, JSON for scripts.

Names of instances come from whoever may name a virtual machine, so nothing that
commands a terminal (escape sequences, line breaks, text that runs right to left)
is printed as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import click
from attrs import frozen

NOTHING = "-"
"""Stands in a table where there is no value."""

_GAP = "  "
_NARROWEST = 8
_MORE = "…"

Row = Mapping[str, Any]
"""An object of the API."""


@frozen
class Column:
    """One column of a table.

    :ivar name: the API's name of the value; the column is left out where no row has it.
    :ivar heading: what stands above it.
    :ivar shrinks: whether it may lose its end on a narrow terminal (an id may not).
    """

    name: str
    heading: str
    shrinks: bool = False


def printable(text: str) -> str:
    """The text with everything that is not a plain character written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """How many columns of a terminal printable text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def table(columns: Sequence[Column], rows: Sequence[Row], limit: int | None = None) -> str:
    """Aligned lines under headings.

    :param limit: the terminal's width in columns; None for as wide as it gets. Columns
        that shrink lose their ends to keep within it, where that is enough.
    """
    shown = [column for column in columns if any(column.name in row for row in rows)]
    lines = [[column.heading for column in shown]]
    lines += [[cell(row.get(column.name)) for column in shown] for row in rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    if limit is not None:
        _shrink(widths, shown, limit)
    return "\n".join(_line(line, widths) for line in lines)


def cell(value: Any) -> str:
    """A value of the API's JSON as text of one line."""
    if value is None or value in ([], ""):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def _shrink(widths: list[int], columns: Sequence[Column], limit: int) -> None:
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - limit
    while over > 0:
        candidates = [i for i, c in enumerate(columns) if c.shrinks and widths[i] > _NARROWEST]
        if not candidates:
            return
        widths[max(candidates, key=widths.__getitem__)] -= 1
        over -= 1


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [fit(text, room) for text, room in zip(cells, widths, strict=True)]
    return _GAP.join(fitted).rstrip()


def fit(text: str, room: int) -> str:
    """The text in exactly that many columns, its end cut off where it is longer."""
    if width(text) <= room:
        return text + " " * (room - width(text))
    used = 0
    kept = ""
    for character in text:
        used += _columns(character)
        if used > room - 1:
            break
        kept += character
    return kept + _MORE + " " * (room - 1 - width(kept))


def to_json(value: Any) -> str:
    """The API's JSON in ASCII, so that it is safe to print and to pipe."""
    return json.dumps(value, indent=2)


def terminal_width() -> int | None:
    """The width of the terminal, or None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Prints, also where the stream cannot encode every character."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    safe = (text + end).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(safe, nl=False, err=err)
