"""Playing a hostile recording: it draws, and does nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.recording.reading import Event
from consoled.recording.replay import Sieve, play

HOSTILE = [
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b]0;title\x1b\\",
    "\x1b]8;;javascript:alert(1)\x1b\\",
    "\x1b]11;?\x07",
    "\x1bP$qm\x1b\\",
    "\x1b_Gi=1,a=q;AAAA\x1b\\",
    "\x1b^pm\x1b\\",
    "\x1bXsos\x1b\\",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[=c",
    "\x1b[6n",
    "\x1b[?6n",
    "\x1b[5n",
    "\x1b[21t",
    "\x1b[8;1;1t",
    "\x1b[>q",
    "\x1b[?2026$p",
    "\x1b[!p",
    "\x1b[x",
    "\x1b[?1000h",
    "\x1b[?25;1006h",
    "\x1b[?2004h",
    "\x1b[?1004h",
    "\x1b[2i",
    "\x1b[0q",
    "\x1b[20h",
    "\x1b[>4;1m",
    "\x1bZ",
    "\x05",
    "\x07",
    "\x9b6n",
    "\x9d52;c;eA==\x9c",
    "\x90$qm\x9c",
    "\x7f",
    "\x00",
]

HARMLESS = [
    "plain text ünïcode €\r\n\t\b",
    "\x1b[1;31mred\x1b[0m",
    "\x1b[38:2:1:2:3m",
    "\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[3A",
    "\x1b[?25l\x1b[?1049h\x1b[?7l\x1b[4h",
    "\x1b[2;20r\x1b[s\x1b[u\x1b7\x1b8",
    "\x1b(0lqk\x1b(B\x0e\x0f",
    "\x1b[5L\x1b[2M\x1b[3P\x1b[4@\x1b[1X\x1b[2S\x1b[2T",
    "\x1bM\x1bD\x1bE",
]

_ALLOWED = re.compile(
    "[^\x00-\x1f\x7f-\x9f]|[\t\n\r\b\x0b\x0c\x0e\x0f]"
    "|\x1b\\[[0-9;:]*[@A-HJKLMPSTXZ`abdefgmrsu]|\x1b\\[\\??[0-9;?]*[hl]|\x1b[()][0AB]|\x1b[78DEM=>]"
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_taken_out(text: str) -> None:
    """No report, no clipboard, no title, no mouse, no string: in one piece or in many."""
    assert Sieve().clean(f"a{text}b") == "ab"
    sieve = Sieve()
    assert "".join(sieve.clean(character) for character in f"a{text}b") == "ab"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_draws(text: str) -> None:
    """Colours, movements, screens and line drawing are as they were, however they are cut."""
    assert Sieve().clean(text) == text
    sieve = Sieve()
    assert "".join(sieve.clean(character) for character in text) == text


def test_a_reset_clears_only() -> None:
    """A guest's reset clears the screen; the terminal keeps what its user set."""
    assert Sieve().clean("\x1bc") == "\x1b[0m\x1b[H\x1b[2J"


@given(
    st.lists(
        st.text(st.sampled_from("\x1b\x1b[]P\\?;0156nctqhlmHZ$>\x07\x9b\x9c\x18a€")), max_size=8
    )
)
def test_only_what_is_known_comes_out(pieces: list[str]) -> None:
    """Whatever goes in, what comes out is text and known drawing sequences."""
    sieve = Sieve()
    out = "".join(sieve.clean(piece) for piece in pieces)
    assert _ALLOWED.sub("", out) == ""
    assert len(sieve._rest) <= 256


def test_a_string_without_end() -> None:
    """An endless string is swallowed without keeping it."""
    sieve = Sieve()
    assert sieve.clean("\x1b]0;") == ""
    for _ in range(100):
        assert sieve.clean("x" * 1000) == ""
    assert sieve._rest == ""
    assert sieve.clean("\x07after") == "after"


def test_a_sequence_without_end() -> None:
    """An endless sequence is given up, and nothing of it is kept."""
    sieve = Sieve()
    sieve.clean("\x1b[" + "1;" * 1000)
    assert len(sieve._rest) <= 256


def test_playing() -> None:
    """Pauses are as they were, faster, or cut; input and markers are not shown."""
    shown: list[str] = []
    pauses: list[float] = []
    happened = [
        Event(1.0, "o", "a"),
        Event(2.0, "i", "secret"),
        Event(3.0, "m", "marker"),
        Event(20.0, "o", "b\x1b[6n"),
        Event(0.0, "o", "c"),
    ]
    play(happened, shown.append, pauses.append)
    assert ("".join(shown), pauses) == ("abc", [1.0, 25.0])
    pauses.clear()
    play(happened, shown.append, pauses.append, speed=2.0, idle_limit=4.0)
    assert pauses == [0.5, 4.5]
