"""A session over a real opener, line and lease; only the sockets are in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from fakes import WEB_1, make_instance, result
from receptions import NOW, House
from twisted.internet.error import ConnectBindError, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from wires import Wire, answer_dial

from consoled.errors import TokenInvalid, Unavailable
from consoled.leasing.values import Holder
from consoled.model import ConsoleAuthToken, InstanceState
from consoled.proxy.core import EARLY_INPUT
from consoled.proxy.gate import CREDIT_WINDOW
from consoled.proxy.inlet import ROOM
from consoled.proxy.limits import SessionLimits
from consoled.proxy.presence import Busy
from consoled.proxy.reception import Arrival, Farewell
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.viewing import Greeting, SessionInputs

STALL = 15.0
TOKEN = ConsoleAuthToken(
    token_hash="ab" * 32,
    instance_uuid=WEB_1,
    index=0,
    host="192.0.2.1",
    port=10000,
    generation=1,
    access_url="http://127.0.0.1:6083/serial.html",
    expires=1,
)


class Viewer:
    """What a session does to its WebSocket."""

    def __init__(self, acknowledges: bool = False) -> None:
        self.acknowledges = acknowledges
        self.transport: Any = Wire()
        self.greeted: list[Greeting] = []
        self.sent = b""
        self.straight: Callable[[bytes], None] | None = None
        self.warned: list[str] = []
        self.dismissed: tuple[int, str] | None = None
        self.busy: Busy | None = None
        self.company: tuple[str | None, list[str]] | None = None
        self.requests: list[tuple[str | None, float]] = []
        self.pasted: list[tuple[int, int | None]] = []

    def greet(self, greeting: Greeting) -> None:
        """The console is open."""
        self.greeted.append(greeting)

    def send(self, data: bytes) -> None:
        """Output."""
        assert self.dismissed is None
        self.sent += data

    def go_straight(self, take: Callable[[bytes], None] | None) -> None:
        """Where ordinary input goes."""
        self.straight = take

    def warn(self, text: str, *, until_typing: bool = False) -> None:
        """What will happen."""
        self.warned.append(text)

    def show_company(self, writer: str | None, observers: Sequence[str]) -> None:
        """Who is there."""
        self.company = (writer, list(observers))

    def show_request(self, user: str | None, seconds: float) -> None:
        """Somebody asks for the console."""
        self.requests.append((user, seconds))

    def show_wait(self, user: str | None, seconds: float) -> None:
        """The console was asked of its holder."""
        self.requests.append((user, seconds))

    def show_pasted(self, gone: int, dropped: int | None) -> None:
        """How much of a paste is at the console."""
        self.pasted.append((gone, dropped))

    def dismiss(self, code: int, reason: str, busy: Busy | None = None) -> None:
        """Closed, with a reason."""
        assert self.dismissed is None
        self.dismissed = (code, reason)
        self.busy = busy
        self.transport.unregisterProducer()


class Bench(House):
    """One driver, one book of leases, and sessions over them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(MemoryReactorClock(), stall_timeout=STALL, **options)

    def begin(
        self,
        token: ConsoleAuthToken = TOKEN,
        *,
        acknowledges: bool = False,
        **arrival: Any,
    ) -> Any:
        """What a viewer that arrives gets, and the viewer."""
        viewer = Viewer(acknowledges)
        given = self.reception.receive(viewer, Arrival(token, **arrival))
        if isinstance(given, Farewell):
            viewer.dismiss(given.code, given.reason, given.busy)
        return given, viewer

    def opened(self, **options: Any) -> tuple[SessionInputs, Viewer, Wire]:
        """A session whose console is connected."""
        session, viewer = self.begin(**options)
        return session, viewer, answer_dial(self.reactor)

    @property
    def free(self) -> bool:
        """Whether the console's lease is free."""
        lease = self.leases.take(WEB_1, 0, "probe", holder=Holder())
        outcome: list[object] = []
        lease.addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            return False
        result(self.leases.release(outcome[0]))
        return True


@pytest.fixture
def bench() -> Bench:
    """A bench."""
    return Bench()


def test_bytes_go_both_ways(bench: Bench) -> None:
    """An open session is the wire, in both directions, without change."""
    session, viewer, wire = bench.opened()
    assert [greeting.console.instance.name for greeting in viewer.greeted] == ["web-1"]
    session.typed(bytes(range(256)))
    wire.protocol.dataReceived(bytes(reversed(range(256))))
    assert wire.written == bytes(range(256))
    assert viewer.sent == bytes(reversed(range(256)))


def test_early_input_waits(bench: Bench) -> None:
    """What a client sends before the console is open reaches it then, whole and in order."""
    session, _viewer = bench.begin()
    session.typed(b"ls")
    session.typed(b" -l\r")
    wire = answer_dial(bench.reactor)
    session.typed(b"exit\r")
    assert wire.written == b"ls -l\rexit\r"


def test_early_input_of_a_refused_session(bench: Bench) -> None:
    """What was sent to a console that does not open reaches nobody (faults.md W8)."""
    _, _, wire = bench.opened()
    bench.driver.error = Unavailable("libvirt does not answer")
    second, viewer = bench.begin(evolve(TOKEN, index=1, port=10001))
    second.typed(b"rm -rf /\r")
    assert viewer.dismissed is not None
    assert wire.written == b""


def test_early_input_is_bounded(bench: Bench) -> None:
    """A client that sends much too early is not read from until the console is open."""
    session, viewer = bench.begin()
    session.typed(bytes(EARLY_INPUT))
    assert viewer.transport.producerState == "producing"
    session.typed(b"x")
    assert viewer.transport.producerState == "paused"
    wire = answer_dial(bench.reactor)
    assert viewer.transport.producerState == "producing"
    assert len(wire.written) == EARLY_INPUT + 1


def test_nothing_moves_after_the_end(bench: Bench) -> None:
    """After a close was sent no byte moves, whatever is still delivered (invariant 1)."""
    session, viewer, wire = bench.opened()
    straight = viewer.straight
    assert straight is not None
    session.ended(4410, "taken over")
    assert viewer.straight is None
    straight(b"late")
    session.typed(b"late")
    session.printed(b"late")
    session.acknowledged(1)
    session.confirmed()
    session.handed_over()
    session.asked("noa", 10)
    session.stalled()
    session.opened()
    session.viewer_lost()
    session.viewer_left()
    assert viewer.dismissed == (4410, "taken over")
    assert wire.written == b""
    assert viewer.sent == b""


def test_a_lost_lease_moves_nothing(bench: Bench) -> None:
    """Each chunk asks the lease, both ways (invariant 1)."""
    session, viewer, wire = bench.opened()
    (lease,) = bench.leases._held.values()
    lease.valid = False
    session.typed(b"x")
    wire.protocol.dataReceived(b"y")
    assert (wire.written, viewer.sent) == (b"", b"")


def test_second_viewer_is_refused(bench: Bench) -> None:
    """A console in use is refused with 4409 and is not dialled again."""
    bench.opened()
    _, second = bench.begin()
    assert second.dismissed is not None
    assert second.dismissed[0] == 4409
    assert len(bench.reactor.tcpClients) == 1


def test_lease_is_free_only_after_the_socket(bench: Bench) -> None:
    """The backend socket is closed first, then the lease is given back (invariant 2)."""
    session, _viewer = bench.begin()
    wire = answer_dial(bench.reactor, sticky=True)
    session.viewer_left()
    assert not bench.free
    wire.drop()
    assert bench.free


def test_backend_that_does_not_close_is_aborted(bench: Bench) -> None:
    """A console's port that does not close in a second is aborted."""
    session, _viewer = bench.begin()
    wire = answer_dial(bench.reactor, sticky=True)
    session.viewer_left()
    bench.reactor.advance(1.0)
    assert not wire.connected
    assert bench.free
    assert not bench.reactor.getDelayedCalls()


def test_viewer_lost_while_dialling(bench: Bench) -> None:
    """The pending dial is aborted, and leaves neither lease nor timer (faults.md F10)."""
    session, viewer = bench.begin()
    (connector,) = bench.reactor.connectors
    session.viewer_lost()
    assert connector.stoppedConnecting
    assert bench.free
    assert viewer.dismissed is None
    assert not bench.reactor.getDelayedCalls()


def test_refused_connection(bench: Bench) -> None:
    """A refused port is told in words, and leaves the lease free (faults.md F11)."""
    _, viewer = bench.begin()
    factory = bench.reactor.tcpClients[-1][2]
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    assert viewer.dismissed == (1011, "The serial port 0 of web-1 refused the connection.")
    assert bench.free


def test_no_descriptor_left(bench: Bench) -> None:
    """That we have no descriptor for a console is not the console's fault (faults.md F7)."""
    _, viewer = bench.begin()
    factory = bench.reactor.tcpClients[-1][2]
    error = ConnectBindError(errno.EMFILE, "Too many open files")
    factory.clientConnectionFailed(None, Failure(error))
    assert viewer.dismissed == (1013, "The console server is full. Try again in a moment.")
    assert bench.free


def test_black_holed_port(bench: Bench) -> None:
    """A port that never answers is given up in time (faults.md F11)."""
    _, viewer = bench.begin()
    bench.reactor.advance(10)
    assert viewer.dismissed == (1011, "The serial port 0 of web-1 did not answer in time.")
    assert bench.free
    assert not bench.reactor.getDelayedCalls()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"state": InstanceState.STOPPED}, 4413, "web-1 is not running"),
        ({"consoles": ()}, 4401, "Get a new URL"),
    ],
)
def test_instance_has_changed(bench: Bench, change: dict[str, Any], code: int, words: str) -> None:
    """A token opens only what it was issued for, and only while it runs (invariant 3)."""
    bench.driver.known = [make_instance(WEB_1, "web-1", **change)]
    _, viewer = bench.begin()
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == code
    assert words in viewer.dismissed[1]
    assert not bench.reactor.tcpClients


@pytest.mark.parametrize("token", [evolve(TOKEN, port=10009), evolve(TOKEN, host="192.0.2.9")])
def test_console_has_moved(bench: Bench, token: ConsoleAuthToken) -> None:
    """A token for another place than the console's is refused, and nothing is dialled."""
    _, viewer = bench.begin(token)
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 4401
    assert not bench.reactor.tcpClients


def test_instance_is_gone(bench: Bench) -> None:
    """A deleted instance's token opens nothing."""
    bench.driver.known = []
    _, viewer = bench.begin()
    assert viewer.dismissed == (4401, "The instance of this URL does not exist any more.")


def test_driver_is_away(bench: Bench) -> None:
    """A driver that is away is an overload for the viewer: try again."""
    bench.driver.error = Unavailable("libvirt does not answer")
    _, viewer = bench.begin()
    assert viewer.dismissed == (1013, "libvirt does not answer")


def test_unexpected_error_is_not_told(bench: Bench) -> None:
    """An error nobody thought of says nothing of itself to the viewer, all to the log."""
    bench.driver.error = ZeroDivisionError("secret detail")
    with capturedLogs() as logs:
        _, viewer = bench.begin()
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 1011
    assert "secret" not in viewer.dismissed[1]
    assert any("secret detail" in str(event.get("log_failure")) for event in logs)


def test_port_closes_while_the_instance_runs(bench: Bench) -> None:
    """A console that hangs up by itself ends the session normally, after a second look."""
    _session, viewer, wire = bench.opened()
    wire.protocol.dataReceived(b"bye")
    wire.drop()
    assert viewer.dismissed is None
    bench.reactor.advance(0.5)
    assert viewer.sent == b"bye"
    assert viewer.dismissed == (1000, "The console's port closed the connection.")
    assert bench.free


def test_port_closes_because_the_instance_stopped(bench: Bench) -> None:
    """The driver knows a little later than QEMU's socket: the second look says why."""
    _session, viewer, wire = bench.opened()
    wire.drop()
    bench.driver.known = [make_instance(WEB_1, "web-1", state=InstanceState.STOPPED)]
    bench.reactor.advance(0.5)
    assert viewer.dismissed == (4413, "web-1 has stopped.")


def test_port_closes_because_the_instance_is_deleted(bench: Bench) -> None:
    """A deleted instance is told as such."""
    _session, viewer, wire = bench.opened()
    bench.driver.known = []
    wire.drop()
    assert viewer.dismissed == (4413, "The instance has been deleted.")


def test_port_closes_while_the_driver_hangs(bench: Bench) -> None:
    """A driver that does not answer does not keep a dead session open."""
    _session, viewer, wire = bench.opened()
    bench.driver.pending = []
    wire.drop()
    bench.reactor.advance(3)
    assert viewer.dismissed == (1000, "The console's port closed the connection.")


def test_backpressure_to_the_guest(bench: Bench) -> None:
    """A full viewer stops the reading from the guest; after the limit it is closed, 4414."""
    _session, viewer, wire = bench.opened()
    gate = viewer.transport.producer
    gate.pauseProducing()
    assert wire.producerState == "paused"
    gate.resumeProducing()
    assert wire.producerState == "producing"
    gate.pauseProducing()
    bench.reactor.advance(STALL)
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 4414
    assert wire.producerState == "producing"


def test_backpressure_to_the_viewer(bench: Bench) -> None:
    """A guest that does not read stops the reading from the viewer, and gets all in the end."""
    session, viewer, wire = bench.opened()
    wire.producer.pauseProducing()
    session.typed(bytes(ROOM))
    assert viewer.transport.producerState == "producing"
    session.typed(b"x")
    assert viewer.transport.producerState == "paused"
    assert wire.written == b""
    wire.producer.resumeProducing()
    assert viewer.transport.producerState == "producing"
    assert wire.written == bytes(ROOM) + b"x"


def test_credit_of_a_page(bench: Bench) -> None:
    """A page that acknowledges gets no more than its credit; others are not held."""
    session, _viewer, wire = bench.opened(acknowledges=True)
    wire.protocol.dataReceived(bytes(CREDIT_WINDOW + 1))
    assert wire.producerState == "paused"
    session.acknowledged(CREDIT_WINDOW + 1)
    assert wire.producerState == "producing"


def test_no_credit_for_plain_clients(bench: Bench) -> None:
    """A client that cannot acknowledge is held by its socket alone."""
    _session, _viewer, wire = bench.opened()
    wire.protocol.dataReceived(bytes(4 * CREDIT_WINDOW))
    assert wire.producerState == "producing"


def test_audit(bench: Bench) -> None:
    """A session leaves two lines: who, what, how long, how much; never the token."""
    with capturedLogs() as logs:
        session, _viewer, wire = bench.opened()
        session.typed(b"12345")
        wire.protocol.dataReceived(b"123")
        bench.reactor.advance(2)
        session.viewer_left()
    first, last = (e for e in logs if str(e.get("event")).startswith("session_"))
    assert (first["event"], last["event"]) == ("session_opened", "session_ended")
    assert last["token_id"] == TOKEN.token_hash[:12]
    assert (last["bytes_in"], last["bytes_out"], last["duration_s"]) == (5, 3, 2.0)


def test_open_while_another_releases(bench: Bench) -> None:
    """Sessions one after the other share nothing: the second dials anew."""
    session, _, _wire = bench.opened()
    session.viewer_left()
    _second, viewer, wire = bench.opened()
    wire.protocol.dataReceived(b"fresh")
    assert viewer.sent == b"fresh"


def test_a_broken_connection_keeps_the_console(bench: Bench) -> None:
    """The line outlives its viewer: output goes on into the ring, for linger seconds."""
    session, first, wire = bench.opened()
    wire.protocol.dataReceived(b"one ")
    session.viewer_lost()
    wire.protocol.dataReceived(b"two ")
    assert not bench.free
    again, second = bench.begin(resume=first.greeted[0].resume, since=4)
    wire.protocol.dataReceived(b"three")
    assert again is session
    assert (second.greeted[0].offset, second.sent) == (4, b"two three")
    assert second.greeted[0].replay == 0
    again.typed(b"x")
    assert wire.written == b"x"
    assert len(bench.reactor.tcpClients) == 1


def test_nobody_comes_back(bench: Bench) -> None:
    """A session that nobody takes up ends after linger seconds, its lease free."""
    session, _viewer, _wire = bench.opened()
    session.viewer_lost()
    bench.reactor.advance(29)
    assert not bench.free
    bench.reactor.advance(1)
    assert bench.free
    assert not len(bench.sessions)
    assert not bench.reactor.getDelayedCalls()


def test_lost_output_is_counted(bench: Bench) -> None:
    """A viewer that was away for more than the ring holds is told how much is missing."""
    session, first, wire = bench.opened()
    session.viewer_lost()
    wire.protocol.dataReceived(bytes(100_000))
    _, second = bench.begin(resume=first.greeted[0].resume, since=0)
    (greeting,) = second.greeted
    assert greeting.lost == greeting.offset == 100_000 - 65_536
    assert len(second.sent) == 65_536


def test_resume_replaces_a_dead_connection(bench: Bench) -> None:
    """A client that comes back before its old connection is known to be dead is not busy."""
    session, first, wire = bench.opened()
    again, second = bench.begin(resume=first.greeted[0].resume)
    assert again is session
    assert first.dismissed == (4410, "This console went on in another window.")
    wire.protocol.dataReceived(b"here")
    assert (first.sent, second.sent) == (b"", b"here")


@pytest.mark.parametrize("key", ["id", "secret", "other"])
def test_a_key_that_is_not_the_sessions(bench: Bench, key: str) -> None:
    """The id from a list, or a guessed key, attaches to nothing (faults.md T8)."""
    session, first, _wire = bench.opened()
    real = first.greeted[0].resume
    session.viewer_lost()
    wrong = {
        "id": ResumeKey(real.session_id, "A" * 32),
        "secret": ResumeKey(WEB_1, real.secret),
        "other": ResumeKey.make(WEB_1),
    }[key]
    outcome = TokenInvalid("no token")
    viewer = Viewer()
    given = bench.reception.receive(viewer, Arrival(outcome, resume=wrong))
    assert isinstance(given, Farewell)
    assert given.code == 4401
    assert not viewer.greeted


def test_key_ends_with_its_session(bench: Bench) -> None:
    """After the end a resume key opens nothing."""
    session, first, _wire = bench.opened()
    session.ended(4410, "disconnected")
    arrival = Arrival(TokenInvalid("no token"), resume=first.greeted[0].resume)
    assert isinstance(bench.reception.receive(Viewer(), arrival), Farewell)


MIA = evolve(TOKEN, user_id="mia", project_id="demo")
NOA = evolve(TOKEN, token_hash="cd" * 32, user_id="noa", project_id="demo")
MIA_AGAIN = evolve(MIA, token_hash="ef" * 32)


def test_own_console_elsewhere_is_offered(bench: Bench) -> None:
    """One's own console in another live window is refused with an offer, and taken on request."""
    session, first, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"login: ")
    _, second = bench.begin(MIA_AGAIN)
    assert second.dismissed == (4409, "You have this console open in another window.")
    assert second.busy is not None
    assert second.busy.takeover
    given, third = bench.begin(MIA_AGAIN, takeover=True)
    assert given is session
    assert first.dismissed is not None
    assert first.dismissed[0] == 4410
    assert third.sent == b"login: "
    # The other window's key is worth nothing now: it cannot take the console back.
    stale = Arrival(TokenInvalid("x"), resume=first.greeted[0].resume)
    assert isinstance(bench.reception.receive(Viewer(), stale), Farewell)


def test_own_console_is_reclaimed(bench: Bench) -> None:
    """When the other window is gone, a new token of the same user gets the console at once."""
    session, _first, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"login: ")
    session.viewer_lost()
    given, second = bench.begin(MIA_AGAIN)
    assert given is session
    assert second.sent == b"login: "


@pytest.mark.parametrize("user", [NOA, evolve(TOKEN, token_hash="cd" * 32)])
def test_linger_yields_to_others(bench: Bench, user: ConsoleAuthToken) -> None:
    """Another user's request ends the linger at once, and shows nothing of what was there."""
    session, first, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"secret")
    session.viewer_lost()
    (lease,) = bench.leases._held.values()
    assert lease.lingers
    given, second = bench.begin(user)
    assert given is not session
    assert not lease.lingers
    assert lease.session_id == second.greeted[0].resume.session_id
    wire.protocol.dataReceived(b"new")
    assert second.sent == b"new"
    assert second.greeted[0].offset == len(b"secret")
    given.typed(b"x")
    session.typed(b"late")
    assert wire.written == b"x"
    stale = Arrival(TokenInvalid("x"), resume=first.greeted[0].resume)
    assert isinstance(bench.reception.receive(Viewer(), stale), Farewell)


@pytest.mark.parametrize(
    ("rights", "words", "told"),
    [
        ("", "This console is in use. Try again later.", (None, None)),
        ("see_holder", "mia has this console since 2026-01-01 00:00 UTC.", ("mia", NOW)),
    ],
)
def test_who_has_it(bench: Bench, rights: str, words: str, told: tuple[Any, Any]) -> None:
    """A busy console says who has it since when, as far as policy lets the asker know."""
    bench.opened(token=MIA)
    _, viewer = bench.begin(evolve(NOA, options={"rights": rights}), takeover=True)
    assert viewer.dismissed == (4409, words)
    assert viewer.busy is not None
    assert (viewer.busy.user_id, viewer.busy.since) == told
    assert not viewer.busy.takeover


def test_nobody_is_nobodys_own(bench: Bench) -> None:
    """Tokens without a user are not each other's: only the very same token is."""
    session, _first, _wire = bench.opened(token=TOKEN)
    _, other = bench.begin(evolve(TOKEN, token_hash="cd" * 32), takeover=True)
    assert other.dismissed is not None
    given, _ = bench.begin(TOKEN, takeover=True)
    assert given is session


WATCHER = evolve(NOA, options={"role": "observer"})


def test_observer_watches(bench: Bench) -> None:
    """An observer sees what was and what comes, and what it types reaches nobody."""
    session, writer, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"login: ")
    watching, observer = bench.begin(WATCHER)
    assert not observer.greeted[0].writes
    assert observer.sent == b"login: "
    assert observer.greeted[0].replay == len(b"login: ")
    assert writer.company == ("mia", ["noa"]) == observer.company
    watching.typed(b"rm -rf /\r")
    session.typed(b"root\r")
    assert wire.written == b"root\r"
    wire.protocol.dataReceived(b"Password: ")
    assert writer.sent == observer.sent == b"login: Password: "
    watching.viewer_left()
    assert writer.company == ("mia", [])
    assert len(bench.reactor.tcpClients) == 1


def test_observer_comes_first(bench: Bench) -> None:
    """A console without a writer is opened for an observer, and is anybody's to write to."""
    watching, observer, wire = bench.opened(token=WATCHER)
    (lease,) = bench.leases._held.values()
    assert lease.lingers
    wire.protocol.dataReceived(b"login: ")
    session, writer = bench.begin(MIA)
    assert writer.sent == b"login: "
    assert not lease.lingers
    assert observer.company == ("mia", ["noa"])
    session.viewer_left()
    assert not bench.free
    assert lease.lingers
    watching.viewer_left()
    assert bench.free


def test_the_cell_hears_who_watches(bench: Bench) -> None:
    """Each observer that comes, loses its connection or goes is told to the cell, nobody else."""

    def noted() -> list[tuple[str | None, bool]]:
        (lease,) = bench.leases._held.values()
        return [(one.holder.user_id, one.lingers) for one in lease.watchers]

    bench.opened()
    assert noted() == []
    watching, _ = bench.begin(WATCHER)
    assert noted() == [("noa", False)]
    watching.viewer_lost()
    assert noted() == [("noa", True)]
    again, _ = bench.begin(WATCHER)
    assert noted() == [("noa", True), ("noa", False)]
    again.viewer_left()
    watching.ended(4410, "out")
    assert noted() == []


def test_slow_observer_skips_to_live(bench: Bench) -> None:
    """An observer that takes nothing slows nobody; it is told what it has missed."""
    _session, writer, wire = bench.opened(token=MIA)
    _watching, observer = bench.begin(WATCHER)
    flow = observer.transport.producer
    flow.pauseProducing()
    for _ in range(10):
        wire.protocol.dataReceived(bytes(20_000))
    assert wire.producerState == "producing"
    assert len(writer.sent) == 200_000
    assert observer.sent == b""
    flow.resumeProducing()
    assert len(observer.sent) == 65_536
    lost = 200_000 - 65_536
    assert observer.warned == [f"{lost} bytes of output were skipped: they came too fast to show."]
    wire.protocol.dataReceived(b"live")
    assert observer.sent.endswith(b"live")


def test_observers_page_has_credit(bench: Bench) -> None:
    """An observing page that shows nothing is sent no more than its credit."""
    bench.opened(token=MIA)
    watching, observer = bench.begin(WATCHER, acknowledges=True)
    (_, _, factory, *_rest) = bench.reactor.tcpClients[-1]
    assert factory is not None
    (line,) = bench.sessions._lines.values()
    for _ in range(30):
        line.console.leg.dataReceived(bytes(20_000))
    assert len(observer.sent) <= CREDIT_WINDOW + 20_000
    watching.acknowledged(len(observer.sent))
    line.console.leg.dataReceived(b"live")
    assert observer.sent.endswith(b"live")


ASKING = evolve(NOA, options={"rights": "see_holder take"})


def test_takeover_with_grace(bench: Bench) -> None:
    """A take-over is announced, and done after the grace; nobody dials again."""
    session, holder, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"login: ")
    _, refused = bench.begin(ASKING)
    assert refused.busy is not None
    assert (refused.busy.ask, refused.busy.force) == (True, False)
    given, asker = bench.begin(ASKING, takeover=True)
    assert holder.requests == [("noa", 10.0)]
    assert asker.requests == [("mia", 10.0)]
    assert holder.company is None  # whoever waits does not see the line yet
    session.typed(b"still mine ")
    bench.reactor.advance(4)
    session.viewer_lost()
    _, holder = bench.begin(resume=holder.greeted[0].resume)
    assert holder.requests == [("noa", 6.0)]
    bench.reactor.advance(6)
    assert holder.dismissed == (4410, "noa took the console over.")
    assert asker.sent == b"login: "
    given.typed(b"now mine")
    assert wire.written == b"still mine now mine"
    assert len(bench.reactor.tcpClients) == 1
    (lease,) = bench.leases._held.values()
    assert lease.session_id == asker.greeted[0].resume.session_id


def test_takeover_is_granted(bench: Bench) -> None:
    """The holder may hand over at once, and only when asked."""
    session, holder, _wire = bench.opened(token=MIA)
    session.handed_over()
    assert holder.dismissed is None
    _, asker = bench.begin(ASKING, takeover=True)
    session.handed_over()
    assert holder.dismissed == (4410, "You handed the console over to noa.")
    assert asker.greeted
    bench.reactor.advance(10)
    assert asker.dismissed is None


def test_takeover_is_given_up(bench: Bench) -> None:
    """Whoever asked may go; the holder is told and stays, and may be asked again."""
    _session, holder, _wire = bench.opened(token=MIA)
    given, _asker = bench.begin(ASKING, takeover=True)
    _, second = bench.begin(evolve(ASKING, token_hash="aa" * 32), takeover=True)
    assert second.dismissed is not None
    given.viewer_left()
    assert holder.requests == [("noa", 10.0), (None, 0)]
    bench.reactor.advance(60)
    assert holder.dismissed is None
    bench.begin(ASKING, takeover=True)
    assert holder.requests[-1] == ("noa", 10.0)


def test_takeover_by_force(bench: Bench) -> None:
    """Whom policy lets force gets the console at once, others do not."""
    session, holder, wire = bench.opened(token=MIA)
    wire.protocol.dataReceived(b"secret")
    _, weak = bench.begin(evolve(NOA, options={"rights": "take"}), force=True)
    assert weak.dismissed is not None
    given, strong = bench.begin(evolve(NOA, options={"rights": "force"}), force=True)
    assert holder.dismissed == (4410, "noa took the console over.")
    assert strong.sent == b""
    given.typed(b"x")
    session.typed(b"y")
    assert wire.written == b"x"


def test_a_line_that_hung_up_takes_nobody(bench: Bench) -> None:
    """Whoever comes while the reason is looked for waits, and gets a new line."""
    session, _viewer, wire = bench.opened(token=MIA)
    session.viewer_lost()
    wire.drop()
    _, second = bench.begin(MIA_AGAIN)
    assert not second.greeted
    bench.reactor.advance(0.5)
    answer_dial(bench.reactor)
    assert second.greeted
    assert len(bench.reactor.tcpClients) == 2


def test_a_seized_port_takes_no_input_blindly(bench: Bench) -> None:
    """After a dead owner input is held back until the guest speaks (invariant 2)."""
    bench.leases.seizes = True
    session, viewer, wire = bench.opened()
    assert viewer.greeted[0].unproven
    session.typed(b"rm -rf /\r")
    assert wire.written == b""
    wire.protocol.dataReceived(b"login: ")
    session.typed(b"root\r")
    assert wire.written == b"root\r"


def test_a_seized_port_takes_input_on_request(bench: Bench) -> None:
    """The person may type although the guest is silent: the page asks first."""
    bench.leases.seizes = True
    session, _viewer, wire = bench.opened(acknowledges=True)
    bench.reactor.advance(60)
    session.typed(b"lost")
    session.confirmed()
    session.typed(b"\r")
    assert wire.written == b"\r"


def test_a_seized_port_and_a_plain_client(bench: Bench) -> None:
    """A client without words for it confirms by typing on when it has waited."""
    bench.leases.seizes = True
    session, _viewer, wire = bench.opened()
    session.typed(b"too early")
    bench.reactor.advance(5)
    session.typed(b"\r")
    assert wire.written == b"\r"


def test_a_seized_port_is_freed(bench: Bench) -> None:
    """A driver that can throws the dead owner's client off, and the port proves itself."""
    bench.leases.seizes = True
    bench.ports.can = True
    _session, viewer, _wire = bench.opened()
    assert bench.ports.freed == [(WEB_1, 0)]
    assert not viewer.greeted[0].unproven


def test_a_port_that_somebody_else_has(bench: Bench) -> None:
    """A port with another client is connected without a word: nothing is typed into its queue."""
    bench.ports.held = frozenset({0})
    session, viewer, wire = bench.opened()
    session.typed(b"rm -rf /\r")
    assert viewer.greeted[0].unproven
    assert wire.written == b""


def test_a_spent_token(bench: Bench) -> None:
    """A token that has opened its one session opens no second one, and keeps no lease."""
    bench.spender.error = TokenInvalid("This console link has been used.")
    _, viewer = bench.begin()
    assert viewer.dismissed == (4401, "This console link has been used.")
    assert bench.free
    assert not bench.reactor.tcpClients


def test_tokens_without_generation_are_recorded(bench: Bench) -> None:
    """A token of nova or memcached names a console that the cell may not know yet."""
    bench.opened(token=evolve(TOKEN, generation=0))
    assert bench.registrar.recorded == [(WEB_1, 0)]


def test_internal_access_path(bench: Bench) -> None:
    """A token with a path asks for its console first; what comes after the answer is the guest."""
    _session, viewer = bench.begin(evolve(TOKEN, options={"internal_access_path": "/console?x"}))
    wire = answer_dial(bench.reactor)
    assert wire.written == b"CONNECT /console?x HTTP/1.1\r\n\r\n"
    assert not viewer.greeted
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
    wire.protocol.dataReceived(b"login: ")
    assert viewer.sent == b"login: "


def limited(**limits: Any) -> Bench:
    """A bench whose sessions are limited."""
    return Bench(limits=SessionLimits(**limits))


def test_longest_session() -> None:
    """A session ends at its longest time with 4412, warned a minute before."""
    bench = limited(longest=600.0)
    _session, viewer, _wire = bench.opened()
    bench.reactor.advance(539)
    assert viewer.warned == []
    bench.reactor.advance(1)
    assert viewer.warned == ["This session ends in a minute."]
    bench.reactor.advance(60)
    assert viewer.dismissed == (4412, "The session has reached its longest time.")
    assert bench.free


def test_session_of_its_token() -> None:
    """With enforce_session_timeout the token's expiry ends the session; a new token renews it."""
    bench = limited(token_bound=True)
    _session, viewer, _wire = bench.opened(token=evolve(MIA, left=100.0))
    bench.reactor.advance(90)
    assert len(viewer.warned) == 1
    _, second = bench.begin(evolve(MIA_AGAIN, left=100.0), takeover=True)
    bench.reactor.advance(99)
    assert second.dismissed is None
    bench.reactor.advance(1)
    assert second.dismissed is not None
    assert second.dismissed[0] == 4412


def test_idle_session() -> None:
    """A session without input ends with 4411, warned before; typing counts, output does not."""
    bench = limited(idle=300.0)
    session, viewer, wire = bench.opened()
    bench.reactor.advance(239)
    session.typed(b"x")
    bench.reactor.advance(239)
    wire.protocol.dataReceived(b"busy guest")
    assert viewer.warned == []
    bench.reactor.advance(1)
    assert viewer.warned == ["Nothing was typed for a while: this session ends in 60 s."]
    session.typed(b"y")
    bench.reactor.advance(299)
    assert len(viewer.warned) == 2
    bench.reactor.advance(1)
    assert viewer.dismissed == (4411, "Nothing was typed for too long.")
    assert not [call for call in bench.reactor.getDelayedCalls() if call.getTime() > 1e6]


class Tape:
    """A recording in memory, and its recorder."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.listener: Any = None

    def start(self, session_id: str, token: Any, instance: Any, console: Any, listener: Any) -> Any:
        """The recording of a session."""
        self.listener = listener
        self.told.append(("start", instance.name))
        return self

    def output(self, data: bytes) -> None:
        """What the guest printed."""
        self.told.append(("o", data))

    def input(self, data: bytes) -> None:
        """What the viewer typed."""
        self.told.append(("i", data))

    def marker(self, text: str) -> None:
        """Something that happened."""
        self.told.append(("m", text))

    def close(self) -> None:
        """The end."""
        self.told.append(("close", None))


def test_a_session_is_recorded(bench: Bench) -> None:
    """What is seen and typed, also while its viewer is away; not what an observer does."""
    bench.reception.recorder = tape = Tape()
    session, first, wire = bench.opened(token=MIA)
    session.typed(b"ls")
    wire.protocol.dataReceived(b"one")
    session.viewer_lost()
    wire.protocol.dataReceived(b"two")
    bench.begin(MIA, resume=first.greeted[0].resume, since=3)
    watching, _ = bench.begin(WATCHER)
    watching.typed(b"nothing")
    session.ended(4410, "enough")
    assert tape.told == [
        ("start", "web-1"),
        ("i", b"ls"),
        ("o", b"one"),
        ("m", "detach"),
        ("o", b"two"),
        ("m", "attach mia"),
        ("close", None),
    ]


def test_a_strict_recording_that_fails(bench: Bench) -> None:
    """A session that must be recorded and cannot be ends, and says why."""
    bench.reception.recorder = tape = Tape()
    _session, viewer, _wire = bench.opened(token=MIA)
    tape.listener.recording_failed("The disk is full.")
    assert viewer.dismissed == (1011, "The disk is full.")


def test_a_recording_that_lags(bench: Bench) -> None:
    """A slow disk holds the guest as a slow viewer does; each lets go for itself."""
    bench.reception.recorder = tape = Tape()
    _session, viewer, wire = bench.opened(token=MIA)
    tape.listener.recording_lags(True)
    viewer.transport.producer.pauseProducing()
    tape.listener.recording_lags(False)
    assert wire.producerState == "paused"
    viewer.transport.producer.resumeProducing()
    assert wire.producerState == "producing"
    tape.listener.recording_suffers("Part of it is not recorded.")
    assert viewer.warned == ["Part of it is not recorded."]
