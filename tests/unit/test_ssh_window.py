"""How much a channel's other side may send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consoled.transports.ssh.window import LARGEST, SMALLEST, STEP, Window


def test_nothing_is_promised_before_it_is_taken() -> None:
    """A reader that takes nothing holds one window's worth, and no promise follows."""
    window = Window()
    assert window.receive(SMALLEST)
    assert window.left == 0
    assert not window.receive(1)


def test_half_a_window_at_a_time() -> None:
    """A promise is made when half of the window has been taken."""
    window = Window()
    window.receive(SMALLEST)
    assert not window.take(SMALLEST // 4)
    assert window.take(SMALLEST // 4)
    assert window.promise(100.0, 0.001) == SMALLEST // 2
    assert window.left == SMALLEST // 2


def test_a_large_window_is_promised_in_small_steps() -> None:
    """So that what is under way has no gaps."""
    window = Window(LARGEST, LARGEST)
    window.receive(STEP)
    assert not window.take(STEP - 1)
    assert window.take(1)
    assert window.promise(100.0, 0.001) == STEP


def rounds(window: Window, seconds: float, round_trip: float, count: int) -> None:
    """So many times half a window comes and is taken, each after so many seconds."""
    now = 100.0
    for _ in range(count):
        half = window.size // 2
        assert window.receive(half)
        now += seconds
        assert window.take(half)
        window.promise(now, round_trip)


def test_it_grows_where_the_way_limits() -> None:
    """A whole window in a round trip: it doubles, up to OpenSSH's own size."""
    window = Window()
    rounds(window, 0.01, 0.02, 20)
    assert window.size == window.left == LARGEST


def test_it_stays_where_the_sender_limits() -> None:
    """A guest that says less than the way would carry keeps a small window."""
    window = Window()
    rounds(window, 0.03, 0.02, 20)
    assert window.size == SMALLEST


def test_it_is_small_again_after_a_stall() -> None:
    """A second's pause makes it small; a shorter one does not."""
    window = Window()
    rounds(window, 0.01, 0.02, 20)
    window.paused(0.5)
    assert window.size == LARGEST
    window.paused(1.5)
    assert window.size == SMALLEST
    # What was promised stays promised, and is not promised again.
    window.receive(LARGEST)
    assert not window.take(LARGEST - SMALLEST)
    assert window.take(SMALLEST)
    assert window.promise(200.0, 1.0) == SMALLEST


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 32 * 1024), st.floats(0, 0.1))))
def test_what_waits_and_what_is_promised_are_bounded(
    steps: list[tuple[bool, int, float]],
) -> None:
    """However bytes come and are taken, what waits and what may come fit the window."""
    window, waiting, now = Window(), 0, 0.0
    for comes, count, seconds in steps:
        now += seconds
        if comes:
            allowed = count <= window.left
            assert window.receive(count) == allowed
            waiting += count if allowed else 0
        elif waiting:
            taken = min(count, waiting)
            waiting -= taken
            if window.take(taken):
                assert window.promise(now, 0.02) > 0
        assert waiting + window.left <= window.size <= LARGEST
