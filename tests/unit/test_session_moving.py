"""consoled.proxy.moving, scout: a session whose guest goes on at another compute host."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, evolve
from fakes import WEB_1, FakeDriver, make_instance, result
from test_session import TOKEN, Bench
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from wires import Wire, answer_dial

from consoled.errors import Unavailable
from consoled.model import Console, Instance, InstanceState
from consoled.proxy.moving import LOOKS, MOVED, SOURCE_PATIENCE, UNCERTAIN
from consoled.proxy.scout import Scout

HERE = make_instance(WEB_1, "web-1")
THERE = make_instance(
    WEB_1,
    "web-1",
    host="rack2",
    consoles=(Console(0, "192.0.2.2", 20000), Console(1, "192.0.2.2", 20001)),
)
COMING = evolve(THERE, state=InstanceState.PAUSED)


@pytest.fixture
def bench() -> Bench:
    """Sessions in a daemon of several compute hosts; nothing was typed lately."""
    bench = Bench()
    bench.reception.opener = evolve(bench.reception.opener, follows=True)
    bench.reactor.advance(10)
    return bench


def dials(bench: Bench) -> list[tuple[str, int]]:
    """The places that were dialled so far."""
    return [(client[0], client[1]) for client in bench.reactor.tcpClients]


def line(bench: Bench) -> Any:
    """The console's line."""
    [found] = bench.sessions.open_lines()
    return found


def move(bench: Bench, wire: Wire, now: Instance = THERE) -> None:
    """The guest's port closes, and the guest is somewhere else."""
    bench.driver.known = [now]
    wire.drop()


def test_the_session_goes_on(bench: Bench) -> None:
    """The port on the new host is dialled, the lease stays, and the cell notes the new place."""
    session, viewer, wire = bench.opened()
    wire.protocol.dataReceived(b"one ")
    move(bench, wire)
    assert dials(bench)[-1] == ("192.0.2.2", 20000)
    assert viewer.warned == []
    there = answer_dial(bench.reactor)
    there.protocol.dataReceived(b"two")
    assert viewer.sent == b"one two"
    assert viewer.warned == [MOVED]
    assert viewer.dismissed is None
    assert (WEB_1, 0) in bench.registrar.recorded
    assert not bench.free
    viewer.straight(b"ls\r")
    assert there.written == b"ls\r"
    assert wire.written == b""
    session.viewer_left()
    assert not there.connected
    assert bench.free


def test_nothing_is_lost_where_it_was_dialled_ahead(bench: Bench) -> None:
    """What the guest says there is shown after the last word from the old host."""
    _, viewer, wire = bench.opened()
    line(bench).switch.expect(COMING)
    assert dials(bench)[-1] == ("192.0.2.2", 20000)
    there = answer_dial(bench.reactor)
    there.protocol.dataReceived(b"three ")
    wire.protocol.dataReceived(b"one two ")
    assert viewer.sent == b"one two "
    line(bench).switch.expect(THERE)
    move(bench, wire)
    there.protocol.dataReceived(b"four")
    assert viewer.sent == b"one two three four"
    assert len(dials(bench)) == 2


def test_input_waits_and_goes_once(bench: Bench) -> None:
    """What is typed during the switch goes to the new host, in order, and only there."""
    _, viewer, wire = bench.opened()
    move(bench, wire)
    viewer.straight(b"a")
    viewer.straight(b"bc")
    there = answer_dial(bench.reactor)
    assert (wire.written, there.written) == (b"", b"abc")
    viewer.straight(b"d")
    assert there.written == b"abcd"


def test_input_of_the_last_moments(bench: Bench) -> None:
    """Nobody knows whether it came in time: it is not sent again, and its person is told."""
    _, viewer, wire = bench.opened()
    viewer.straight(b"x")
    move(bench, wire)
    there = answer_dial(bench.reactor)
    assert viewer.warned == [UNCERTAIN]
    assert (wire.written, there.written) == (b"x", b"")


def test_observers_go_along(bench: Bench) -> None:
    """They see what the writer sees, and are told the same."""
    _, _, wire = bench.opened()
    _, observer = bench.begin(evolve(TOKEN, token_hash="cd" * 32, options={"role": "observer"}))
    move(bench, wire)
    there = answer_dial(bench.reactor)
    there.protocol.dataReceived(b"on")
    assert observer.sent == b"on"
    assert observer.warned == [MOVED]


def test_a_viewer_that_is_away(bench: Bench) -> None:
    """Its session moves without it, and it finds what it has missed."""
    session, viewer, wire = bench.opened()
    key = viewer.greeted[0].resume
    session.viewer_lost()
    move(bench, wire)
    answer_dial(bench.reactor).protocol.dataReceived(b"missed")
    _, again = bench.begin(resume=key, since=0)
    assert again.sent == b"missed"


def test_whoever_comes_meanwhile(bench: Bench) -> None:
    """Waits on the same line, not for its end."""
    session, _, wire = bench.opened()
    session.viewer_lost()
    move(bench, wire)
    bench.begin(evolve(TOKEN, host="192.0.2.2", port=20000), takeover=True)
    assert len(bench.sessions.open_lines()) == 1
    there = answer_dial(bench.reactor)
    there.protocol.dataReceived(b"hello")
    assert len(dials(bench)) == 2


def test_libvirt_needs_a_moment(bench: Bench) -> None:
    """A guest that is still paused on the old host is looked for again."""
    _, viewer, wire = bench.opened()
    move(bench, wire, evolve(HERE, state=InstanceState.PAUSED))
    assert len(dials(bench)) == 1
    bench.driver.known = [THERE]
    bench.reactor.advance(LOOKS[1])
    answer_dial(bench.reactor)
    assert viewer.warned == [MOVED]


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (evolve(HERE, state=InstanceState.STOPPED), 4413),
        (evolve(THERE, state=InstanceState.STOPPED), 4413),
        (HERE, 1000),
        (evolve(HERE, state=InstanceState.PAUSED), 1000),
        (evolve(THERE, consoles=()), 1011),
    ],
)
def test_what_is_no_move(bench: Bench, now: Instance, code: int) -> None:
    """A stop, a port that closes, and a console that is not there end the session as ever."""
    _, viewer, wire = bench.opened()
    move(bench, wire, now)
    for _ in range(20):
        bench.reactor.advance(0.25)
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == code
    assert bench.free


def test_hypervisors_that_are_away(bench: Bench) -> None:
    """Nobody knows where the guest is, so the session ends as it would on one host."""
    _, viewer, wire = bench.opened()
    bench.driver.error = Unavailable("away")
    wire.drop()
    assert viewer.dismissed == (1000, "The console's port closed the connection.")
    assert bench.free


def test_an_error_of_our_own(bench: Bench) -> None:
    """Ends the session, too, and is in the log."""
    _, viewer, wire = bench.opened()
    bench.driver.error = ZeroDivisionError()
    with capturedLogs() as events:
        wire.drop()
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 1011
    assert any("log_failure" in event for event in events)
    assert bench.free


def test_a_cell_database_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session goes on all the same: the new host's look notes the place later."""
    _, viewer, wire = bench.opened()
    monkeypatch.setattr(bench.registrar, "register", lambda *_: fail(Unavailable("away")))
    move(bench, wire)
    with capturedLogs() as events:
        answer_dial(bench.reactor)
    assert viewer.warned == [MOVED]
    assert any("is noted later" in str(event.get("log_format")) for event in events)


def test_a_port_there_that_refuses(bench: Bench) -> None:
    """Ends the session with the reason, and the lease is free."""
    _, viewer, wire = bench.opened()
    move(bench, wire)
    _, _, factory, _, _ = bench.reactor.tcpClients[-1]
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    assert viewer.dismissed == (1011, "The serial port 0 of web-1 refused the connection.")
    assert bench.free


def test_a_migration_that_failed(bench: Bench) -> None:
    """The connection that was made ahead ends with it; the next one is dialled anew."""
    _, viewer, wire = bench.opened()
    line(bench).switch.expect(COMING)
    ahead = answer_dial(bench.reactor)
    line(bench).switch.expect(COMING)
    assert len(dials(bench)) == 2
    ahead.drop()
    wire.protocol.dataReceived(b"still here")
    assert viewer.sent == b"still here"
    assert viewer.warned == []
    line(bench).switch.expect(COMING)
    assert len(dials(bench)) == 3
    move(bench, wire)
    answer_dial(bench.reactor)
    assert viewer.warned == [MOVED]


def test_an_end_in_the_middle(bench: Bench) -> None:
    """Both sockets are closed before the lease is free, whenever the session ends."""
    session, _, wire = bench.opened()
    line(bench).switch.expect(COMING)
    ahead = answer_dial(bench.reactor, sticky=True)
    session.viewer_left()
    assert wire.connected
    assert not bench.free
    ahead.drop()
    assert not wire.connected
    assert bench.free


@pytest.mark.parametrize("dialled", [True, False])
def test_an_end_during_the_switch(bench: Bench, dialled: bool) -> None:
    """The look for the guest, or the dial to it, is given up."""
    session, _, wire = bench.opened()
    if not dialled:
        bench.driver.pending = []
    move(bench, wire)
    session.viewer_left()
    assert bench.free
    assert len(dials(bench)) == 1 + dialled


def test_an_old_host_that_is_gone_without_a_word(bench: Bench) -> None:
    """The guest runs elsewhere, and the old connection does not end: it is ended."""
    _, viewer, wire = bench.opened()
    line(bench).switch.expect(THERE)
    there = answer_dial(bench.reactor)
    viewer.straight(b"ls")
    bench.driver.known = [THERE]
    bench.reactor.advance(SOURCE_PATIENCE)
    assert not wire.connected
    assert (wire.written, there.written) == (b"", b"ls")
    there.protocol.dataReceived(b"alive")
    assert viewer.sent == b"alive"


def test_a_copy_that_runs_elsewhere(bench: Bench) -> None:
    """An operator's mistake: while the guest runs where it was, its connection stays."""
    _, viewer, wire = bench.opened()
    line(bench).switch.expect(THERE)
    answer_dial(bench.reactor)
    viewer.straight(b"l")
    assert wire.written == b""
    bench.reactor.advance(SOURCE_PATIENCE)
    assert wire.connected
    assert wire.written == b"l"
    wire.protocol.dataReceived(b"here")
    assert viewer.sent == b"here"


def test_one_compute_host_is_not_asked_twice(bench: Bench) -> None:
    """Where there is no other host, a port that closes ends the line at once."""
    bench.reception.opener = evolve(bench.reception.opener, follows=False)
    _, viewer, wire = bench.opened()
    move(bench, wire)
    bench.reactor.advance(1)
    assert viewer.dismissed == (1000, "The console's port closed the connection.")


@define
class Host(FakeDriver):
    """A compute host's driver."""

    host: str = "rack2"

    def compute_host(self) -> Deferred[str]:
        """Its name."""
        return succeed(self.host)


@pytest.mark.parametrize("uuid", [WEB_1, WEB_1.upper(), None])
def test_the_scout_tells_the_line(bench: Bench, uuid: str | None) -> None:
    """A look at the host where the guest comes up leads to a connection there."""
    bench.opened()
    result(Scout(Host([COMING]), bench.sessions).look(uuid))  # type: ignore[arg-type]  # asked for no more
    assert dials(bench)[-1] == ("192.0.2.2", 20000)


@pytest.mark.parametrize("uuid", [WEB_1, None])
def test_the_scout_leaves_others_alone(bench: Bench, uuid: str | None) -> None:
    """Its own host's guests are where they were; of unknown ones nothing is known."""
    bench.opened()
    for host in (Host([HERE], host="rack1"), Host([])):
        result(Scout(host, bench.sessions).look(uuid))  # type: ignore[arg-type]  # asked for no more
    assert len(dials(bench)) == 1
