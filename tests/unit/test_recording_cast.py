"""The lines of a recording, and the way back to the bytes."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.recording.cast import PIECE, CastWriter, Header, complete, quote
from consoled.recording.reading import (
    MAX_LINE,
    Event,
    NotARecording,
    events,
    header_of,
    lines_of,
    original_bytes,
)

HEADER = Header(1_767_225_600, "web-1").line()

console_bytes = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"\x1b[1;31mred\x1b[0m\r\n", "\u20ac\U0001f600\u2028".encode(), b"\xff" * 9]),
)
chunks = st.lists(
    st.tuples(st.sampled_from("oi"), st.floats(0, 3), console_bytes), min_size=1, max_size=30
)


def lines(text: bytes) -> list[bytes]:
    """Whole lines, split as files are."""
    return io.BytesIO(text).readlines()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in pieces."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def record(*pieces: bytes) -> list[bytes]:
    """A file with these pieces of output, one a second."""
    writer = CastWriter(0.0)
    text = b"".join(writer.output(float(n), piece) for n, piece in enumerate(pieces))
    return lines(HEADER + text + writer.close(float(len(pieces))))


def test_the_header() -> None:
    """A player learns version, size, moment and title; an idle limit only where there is one."""
    assert json.loads(HEADER) == {
        "version": 3,
        "term": {"cols": 80, "rows": 24},
        "timestamp": 1_767_225_600,
        "title": "web-1",
    }
    assert header_of(Header(1, "x", idle_time_limit=2.5).line())["idle_time_limit"] == 2.5


def test_events_as_players_read_them() -> None:
    """Each kind of event is a JSON array with interval, code and text."""
    writer = CastWriter(100.0)
    text = writer.output(100.25, b"login: ") + writer.input(101.0, b"root\r")
    text += writer.resize(101.5, 120, 40) + writer.marker(101.5, "attach mia")
    assert lines(text) == [
        b'[0.250, "o", "login: "]\n',
        b'[0.750, "i", "root\\r"]\n',
        b'[0.500, "r", "120x40"]\n',
        b'[0.000, "m", "attach mia"]\n',
    ]


def test_intervals_do_not_drift() -> None:
    """Ten thousand events of 1.4 ms take 14 s, although each is told in whole milliseconds."""
    writer = CastWriter(5.0)
    text = b"".join(writer.output(5.0 + n * 0.0014, b"x") for n in range(1, 10_001))
    told = sum(event.interval for event in events(lines(HEADER + text)))
    assert told == pytest.approx(14.0, abs=0.001)


def test_a_split_character_waits_for_its_end() -> None:
    """No event has half a character, and none is recorded twice."""
    assert [e.data for e in events(record(b"a\xe2", b"\x82", b"\xac."))] == ["a", "€."]


def test_half_a_character_at_the_end() -> None:
    """What never ends comes with the recording's end, and its bytes are not lost."""
    file = record(b"a\xe2\x82")
    assert [e.data for e in events(file)] == ["a", "�"]
    assert original_bytes(file) == b"a\xe2\x82"


def test_bytes_that_are_not_text() -> None:
    """They are U+FFFD for players, and exact in the comment that follows."""
    file = record(b"ok \xff\xfe end")
    assert json.loads(file[1])[1:] == ["o", "ok �� end"]
    assert file[2].startswith(b"# raw ")
    assert original_bytes(file) == b"ok \xff\xfe end"


def test_a_real_replacement_character_needs_no_comment() -> None:
    """U+FFFD that the guest printed is told from one that stands for something else."""
    file = record("�".encode())
    assert len(file) == 2
    assert original_bytes(file) == "�".encode()


@given(chunks)
def test_any_bytes_in_any_splits_come_back(happened: list[tuple[str, float, bytes]]) -> None:
    """Whatever passes a console, in whatever pieces, is recovered exactly, each direction."""
    writer, at, text = CastWriter(0.0), 0.0, HEADER
    for code, pause, data in happened:
        at += pause
        text += writer.output(at, data) if code == "o" else writer.input(at, data)
    text += writer.close(at)
    assert text.isascii()
    for code in "oi":
        exact = b"".join(data for c, _, data in happened if c == code)
        assert original_bytes(lines(text), code) == exact


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=12))
def test_splits_do_not_change_the_text(data: bytes, cuts: list[int]) -> None:
    """What a player shows does not depend on how the bytes came."""
    shown = "".join(event.data for event in events(record(*split(data, cuts))))
    assert shown == data.decode("utf-8", "replace")


@given(st.text())
def test_quoting_is_json(text: str) -> None:
    """The short way gives what the JSON encoder gives."""
    assert quote(text) == json.dumps(text)
    ordinary = text.encode("ascii", "ignore").decode()
    assert quote(f"\x1b[1m{ordinary}\r\n") == json.dumps(f"\x1b[1m{ordinary}\r\n")


@given(st.binary(max_size=12))
def test_what_waits_is_the_beginning_of_a_character(data: bytes) -> None:
    """At most 3 bytes wait, and only where more could make them a character."""
    end = complete(data)
    assert len(data) - end <= 3
    if end == len(data) and data:
        assert data[-1] < 0xC2 or data[-1] > 0xF4


def test_long_output_in_pieces() -> None:
    """No event is longer than a piece, and no piece ends inside a character."""
    data = "€".encode() * 5000
    found = list(events(record(data)))
    assert all(len(event.exact) <= PIECE and event.raw is None for event in found)
    assert b"".join(event.exact for event in found) == data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "line 1 is not JSON"),
        (b"[]\n", "line 1 is not the header"),
        (b'{"version": 2, "width": 80, "height": 24}\n', "line 1 is not the header"),
        (b'{"version": 3, "term": {"cols": 0, "rows": 1}}\n', "size of the terminal"),
        (HEADER + b"nonsense\n", "line 2 is not JSON"),
        (HEADER + b'["x"]\n', "line 2 is neither an event nor a comment"),
        (HEADER + b'[-1, "o", "x"]\n', "line 2 has no interval"),
        (HEADER + b'[NaN, "o", "x"]\n', "line 2 has no interval"),
        (HEADER + b'[1, "o", 2]\n', "line 2 has no code and text"),
        (HEADER + b"# raw QQ==\n", "line 2 is the raw form of no event"),
        (HEADER + b'[1, "o", "x"]\n# raw !!\n', "line 3 is not base64"),
        (HEADER + b"[" * 100_000 + b"\n", "line 2 is not JSON"),
    ],
)
def test_what_is_no_recording(text: bytes, why: str) -> None:
    """A file that is something else is refused with the line."""
    with pytest.raises(NotARecording, match=why):
        list(events(lines(text)))


def test_a_line_without_end() -> None:
    """A hostile file does not fill the memory."""
    with pytest.raises(NotARecording, match="line 1 is longer"):
        list(lines_of(io.BytesIO(b"x" * (MAX_LINE + 1))))


def test_comments_between() -> None:
    """Comments are passed over, wherever they stand."""
    file = lines(HEADER + b'# c\n[1, "o", "x"]\n# sha256 00\n\n[2, "z", "?"]\n')
    assert list(events(file)) == [Event(1.0, "o", "x"), Event(2.0, "z", "?")]
