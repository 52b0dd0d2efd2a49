"""The scrollback ring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consoled.proxy.ring import SLACK, Ring

LIMIT = 100


@given(pieces=st.lists(st.binary(max_size=250), max_size=30), at=st.integers(0, 8000))
def test_the_missing_bytes_exactly(pieces: list[bytes], at: int) -> None:
    """Whatever came in whatever pieces: no gap, no repeat, and what is lost is counted."""
    ring = Ring(LIMIT)
    for piece in pieces:
        ring.append(piece)
    whole = b"".join(pieces)
    assert ring.end == len(whole)
    backlog = ring.since(at)
    assert whole[backlog.offset :] == backlog.data
    if at <= len(whole):
        assert backlog.offset == at + backlog.lost
        assert len(backlog.data) == min(len(whole) - at, LIMIT)
    else:
        assert backlog == ring.since(None)


@given(pieces=st.lists(st.binary(max_size=250), max_size=30))
def test_all_there_is(pieces: list[bytes]) -> None:
    """A viewer that has seen nothing gets the end of the output, and nothing counts as lost."""
    ring = Ring(LIMIT)
    for piece in pieces:
        ring.append(piece)
    whole = b"".join(pieces)
    backlog = ring.since(None)
    assert backlog.data == whole[-LIMIT:]
    assert (backlog.offset, backlog.lost) == (len(whole) - len(backlog.data), 0)


def test_bounded() -> None:
    """One byte at a time or a flood: no more is kept than the limit and the slack."""
    ring = Ring(LIMIT)
    for _ in range(3 * SLACK):
        ring.append(b"x")
        assert len(ring._kept) <= LIMIT + SLACK
    ring.append(bytes(10 * SLACK))
    assert len(ring._kept) == LIMIT
