"""Whether another cell is there: who finds it out, when, and who waits for it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from attrs import define, field
from fakes import result
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.web.http_headers import Headers

from consoled.cells.asking import CellAnswer, TooLarge, Unreachable, Wish
from consoled.cells.neighbour import Neighbour, State
from consoled.errors import CellAway, Conflict

ANSWER = CellAnswer(200, Headers(), b"{}", "0.9")
WISH = Wish(b"GET", b"/v1/servers")


@define(eq=False)
class Client:
    """Answers what it is told to, or later.

    :ivar asked: how often.
    """

    outcome: CellAnswer | Exception | None = None
    waiting: list[Deferred[CellAnswer]] = field(factory=list)
    asked: int = 0
    name: str = "cell2"
    api_url: str = "https://cell2.test:8774"

    def ask(self, wish: Wish) -> Deferred[CellAnswer]:
        """What it is told to."""
        self.asked += 1
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        if self.outcome is not None:
            return succeed(self.outcome)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)


def seen(client: Client) -> tuple[Neighbour, Clock]:
    """A neighbour that is looked at each 5 s, by a clock that shows the time of day too."""
    clock = Clock()
    # It has all that is asked for.
    return Neighbour(cast(Any, client), "cell1", clock, clock.seconds, 5.0), clock


def test_looks() -> None:
    """Each look finds it up or away; since when it is so does not change with a further look."""
    client = Client(ANSWER)
    cell, clock = seen(client)
    assert cell.sight.state is State.UNKNOWN
    with capturedLogs() as events:
        cell.start()
        assert (cell.sight.state, cell.sight.version) == (State.UP, "0.9")
        client.outcome = Unreachable("nobody there")
        clock.advance(5.0)
        clock.advance(5.0)
        assert (cell.sight.state, cell.sight.since, cell.sight.reason) == (
            State.AWAY,
            5.0,
            "nobody there",
        )
        client.outcome = ANSWER
        clock.advance(5.0)
    assert (cell.sight.state, cell.sight.since) == (State.UP, 15.0)
    assert [e["event"] for e in events if "event" in e] == ["cell_up", "cell_away", "cell_up"]
    cell.stop()
    clock.advance(60.0)
    assert client.asked == 4


def test_the_latency_is_measured() -> None:
    """It is the time of the last look."""
    client = Client()
    cell, clock = seen(client)
    cell.start()
    clock.advance(0.25)
    client.waiting[0].callback(ANSWER)
    assert cell.sight.latency == 0.25
    cell.stop()


def test_one_look_at_a_time() -> None:
    """A cell that does not answer is not asked again before that is over; the end cancels it."""
    client = Client()
    cell, clock = seen(client)
    cell.start()
    for _ in range(4):
        clock.advance(5.0)
    assert client.asked == 1
    cell.stop()
    assert [waiting.called for waiting in client.waiting] == [True]
    assert cell.sight.state is State.UNKNOWN


def test_nobody_waits_for_a_cell_that_is_away() -> None:
    """It is not even asked, until a look has found it."""
    client = Client(Unreachable("nobody there"))
    cell, clock = seen(client)
    cell.start()
    with pytest.raises(CellAway, match="Cell cell2 does not answer now"):
        result(cell.ask(WISH))
    assert client.asked == 1
    client.outcome = ANSWER
    clock.advance(5.0)
    assert result(cell.ask(WISH)) is ANSWER
    cell.stop()


def test_a_question_that_fails_makes_somebody_look() -> None:
    """Only the look decides: one slow answer does not keep others from a cell that is well."""
    client = Client(ANSWER)
    cell, _ = seen(client)
    cell.start()
    client.outcome = None
    asked = cell.ask(WISH)
    asked.addErrback(lambda failure: failure.trap(CellAway))
    client.waiting[0].errback(Unreachable("it did not answer within 10 s"))
    assert len(client.waiting) == 2
    assert cell.sight.state is State.UP
    client.waiting[1].callback(ANSWER)
    assert cell.sight.state is State.UP
    cell.stop()


def test_an_answer_that_is_too_large() -> None:
    """The caller is told where to ask for it; the cell is not away."""
    client = Client(ANSWER)
    cell, _ = seen(client)
    cell.start()
    client.outcome = TooLarge()
    with pytest.raises(Conflict, match="ask its own API at https://cell2"):
        result(cell.ask(WISH))
    assert client.asked == 2
    assert cell.sight.state is State.UP
    cell.stop()


def test_nothing_is_sent_before_it_was_seen() -> None:
    """Who asks first waits for the first look, which has nobody's token."""
    client = Client()
    cell, _ = seen(client)
    asked, left = cell.ask(WISH), cell.ask(WISH)
    left.addErrback(lambda _: None)
    left.cancel()
    assert client.asked == 1
    client.waiting.pop().callback(ANSWER)
    assert client.asked == 2
    client.waiting.pop().callback(ANSWER)
    assert result(asked) is ANSWER
