"""BREAK and SysRq from the page: who may, what goes to the guest in which order, what is noted."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from breaks import FakeBreaks
from fakes import WEB_1
from test_session import TOKEN, Bench, Tape, Viewer
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from wires import Wire

from consoled.errors import Conflict
from consoled.proxy.viewing import SessionInputs

MIA = evolve(TOKEN, user_id="mia", project_id="demo", options={"rights": "break"})
NOA = evolve(MIA, token_hash="cd" * 32, user_id="noa", options={"rights": "break force"})
ON_ITS_WAY = "would take the next of it as a SysRq command"


class World:
    """A bench whose driver can send a BREAK."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.breaks = FakeBreaks()
        self.bench.reception.breaks = self.breaks
        self.tape = self.bench.reception.recorder = Tape()

    def opened(self, token: Any = MIA, **arrival: Any) -> tuple[SessionInputs, Viewer, Wire]:
        """An open console, of a page."""
        return self.bench.opened(token=token, acknowledges=True, **arrival)

    def later(self) -> list[Deferred[None]]:
        """From now on QEMU's answers come when the test says so."""
        self.breaks.pending = []
        return self.breaks.pending


@pytest.fixture
def world() -> World:
    """A world."""
    return World()


def test_a_break(world: World) -> None:
    """The driver sends it to the session's console; log, recording and person hear of it."""
    session, viewer, wire = world.opened(facts={"request_id": "req-1"})
    with capturedLogs() as logs:
        session.break_wanted(None)
    assert world.breaks.sent == [(WEB_1, 0)]
    assert wire.written == b""
    assert ("m", "BREAK") in world.tape.told
    assert viewer.warned == ["BREAK was sent."]
    (event,) = (log for log in logs if log.get("event") == "break_sent")
    fields = ("user_id", "project_id", "instance_uuid", "index", "request_id", "sysrq")
    assert [event[name] for name in fields] == ["mia", "demo", WEB_1, 0, "req-1", None]


def test_a_sysrq(world: World) -> None:
    """The key is the first byte of input after the BREAK; what was typed meanwhile comes then."""
    session, viewer, wire = world.opened()
    answers = world.later()
    session.typed(b"before ")
    session.break_wanted("h")
    session.typed(b"after")
    assert viewer.straight is not None
    viewer.straight(b"wards")
    assert wire.written == b"before "
    with capturedLogs() as logs:
        answers[0].callback(None)
    world.bench.reactor.advance(1)
    assert wire.written == b"before hafterwards"
    assert ("m", "BREAK, SysRq h") in world.tape.told
    assert viewer.warned == ["SysRq h was sent."]
    (event,) = (log for log in logs if log.get("event") == "break_sent")
    assert event["sysrq"] == "h"


def test_the_guest_that_does_not_read_is_still_the_reason(world: World) -> None:
    """After a BREAK, input that waits for the guest goes on waiting."""
    session, _viewer, wire = world.opened()
    answers = world.later()
    session.break_wanted(None)
    wire.producer.pauseProducing()
    answers[0].callback(None)
    session.typed(b"x")
    assert wire.written == b""
    wire.producer.resumeProducing()
    assert wire.written == b"x"


def test_a_refused_break(world: World) -> None:
    """The person reads why; no key is typed, nothing is recorded, and typing goes on."""
    session, viewer, wire = world.opened()
    world.breaks.error = Conflict("The hypervisor refused.")
    with capturedLogs() as logs:
        session.break_wanted("b")
    assert viewer.warned == ["The hypervisor refused."]
    assert [log["reason"] for log in logs if log.get("event") == "break_failed"] == viewer.warned
    session.typed(b"x")
    assert wire.written == b"x"
    assert not [told for told in world.tape.told if told[0] == "m"]


def test_a_fault_of_ours(world: World) -> None:
    """Is logged with its traceback; the person hears that there was one, and goes on."""
    session, viewer, wire = world.opened()
    world.breaks.error = LookupError("spilled")
    with capturedLogs() as logs:
        session.break_wanted(None)
    assert [log["log_failure"].type for log in logs if "log_failure" in log] == [LookupError]
    assert viewer.warned == ["The BREAK was not sent: something went wrong inside consoled."]
    session.typed(b"x")
    assert wire.written == b"x"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (evolve(MIA, options={}), "You may not send a BREAK to this console"),
        (evolve(MIA, options={"rights": "see_holder take force"}), "You may not send a BREAK"),
    ],
)
def test_without_the_right(world: World, token: Any, words: str) -> None:
    """A page without the right is offered nothing, and gets nothing (decisions/0014)."""
    session, viewer, _wire = world.opened(token)
    assert not viewer.greeted[0].breaks
    session.break_wanted("b")
    assert world.breaks.sent == []
    (warned,) = viewer.warned
    assert warned.startswith(words)


def test_an_observer(world: World) -> None:
    """Whoever watches sends no BREAK either, whatever the token says."""
    world.opened()
    watching, viewer = world.bench.begin(
        evolve(NOA, options={"rights": "break", "role": "observer"}), acknowledges=True
    )
    assert not viewer.greeted[0].breaks
    watching.break_wanted(None)
    assert world.breaks.sent == []
    assert viewer.warned == ["You only watch this console: whoever has it can send a BREAK."]


def test_a_driver_that_cannot(world: World) -> None:
    """Nothing is offered; who asks all the same reads why not."""
    world.bench.reception.breaks = None
    session, viewer, _wire = world.opened()
    assert not viewer.greeted[0].breaks
    session.break_wanted(None)
    assert viewer.warned == [
        "This console takes no BREAK: consoled knows nothing of it but its address."
    ]


def test_offered_with_right_and_driver(world: World) -> None:
    """The page is told that it may, and told anew when another token takes the session up."""
    _session, viewer, _wire = world.opened()
    assert viewer.greeted[0].breaks
    _, second = world.bench.begin(
        evolve(MIA, token_hash="ef" * 32, options={}), takeover=True, acknowledges=True
    )
    assert not second.greeted[0].breaks


@pytest.mark.parametrize("key", ["", "a", "B", "hh", "\r", "é", "h\n"])
def test_keys_that_no_kernel_knows(world: World, key: str) -> None:
    """Nothing is sent: the guest would wait for a key, and take the next one typed."""
    session, viewer, _wire = world.opened()
    session.break_wanted(key)
    assert world.breaks.sent == []
    (warned,) = viewer.warned
    assert warned.startswith("A SysRq key is a digit or a lower-case letter")


def test_one_at_a_time(world: World) -> None:
    """A second one in the meantime is refused: its key would be the first one's."""
    session, viewer, wire = world.opened()
    answers = world.later()
    session.break_wanted("s")
    session.break_wanted("b")
    assert viewer.warned == ["A BREAK is on its way already. Try again in a moment."]
    answers[0].callback(None)
    assert wire.written == b"s"
    session.break_wanted("u")
    answers[1].callback(None)
    assert wire.written == b"su"


def test_input_on_its_way(world: World) -> None:
    """A paste that waits for its turn would be taken for the key: no BREAK meanwhile."""
    session, viewer, wire = world.opened()
    wire.producer.pauseProducing()
    session.typed(b"reboot?")
    session.break_wanted(None)
    assert world.breaks.sent == []
    assert ON_ITS_WAY in viewer.warned[0]
    wire.producer.resumeProducing()
    session.break_wanted(None)
    assert world.breaks.sent == [(WEB_1, 0)]


def test_unproven(world: World) -> None:
    """Before the guest's first byte the port may be somebody else's: no BREAK."""
    world.bench.leases.seizes = True
    session, viewer, wire = world.opened()
    session.break_wanted("s")
    assert world.breaks.sent == []
    assert viewer.warned == [
        "This console takes no input yet, and no BREAK. Try again when it does."
    ]
    wire.protocol.dataReceived(b"#")
    session.break_wanted("s")
    assert wire.written == b"s"


def test_without_a_lease(world: World) -> None:
    """Nothing is sent by a replica that may not be the console's any more (invariant 1)."""
    session, _viewer, wire = world.opened()
    answers = world.later()
    session.break_wanted("b")
    (lease,) = world.bench.leases._held.values()
    lease.valid = False
    answers[0].callback(None)
    session.break_wanted("b")
    assert len(answers) == 1
    assert wire.written == b""


def test_the_console_changes_hands_meanwhile(world: World) -> None:
    """The key is not typed into somebody else's session; the log says what was sent."""
    session, _viewer, wire = world.opened()
    answers = world.later()
    session.break_wanted("b")
    other, _ = world.bench.begin(NOA, force=True)
    with capturedLogs() as logs:
        answers[0].callback(None)
    assert wire.written == b""
    assert [log["sysrq"] for log in logs if log.get("event") == "break_sent"] == [None]
    other.typed(b"mine")
    assert wire.written == b"mine"


def test_the_viewer_goes_meanwhile(world: World) -> None:
    """A lost connection leaves the session as it was; the answer comes to nobody."""
    session, viewer, wire = world.opened()
    answers = world.later()
    session.break_wanted("s")
    session.viewer_lost()
    session.break_wanted("b")
    answers[0].callback(None)
    assert wire.written == b"s"
    assert viewer.warned == []
    assert len(world.breaks.sent) == 1
    back, _ = world.bench.begin(MIA)
    back.typed(b"x")
    assert wire.written == b"sx"


def test_nothing_before_or_after_the_session(world: World) -> None:
    """While it opens, and when it has ended, there is no BREAK."""
    session, _viewer = world.bench.begin(MIA)
    session.break_wanted("b")
    session.ended(1000, "over")
    session.break_wanted("b")
    assert world.breaks.sent == []
