"""The way of the input: keys at once, pastes at their pace, and what becomes of the rest."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from consoled.proxy.inlet import KEY, REPORT, ROOM, Inlet
from consoled.proxy.pacing import BURST

RATE = 11_520
TEXT = bytes(range(32, 96)) * 1024


class Socket:
    """A viewer's transport: whether it is read from."""

    paused = False

    def pauseProducing(self) -> None:
        """Told to stop."""
        assert not self.paused
        self.paused = True

    def resumeProducing(self) -> None:
        """Told to go on."""
        assert self.paused
        self.paused = False


class Bench:
    """An inlet between a viewer's socket and a guest.

    :ivar blocks_after: with so many bytes the console blocks, as a full socket does.
    """

    def __init__(self, rate: float = RATE) -> None:
        self.clock = Clock()
        self.socket = Socket()
        self.guest = b""
        self.told: list[tuple[int, int | None]] = []
        self.blocks_after: int | None = None
        self.inlet = Inlet(self.socket, self.clock, rate, self)

    def let_out(self, data: bytes) -> None:
        """Input for the guest."""
        assert data
        self.guest += data
        if self.blocks_after is not None and len(self.guest) >= self.blocks_after:
            self.inlet.pauseProducing()

    def tell_pasted(self, gone: int, dropped: int | None) -> None:
        """A word to the page."""
        self.told.append((gone, dropped))

    def type(self, data: bytes) -> None:
        """Input, as the session takes it."""
        if len(data) > self.inlet.at_once:
            self.inlet.take(data)
        else:
            self.guest += data

    def run(self, seconds: float) -> None:
        """Time goes by, in turns of a loop."""
        self.clock.pump([0.005] * round(seconds / 0.005))


@pytest.fixture
def bench() -> Bench:
    """A bench at the default rate."""
    return Bench()


def test_keys_go_at_once(bench: Bench) -> None:
    """Typing is not counted, however fast, and leaves no timer."""
    for _ in range(10_000):
        bench.type(b"x" * KEY)
    assert len(bench.guest) == 10_000 * KEY
    assert bench.clock.getDelayedCalls() == []


def test_a_small_paste_goes_at_once(bench: Bench) -> None:
    """So does a line from the clipboard."""
    bench.type(TEXT[:BURST])
    assert bench.guest == TEXT[:BURST]
    bench.type(b"\r")
    assert bench.guest == TEXT[:BURST] + b"\r"
    assert bench.clock.getDelayedCalls() == []


def test_a_large_paste_has_its_pace(bench: Bench) -> None:
    """Sixty-four KiB go at the rate, and nothing that is typed overtakes them."""
    bench.type(TEXT)
    bench.type(b"\x04")
    bench.run(1)
    assert BURST + RATE * 0.97 <= len(bench.guest) <= BURST + RATE
    bench.run(5)
    assert bench.guest == TEXT + b"\x04"
    assert bench.clock.getDelayedCalls() == []
    bench.type(b"q")
    assert bench.guest.endswith(b"\x04q")


def test_the_viewer_is_stopped(bench: Bench) -> None:
    """With more than may wait the socket is not read from, until there is room again."""
    bench.type(TEXT[: ROOM + BURST])
    assert not bench.socket.paused
    bench.type(TEXT[:64])
    assert bench.socket.paused
    bench.run(ROOM / 2 / RATE - 0.1)
    assert bench.socket.paused
    bench.run(0.2)
    assert not bench.socket.paused


@pytest.mark.parametrize("rate", [0, RATE])
def test_a_console_that_takes_no_more(rate: int) -> None:
    """Nothing goes to a full console, in whatever rate; then all goes on where it was."""
    bench = Bench(rate)
    bench.inlet.pauseProducing()
    bench.type(b"a")
    bench.type(TEXT[:ROOM])
    bench.run(10)
    assert bench.guest == b""
    assert bench.socket.paused
    bench.inlet.resumeProducing()
    bench.run(2)
    assert bench.guest == b"a" + TEXT[:ROOM]
    assert not bench.socket.paused
    assert bench.clock.getDelayedCalls() == []


def test_a_console_that_is_full_in_the_middle(bench: Bench) -> None:
    """The step after which it is full is the last one."""
    bench.blocks_after = 5000
    bench.type(TEXT[:10_000])
    bench.run(10)
    assert 5000 <= len(bench.guest) < 5000 + BURST
    bench.blocks_after = None
    bench.inlet.resumeProducing()
    bench.run(1)
    assert bench.guest == TEXT[:10_000]


def test_without_a_rate() -> None:
    """Not paced, everything goes at once, past the inlet."""
    bench = Bench(0)
    assert bench.inlet.at_once > len(TEXT)
    bench.inlet.take(TEXT)
    assert bench.guest == TEXT
    assert bench.inlet.at_once > len(TEXT)


def test_progress(bench: Bench) -> None:
    """A page is told of each KiB of its paste that is at the console, and of the end."""
    bench.inlet.announce(5000)
    bench.type(TEXT[:5000])
    bench.run(1)
    counts = [gone for gone, _ in bench.told]
    assert all(dropped is None for _, dropped in bench.told)
    assert counts == sorted(counts)
    assert counts[-1] == 5000
    assert len(counts) == 5
    assert all(after - before >= REPORT for before, after in pairwise(counts[:-1]))
    bench.type(b"q")
    assert counts[-1] == bench.told[-1][0]


def test_progress_of_small_pieces(bench: Bench) -> None:
    """A page behind a slow network sends less than the rate: it is told of each piece."""
    bench.inlet.announce(300)
    for _ in range(3):
        bench.type(TEXT[:100])
        bench.run(0.1)
    assert bench.told == [(100, None), (200, None), (300, None)]
    assert bench.inlet.at_once == KEY


def test_what_was_typed_before_is_no_part_of_a_paste(bench: Bench) -> None:
    """Bytes that waited when the paste began go first and are not counted."""
    bench.type(TEXT[:2000])
    bench.inlet.announce(600)
    bench.type(TEXT[:600])
    bench.run(0.1)
    assert BURST < len(bench.guest) < 2000
    assert bench.told == []
    bench.run(1)
    assert bench.guest == TEXT[:2000] + TEXT[:600]
    assert bench.told[-1] == (600, None)


def test_cancel(bench: Bench) -> None:
    """What waits is dropped, the page knows how much went, and a key goes at once again."""
    bench.inlet.announce(len(TEXT))
    bench.type(TEXT[:8192])
    bench.run(0.3)
    gone = len(bench.guest)
    assert BURST < gone < 8192
    bench.inlet.cancel()
    assert bench.told[-1] == (gone, 8192 - gone)
    bench.type(b"\x03")
    assert bench.guest == TEXT[:gone] + b"\x03"
    bench.run(1)
    assert len(bench.guest) == gone + 1
    assert bench.clock.getDelayedCalls() == []


def test_cancel_at_a_console_that_takes_no_more(bench: Bench) -> None:
    """It needs no room there."""
    bench.inlet.pauseProducing()
    bench.inlet.announce(len(TEXT))
    bench.type(TEXT[:8192])
    assert not bench.socket.paused
    bench.inlet.cancel()
    assert bench.told == [(0, 8192)]
    bench.inlet.resumeProducing()
    assert bench.guest == b""


def test_cancel_of_nothing(bench: Bench) -> None:
    """After the last byte, or without a paste, there is nothing to say; input stays."""
    bench.type(TEXT[:2000])
    bench.inlet.cancel()
    bench.run(1)
    assert bench.guest == TEXT[:2000]
    assert bench.told == []


def test_dropped_by_something_else(bench: Bench) -> None:
    """What waits is dropped, and of the paste what is on its way, but not what comes after it."""
    bench.inlet.announce(6000)
    bench.type(TEXT[:4000])
    dropped = bench.inlet.drop()
    assert dropped == 4000 - BURST
    assert bench.told == [(BURST, dropped)]
    bench.type(TEXT[:1000])
    bench.type(TEXT[:1000])
    bench.type(b"ls\r")
    bench.run(1)
    assert bench.guest == TEXT[:BURST] + b"ls\r"
    assert len(bench.told) == 1


def test_dropped_and_understood(bench: Bench) -> None:
    """A page that has heard of it sends no more of the paste: its cancel makes way for keys."""
    bench.inlet.announce(6000)
    bench.type(TEXT[:4000])
    bench.inlet.drop()
    bench.inlet.cancel()
    bench.type(b"ls\r")
    assert bench.guest == TEXT[:BURST] + b"ls\r"
    assert len(bench.told) == 1


def test_dropped_when_all_of_it_had_come(bench: Bench) -> None:
    """Nothing of it is on its way: the next key counts."""
    bench.inlet.announce(4000)
    bench.type(TEXT[:4000])
    bench.inlet.drop()
    bench.type(b"q")
    assert bench.guest == TEXT[:BURST] + b"q"


def test_stopped(bench: Bench) -> None:
    """When the viewer is gone nothing moves, and no timer stays."""
    bench.type(TEXT)
    bench.inlet.stop()
    bench.inlet.resumeProducing()
    bench.run(1)
    assert bench.guest == TEXT[:BURST]
    assert bench.clock.getDelayedCalls() == []


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=3000),
            st.sampled_from(["block", "free", "wait"]),
        ),
        max_size=30,
    ),
    st.sampled_from([0, 30_000, RATE]),
)
def test_the_same_bytes_in_the_same_order(events: list[bytes | str], rate: int) -> None:
    """Whatever is typed and whenever the console is full, the guest gets just that."""
    bench = Bench(rate)
    typed, blocked = b"", False
    for event in events:
        if isinstance(event, bytes):
            bench.type(event)
            typed += event
        elif event == "wait":
            bench.run(0.05)
        elif blocked != (event == "block"):
            blocked = not blocked
            (bench.inlet.pauseProducing if blocked else bench.inlet.resumeProducing)()
        assert bench.inlet.waiting + len(bench.guest) == len(typed)
        assert bench.socket.paused <= (bench.inlet.waiting > ROOM // 2)
    if blocked:
        bench.inlet.resumeProducing()
    bench.run(len(typed) / RATE + 0.1)
    assert bench.guest == typed
    assert not bench.socket.paused
    assert bench.clock.getDelayedCalls() == []
