"""The hash chain: what it shows, and what it cannot."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.recording.chain import Chain, Outcome, Verdict, verify

KEY = b"k" * 32


def chained(key: bytes | None = None, *, close: bool = True) -> bytes:
    """A file of three groups: lines 1-3, 4-5, 6-8."""
    chain = Chain(key)
    text = chain.seal(b"{header}\n# about\n") + chain.seal(b"[1]\n")
    return text + (chain.close(b"[2]\n[3]\n") if close else b"")


def judge(text: bytes, key: bytes | None = None) -> Verdict:
    """The verdict on a text."""
    return verify(io.BytesIO(text), key)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_whole_file(key: bytes | None) -> None:
    """What was written is whole, and its digest is the one that was told at its end."""
    verdict = judge(chained(key), key)
    assert (verdict.outcome, verdict.line, verdict.keyed) == (Outcome.WHOLE, 8, key is not None)
    chain = Chain(key)
    chain.seal(b"{header}\n# about\n")
    chain.seal(b"[1]\n")
    chain.close(b"[2]\n[3]\n")
    assert verdict.digest == chain.digest


def test_cut_between_groups() -> None:
    """A daemon that was killed leaves whole lines: all that is there is proven."""
    verdict = judge(chained(close=False))
    assert (verdict.outcome, verdict.line) == (Outcome.CUT, 6)
    assert verdict.text == "cut at line 6: the closing line is missing"


def test_cut_inside() -> None:
    """A line without its end, and lines without their digest, are told."""
    assert judge(chained()[:-3]).text == "cut at line 8: the line has no end"
    text = chained()
    verdict = judge(text[: text.index(b"[3]")])
    assert (verdict.outcome, verdict.line) == (Outcome.CUT, 6)
    assert judge(b"").outcome is Outcome.CUT


@pytest.mark.parametrize("key", [None, KEY])
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_changed_bit_is_seen(key: bytes | None, place: int, bit: int) -> None:
    """No bit of a file can be changed without a verdict other than whole."""
    text = bytearray(chained(key))
    text[place % len(text)] ^= 1 << bit
    assert judge(bytes(text), key).outcome is not Outcome.WHOLE


@pytest.mark.parametrize("group", [1, 4, 6])
def test_where_it_is_altered(group: int) -> None:
    """The verdict names the lines of the group that is not as it was."""
    lines = chained().splitlines(keepends=True)
    lines[group - 1] = lines[group - 1].replace(b"]", b" ]").replace(b"}", b" }")
    verdict = judge(b"".join(lines))
    assert (verdict.outcome, verdict.line) == (Outcome.ALTERED, group)
    assert verdict.last == {1: 3, 4: 5, 6: 8}[group]


def test_groups_taken_out_moved_or_added() -> None:
    """The chain binds each group to all before it, and nothing may follow the end."""
    lines = chained().splitlines(keepends=True)
    without = lines[:3] + lines[5:]
    assert judge(b"".join(without)).text.startswith("altered at line 4 to 6")
    moved = lines[3:5] + lines[:3] + lines[5:]
    assert judge(b"".join(moved)).outcome is Outcome.ALTERED
    assert judge(chained() + b"[4]\n").text == "altered at line 9: the recording ended before it"


def test_a_group_s_digest_does_not_close() -> None:
    """A cut file cannot be made whole by the digests that stand in it."""
    text = chained(KEY, close=False)
    head, last = text.rsplit(b"# ", 1)
    assert judge(head + b"# end " + last, KEY).outcome is Outcome.ALTERED


def test_a_chain_without_key_can_be_computed_anew() -> None:
    """What is documented: without a key only a digest kept elsewhere shows a new chain."""
    forged = Chain()
    text = forged.close(b"{header}\n[a lie]\n")
    assert judge(text).outcome is Outcome.WHOLE
    assert judge(text).digest != judge(chained()).digest


def test_a_key_is_not_left_out() -> None:
    """With a key, a file with a plain chain or with another key's is not proven."""
    assert judge(chained(None), KEY).text == "altered at line 1 to 3: its chain has no key"
    other = judge(chained(b"o" * 32), KEY)
    assert other.text == "altered at line 1 to 3: the digest is another one; or this is not its key"
    assert judge(chained(KEY)).outcome is Outcome.NEEDS_KEY


def test_the_key_is_not_shown() -> None:
    """No repr has it."""
    assert "kkk" not in repr(Chain(KEY))
