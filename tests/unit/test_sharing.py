"""consoled.proxy.sharing: a line that prints much rests while somebody types elsewhere."""

from __future__ import annotations

import pytest
from attrs import evolve
from test_session import TOKEN, Bench

from consoled.proxy.sharing import PORTION, RECENT, REST, Sharing

OTHER = evolve(TOKEN, token_hash="cd" * 32, index=1, port=10001)


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def seconds(self) -> float:
        """The time that was set."""
        return self.now


def test_one_s_own_typing_does_not_count() -> None:
    """Whoever types `yes` and then ^C does not slow their own line."""
    clock = Hand()
    sharing = Sharing(clock.seconds)
    assert not sharing.others_type("a")
    sharing.typed("a")
    assert not sharing.others_type("a")
    assert sharing.others_type("b")
    sharing.typed("b")
    sharing.typed("b")
    assert sharing.others_type("a")
    assert sharing.others_type("b")


def test_typing_counts_for_a_while() -> None:
    """Each line's last typing is over after RECENT, whoever typed in between."""
    clock = Hand()
    sharing = Sharing(clock.seconds)
    sharing.typed("a")
    clock.now = RECENT * 0.9
    sharing.typed("b")
    assert sharing.others_type("b")
    clock.now = RECENT * 1.1
    assert not sharing.others_type("b")
    assert sharing.others_type("a")


def test_a_flood_rests_while_another_line_is_typed_on() -> None:
    """Its console is not read for REST after each portion, and no byte is lost."""
    bench = Bench()
    _, viewer, flood = bench.opened()
    typist, _, _ = bench.opened(token=OTHER)
    typist.typed(b"a")
    for _ in range(2):
        flood.protocol.dataReceived(b"y" * (PORTION - 1))
        assert flood.producerState == "producing"
        flood.protocol.dataReceived(b"y")
        assert flood.producerState == "paused"
        bench.reactor.advance(REST)
        assert flood.producerState == "producing"
    assert len(viewer.sent) == 2 * PORTION


@pytest.mark.parametrize("typed_before", [None, RECENT])
def test_alone_it_does_not_rest(typed_before: float | None) -> None:
    """Where nobody types, or not any more, a line prints as fast as it can."""
    bench = Bench()
    writer, _, flood = bench.opened()
    typist, _, _ = bench.opened(token=OTHER)
    writer.typed(b"yes\r")
    if typed_before is not None:
        typist.typed(b"a")
        bench.reactor.advance(typed_before)
        writer.typed(b"yes\r")
    flood.protocol.dataReceived(b"y" * PORTION)
    assert flood.producerState == "producing"
