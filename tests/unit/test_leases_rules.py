"""The pure rules of leases: standing, watch, timings."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.leasing.clock import boottime
from consoled.leasing.standing import Standing
from consoled.leasing.values import Claim, ConsoleKey, LeaseRow, Peer, Timings
from consoled.leasing.watch import PeerWatch

A, B = Peer("a", 1), Peer("b", 1)


def test_a_standing_begins_with_its_registration() -> None:
    """Before that it is valid at no moment, after that until the moment itself."""
    standing = Standing("a")
    assert not standing.valid(-1e9)
    standing.begin(10)
    assert standing.valid(9.999)
    assert not standing.valid(10)


def test_a_beat_extends() -> None:
    """The later end counts: answers may overtake each other."""
    standing = Standing("a")
    standing.begin(10)
    assert standing.extend(12, now=3)
    assert standing.extend(11, now=4)
    assert standing.until == 12


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_lapsed_standing_never_comes_back(late: float, more: float) -> None:
    """Whoever was stopped past the end finds nothing that a beat could give back (F13)."""
    standing = Standing("a")
    standing.begin(10)
    now = 10 + late
    assert not standing.extend(now + more, now)
    assert not standing.valid(now)


def test_an_ended_standing_is_valid_never() -> None:
    """Declared dead counts from that moment on."""
    standing = Standing("a")
    standing.begin(10)
    standing.end()
    assert not standing.valid(0)
    assert not standing.extend(20, 0)


def test_silence_is_counted_from_the_first_look() -> None:
    """Longer than the silence, not as long; nobody is dead at first sight."""
    watch = PeerWatch(12)
    watch.saw([A], 100)
    assert watch.silent(100) == []
    watch.saw([A], 112)
    assert watch.silent(112) == []
    watch.saw([A], 112.5)
    assert watch.silent(112.5) == [A]


def test_a_beat_starts_the_count_again() -> None:
    """Each beat is a new thing to watch, also one that comes late."""
    watch = PeerWatch(12)
    watch.saw([A, B], 0)
    watch.saw([Peer("a", 2), B], 12)
    assert watch.silent(13) == [B]
    watch.saw([Peer("a", 2)], 24)
    assert watch.silent(24) == []
    assert watch.silent(24.5) == [Peer("a", 2)]


def test_who_is_not_listed_is_forgotten() -> None:
    """A peer that somebody else has declared dead is not looked at any more."""
    watch = PeerWatch(12)
    watch.saw([A, B], 0)
    watch.saw([B], 1)
    assert watch.silent(100) == [B]
    watch.saw([A, B], 101)
    assert watch.silent(101) == [B]


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1)), max_size=30))
def test_nobody_is_silent_who_has_beaten_within_the_time(
    looks: list[tuple[float, int]],
) -> None:
    """Whatever the gaps between looks (a stopped observer), a change within K is no silence."""
    watch, now, beat, changed = PeerWatch(12), 0.0, 0, 0.0
    for gap, beats in looks:
        now += gap
        if beats:
            beat, changed = beat + 1, now
        watch.saw([Peer("a", beat)], now)
        if now - changed <= 12:
            assert watch.silent(now) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"silence": 10.0},
        {"validity": 12.0},
        {"beat": 10.0},
        {"beat": 0.0},
    ],
)
def test_timings_that_would_let_two_own_a_console(wrong: dict[str, float]) -> None:
    """The order beat < validity < silence is what the protocol stands on."""
    with pytest.raises(ValueError, match="beat < validity < silence"):
        Timings(**wrong)


def test_the_clock_counts_on() -> None:
    """It does not run behind the clock that stops in a suspend."""
    before = time.monotonic()
    assert boottime() >= before


def test_a_row_without_an_owner_has_no_claim() -> None:
    """Free is: nobody's, or a dead replica's."""
    key = ConsoleKey("uuid", 0)
    nobody = LeaseRow(key, 3, None, owner_dead=False)
    assert nobody.free
    assert nobody.claim is None
    dead = LeaseRow(key, 3, "a", owner_dead=True, session_id="s")
    assert dead.free
    assert dead.claim == Claim(key, "a", "s", 3)
    assert not LeaseRow(key, 3, "a", owner_dead=False, session_id="s").free
