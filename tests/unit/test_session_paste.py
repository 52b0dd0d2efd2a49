"""A session's input at its pace: what waits, for whom, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from test_session import TOKEN, Bench, Tape
from twisted.logger import capturedLogs
from wires import answer_dial

from consoled.metrics.reading import read_session
from consoled.proxy.core import EARLY_INPUT
from consoled.proxy.inlet import ROOM
from consoled.proxy.pacing import BURST

RATE = 11_520
TEXT = bytes(range(32, 96)) * 128
"""8 KiB."""
MIA = evolve(TOKEN, user_id="mia", project_id="demo")
MIA_AGAIN = evolve(MIA, token_hash="ef" * 32)
NOA = evolve(MIA, token_hash="cd" * 32, user_id="noa", options={"rights": "force"})


@pytest.fixture
def bench() -> Bench:
    """A bench with the default rate."""
    made = Bench()
    made.reception.paste_rate = RATE
    return made


def run(bench: Bench, seconds: float) -> None:
    """Time goes by, in turns of a loop."""
    bench.reactor.pump([0.005] * round(seconds / 0.005))


def unsent(count: int) -> str:
    """What a person is told of input that went nowhere."""
    return f"{count} bytes of input were not sent to the guest: the connection ended."


def test_a_plain_client_is_paced(bench: Bench) -> None:
    """Whoever has no words for it: a key goes at once, a paste at the rate, in its order."""
    session, viewer, wire = bench.opened()
    session.typed(b"x")
    assert wire.written == b"x"
    session.typed(TEXT)
    session.typed(b"\r")
    assert wire.written == b"x" + TEXT[:BURST]
    run(bench, 1)
    assert wire.written == b"x" + TEXT + b"\r"
    assert viewer.pasted == []


def test_the_fast_way_is_paced(bench: Bench) -> None:
    """So is what passes by the state machine."""
    _session, viewer, wire = bench.opened()
    assert viewer.straight is not None
    viewer.straight(TEXT)
    viewer.straight(b"\r")
    assert wire.written == TEXT[:BURST]
    run(bench, 1)
    assert wire.written == TEXT + b"\r"


def test_the_page_knows_the_rate_and_how_far_it_is(bench: Bench) -> None:
    """It is told in the greeting, and of an announced paste as it goes."""
    session, viewer, _wire = bench.opened(acknowledges=True)
    assert viewer.greeted[0].paste_rate == RATE
    session.pasting(len(TEXT))
    session.typed(TEXT)
    run(bench, 1)
    assert viewer.pasted[-1] == (len(TEXT), None)
    assert len(viewer.pasted) == 8


def test_cancel(bench: Bench) -> None:
    """What has not gone never goes; the interrupt that follows is the next thing the guest gets."""
    session, viewer, wire = bench.opened(acknowledges=True)
    session.pasting(64 * 1024)
    session.typed(TEXT)
    run(bench, 0.2)
    gone = len(wire.written)
    session.cancelled()
    session.typed(b"\x03")
    assert viewer.pasted[-1] == (gone, len(TEXT) - gone)
    assert wire.written == TEXT[:gone] + b"\x03"
    assert viewer.warned == []


def test_early_input_is_paced(bench: Bench) -> None:
    """What was sent before the console was open has its pace too, and its bound."""
    session, viewer = bench.begin()
    session.typed(bytes(EARLY_INPUT))
    session.typed(b"x")
    wire = answer_dial(bench.reactor)
    assert len(wire.written) == BURST
    assert viewer.transport.producerState == "paused"
    run(bench, EARLY_INPUT / RATE + 0.1)
    assert len(wire.written) == EARLY_INPUT + 1
    assert viewer.transport.producerState == "producing"


def test_a_bound_for_each_session(bench: Bench) -> None:
    """With more than may wait the client is not read from."""
    session, viewer, _wire = bench.opened()
    session.typed(bytes(BURST))
    session.typed(bytes(ROOM))
    assert viewer.transport.producerState == "producing"
    session.typed(b"x")
    assert viewer.transport.producerState == "paused"


def test_the_end_of_a_session(bench: Bench) -> None:
    """What waits is dropped, and its person is told before the close; the log says how much."""
    session, viewer, wire = bench.opened(acknowledges=True)
    session.pasting(64 * 1024)
    session.typed(TEXT)
    with capturedLogs() as logs:
        session.ended(4410, "enough")
    run(bench, 2)
    assert wire.written == TEXT[:BURST]
    assert viewer.pasted == [(BURST, len(TEXT) - BURST)]
    assert viewer.warned == [unsent(len(TEXT) - BURST)]
    dropped = [log["bytes_dropped"] for log in logs if log.get("event") == "input_dropped"]
    assert dropped == [len(TEXT) - BURST]
    assert not bench.reactor.getDelayedCalls()


def test_a_take_over(bench: Bench) -> None:
    """Nothing of one user's paste is typed after another has the console."""
    session, viewer, wire = bench.opened(token=MIA)
    session.typed(TEXT)
    _given, _other = bench.begin(NOA, force=True)
    run(bench, 2)
    assert viewer.dismissed == (4410, "noa took the console over.")
    assert viewer.warned == [unsent(len(TEXT) - BURST)]
    assert wire.written == TEXT[:BURST]


def test_another_window_of_the_same_user(bench: Bench) -> None:
    """What the first window has not got rid of is dropped, and both say so."""
    session, first, wire = bench.opened(token=MIA)
    session.typed(TEXT)
    given, second = bench.begin(MIA_AGAIN, takeover=True)
    given.typed(b"x")
    run(bench, 2)
    assert wire.written == TEXT[:BURST] + b"x"
    assert first.warned == second.warned == [unsent(len(TEXT) - BURST)]


def test_away_and_back(bench: Bench) -> None:
    """A connection that breaks drops what waits; whoever comes back is told, once."""
    session, first, wire = bench.opened(token=MIA)
    session.typed(TEXT)
    session.viewer_lost()
    run(bench, 2)
    assert wire.written == TEXT[:BURST]
    resume = first.greeted[0].resume
    _, second = bench.begin(MIA, resume=resume, since=0)
    assert second.warned == [unsent(len(TEXT) - BURST)]
    session.viewer_lost()
    _, third = bench.begin(MIA, resume=resume, since=0)
    assert third.warned == []


def test_a_lost_lease_lets_nothing_out(bench: Bench) -> None:
    """Each step asks the lease (invariant 1)."""
    session, _viewer, wire = bench.opened()
    session.typed(TEXT)
    (lease,) = bench.leases._held.values()
    lease.valid = False
    run(bench, 2)
    assert wire.written == TEXT[:BURST]


def test_input_on_an_unproven_line(bench: Bench) -> None:
    """It is dropped as it comes, and is not there when the guest speaks (invariant 2)."""
    bench.leases.seizes = True
    session, _viewer, wire = bench.opened()
    session.typed(TEXT)
    wire.protocol.dataReceived(b"login: ")
    run(bench, 2)
    assert wire.written == b""
    session.typed(TEXT)
    run(bench, 1)
    assert wire.written == TEXT


def test_an_observer_pastes_nothing(bench: Bench) -> None:
    """Its words about a paste mean nothing either."""
    bench.opened(token=MIA)
    watching, viewer = bench.begin(evolve(NOA, options={"role": "observer"}), acknowledges=True)
    watching.pasting(100)
    watching.typed(TEXT)
    watching.cancelled()
    assert viewer.pasted == []


def test_words_about_a_paste_at_the_wrong_time(bench: Bench) -> None:
    """Before the console is open, while nobody is there and after the end they mean nothing."""
    session, viewer = bench.begin()

    def talk() -> None:
        session.pasting(5)
        session.cancelled()

    talk()
    answer_dial(bench.reactor)
    session.viewer_lost()
    talk()
    session.ended(4410, "enough")
    talk()
    assert viewer.pasted == []


def test_recorded_when_it_goes(bench: Bench) -> None:
    """The recording has the input when the guest gets it: the echo comes right after."""
    tape = bench.reception.recorder = Tape()
    session, _viewer, _wire = bench.opened()
    session.typed(TEXT)
    assert [told for told in tape.told if told[0] == "i"] == [("i", TEXT[:BURST])]
    run(bench, 1)
    pieces: list[Any] = [data for kind, data in tape.told if kind == "i"]
    assert b"".join(pieces) == TEXT


def test_what_waits_is_measured(bench: Bench) -> None:
    """The gauge of buffered bytes has it, the count of relayed ones not yet."""
    session, viewer, _wire = bench.opened()
    session.typed(TEXT)
    core = bench.sessions.find(viewer.greeted[0].resume.session_id)
    assert core is not None
    reading = read_session(core)
    assert (reading.bytes_in, reading.buffered) == (BURST, len(TEXT) - BURST)
