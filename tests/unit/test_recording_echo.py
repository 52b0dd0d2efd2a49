"""What of the input is recorded."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.recording.echo import LONGEST, EchoFilter

Happened = Iterable[tuple[float, str, bytes]]


def judged(happened: Happened, end: float = 100.0) -> list[bytes | None]:
    """What is found, None for a marker."""
    echo, found = EchoFilter(), []
    for at, code, data in happened:
        found += echo.typed(at, data) if code == "i" else echo.printed(at, data)
    found += echo.close(end)
    return [data for _, data in found]


def typing(text: bytes, start: float = 0.0, echo: bool = True) -> list[tuple[float, str, bytes]]:
    """Somebody who types a key each 100 ms, and a guest that answers after 20."""
    happened = []
    for n, byte in enumerate(text):
        at = start + n * 0.1
        happened.append((at, "i", bytes([byte])))
        if byte == 13:
            happened.append((at + 0.02, "o", b"\r\n"))
        elif echo:
            happened.append((at + 0.02, "o", bytes([byte])))
    return happened


def test_what_is_echoed() -> None:
    """A line that the guest echoes is recorded as one event."""
    assert judged(typing(b"ls -l\r")) == [b"ls -l\r"]


def test_a_password() -> None:
    """A line without echo leaves one marker, and the next one is judged anew."""
    password = typing(b"hunter2\r", 5.0, echo=False)
    assert judged([*typing(b"sudo ls\r"), *password, *typing(b"id\r", 9.0)]) == [
        b"sudo ls\r",
        None,
        b"id\r",
    ]


def test_a_password_at_once() -> None:
    """Pasted or sent by a script, with Enter in the same piece: hidden as well."""
    assert judged([(0.0, "i", b"hunter2\r"), (0.02, "o", b"\r\n$ ")]) == [None]
    assert judged([(0.0, "i", b"hunter2\r"), (0.5, "o", b"hunter2")]) == [None]


def test_stars() -> None:
    """A prompt that answers with something else echoes nothing."""
    happened = [(n * 0.1, "i", bytes([b])) for n, b in enumerate(b"hunter2\r")]
    stars = [(at + 0.01, "o", b"*") for at, _, _ in happened]
    assert judged(sorted([*happened, *stars])) == [None]


def test_a_password_beside_other_output() -> None:
    """Output that only happens to hold the letters is no echo."""
    noise = (0.15, "o", b"daemon[1]: hunter2 tried hunter2\r\n")
    assert judged([(0.1, "i", b"h"), noise, (0.2, "i", b"unter2\r")]) == [None]


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8))
def test_no_password_beside_any_output(pieces: list[bytes]) -> None:
    """Whatever is printed meanwhile, letters of a silent line never come out of the filter."""
    secret = b"\xf1\xf2\xf3\xf4"
    happened: list[tuple[float, str, bytes]] = []
    for n, byte in enumerate(secret):
        happened.append((n * 0.1, "i", bytes([byte])))
        if n < len(pieces):
            clean = bytes(b for b in pieces[n] if b not in secret)
            happened.append((n * 0.1 + 0.05, "o", clean))
    happened.append((0.5, "i", b"\r"))
    assert all(data is None or not set(data) & set(secret) for data in judged(happened))


def test_the_echo_is_late() -> None:
    """An echo after more than 300 ms does not count."""
    assert judged([(0.0, "i", b"x\r"), (0.29, "o", b"x\r\n")]) == [b"x\r"]
    assert judged([(0.0, "i", b"x\r"), (0.31, "o", b"x\r\n")]) == [None]


def test_colours_around_the_echo() -> None:
    """Shells that colour what is typed echo it all the same."""
    happened = [(0.0, "i", b"ls"), (0.1, "o", b"\x1b[32ml\x1b[0m\x1b[32ms"), (0.2, "i", b"\r")]
    assert judged(happened) == [b"ls\r"]


def test_keys_without_echo() -> None:
    """Arrows, Tab and Backspace need none."""
    keys = [(1.0, "i", b"\x1b[A"), (1.1, "o", b"ls"), (1.2, "i", b"\x7f"), (1.3, "o", b"\b\x1b[K")]
    assert judged([*keys, (2.0, "i", b"\r")]) == [b"\x1b[A\x7f\r"]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\x03", b"\x04"])
def test_ends_of_a_line(end: bytes) -> None:
    """Each of them ends a hidden line."""
    happened = [(0.0, "i", b"s"), (1.0, "i", end), *typing(b"id\r", 2.0)]
    assert judged(happened) == [None, b"id\r"]


def test_an_editor() -> None:
    """Keys that change the screen and are not echoed leave one marker, not one each."""
    keys = [(n * 0.1, "i", b"j") for n in range(50)]
    screen = [(n * 0.1 + 0.01, "o", b"\x1b[5;1Hline") for n in range(50)]
    assert judged(sorted(keys + screen)) == [None]


def test_a_line_without_end_is_bounded() -> None:
    """Long input is judged in parts and never kept whole."""
    echo = EchoFilter()
    found = []
    for n in range(20):
        found += echo.typed(float(n), b"x" * 1000)
        found += echo.printed(n + 0.1, b"x" * 1000)
    assert len(echo._line) <= LONGEST
    assert all(data is None or len(data) <= LONGEST for _, data in found)


def test_an_unfinished_line_at_the_end() -> None:
    """What was echoed is recorded at the session's end; what still waits is hidden."""
    assert judged(typing(b"ls")) == [b"ls"]
    assert judged([(0.0, "i", b"ls")], end=0.1) == [None]
