"""What consolectl prints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.cli.output import Column, cell, fit, printable, table, to_json, width

COLUMNS = (Column("id", "ID"), Column("name", "NAME", shrinks=True), Column("host", "HOST"))


def test_columns_are_aligned() -> None:
    """Every column begins where its heading does, and no line ends in spaces."""
    rows = [{"id": "a", "name": "web"}, {"id": "bcd", "name": "database"}]
    assert table(COLUMNS, rows) == "ID   NAME\na    web\nbcd  database"


def test_a_column_that_no_row_has_is_left_out() -> None:
    """What policy hides from the caller has no empty column; a single gap is a dash."""
    rows = [{"id": "a", "name": None, "host": "rack1"}, {"id": "b", "name": "x"}]
    assert table(COLUMNS, rows) == "ID  NAME  HOST\na   -     rack1\nb   x     -"


def test_wide_characters_keep_the_alignment() -> None:
    """East Asian letters take two columns, combining marks none."""
    rows = [{"id": "東京", "name": "1"}, {"id": "e\u0301", "name": "2"}]
    lines = table(COLUMNS, rows).splitlines()
    assert {width(line[: line.index(end)]) for line, end in zip(lines, "N12", strict=True)} == {6}


def test_a_narrow_terminal_shortens_what_may_be() -> None:
    """Names lose their end to a narrow terminal, ids never."""
    rows = [{"id": "0123456789", "name": "a-very-long-name", "host": "rack1"}]
    first, second = table(COLUMNS, rows, 30).splitlines()
    assert second == "0123456789  a-very-lon…  rack1"
    assert first == "ID          NAME         HOST"
    assert "0123456789" in table(COLUMNS, rows, 5)


@given(st.text(max_size=20), st.integers(min_value=1, max_value=30))
def test_fit_gives_that_many_columns(text: str, room: int) -> None:
    """Whatever the text, it fills its room exactly."""
    assert width(fit(printable(text), room)) == room


@given(st.text())
def test_nothing_printed_commands_the_terminal(text: str) -> None:
    """No control, format or surrogate character is left, and plain text stays as it is."""
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ([], "-"),
        ("", "-"),
        (0, "0"),
        (True, "yes"),
        (["10.0.0.5", "::1"], "10.0.0.5, ::1"),
        ("\x1b[31mred\n", "\\x1b[31mred\\n"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    """A value of any JSON type is text of one line."""
    assert cell(value) == shown


def test_json_is_ascii() -> None:
    """JSON comes back as it went in, and holds no byte that a terminal obeys."""
    value = [{"name": "\x9b31m 東京 \u202e"}]
    text = to_json(value)
    assert text.isascii()
    assert json.loads(text) == value
