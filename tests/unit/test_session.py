"""A session over a real opener, line and lease; only the sockets are in memory."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from fakes import WEB_1, FakeDriver, make_instance, result
from memory_leases import MemoryLeases
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from wires import Wire, answer_dial

from consoled.errors import Unavailable
from consoled.leasing.values import Holder
from consoled.model import ConsoleAuthToken, InstanceState
from consoled.proxy.gate import CREDIT_WINDOW
from consoled.proxy.opening import OpenConsole, Opener
from consoled.proxy.session import EARLY_INPUT, SessionCore, SessionInputs, begin_session
from consoled.transports.tcp import TCPTransport

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
        self.greeted: list[str] = []
        self.sent = b""
        self.dismissed: tuple[int, str] | None = None

    def greet(self, session_id: str, opened: OpenConsole) -> None:
        """The console is open."""
        self.greeted.append(opened.instance.name)

    def send(self, data: bytes) -> None:
        """Output."""
        self.sent += data

    def dismiss(self, code: int, reason: str) -> None:
        """Closed, with a reason."""
        assert self.dismissed is None
        self.dismissed = (code, reason)
        self.transport.unregisterProducer()


class Bench:
    """One driver, one book of leases, and sessions over them."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.driver = FakeDriver()
        self.leases = MemoryLeases()

    def begin(self, token: ConsoleAuthToken = TOKEN, *, acknowledges: bool = False) -> Any:
        """A session that has just begun, and its viewer."""
        viewer = Viewer(acknowledges)
        core = SessionCore(
            session_id=f"session-{id(viewer)}",
            token=token,
            viewer=viewer,
            opener=Opener(
                self.driver, self.leases, TCPTransport(self.reactor, 10), self.reactor, 10
            ),
            driver=self.driver,
            clock=self.reactor,
            stall_timeout=STALL,
        )
        return begin_session(core), viewer

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
    assert viewer.greeted == ["web-1"]
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
    second, viewer = bench.begin()
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
    session.ended(4410, "taken over")
    session.typed(b"late")
    session.printed(b"late")
    session.acknowledged(1)
    session.line_lost()
    session.viewer_lost()
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
    session.viewer_lost()
    assert not bench.free
    wire.drop()
    assert bench.free


def test_backend_that_does_not_close_is_aborted(bench: Bench) -> None:
    """A console's port that does not close in a second is aborted."""
    session, _viewer = bench.begin()
    wire = answer_dial(bench.reactor, sticky=True)
    session.viewer_lost()
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
    assert bench.free


def test_backpressure_to_the_viewer(bench: Bench) -> None:
    """A guest that does not read stops the reading from the viewer."""
    _session, viewer, wire = bench.opened()
    wire.producer.pauseProducing()
    assert viewer.transport.producerState == "paused"
    wire.producer.resumeProducing()
    assert viewer.transport.producerState == "producing"


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
        session.viewer_lost()
    first, last = (e for e in logs if str(e.get("event")).startswith("session_"))
    assert (first["event"], last["event"]) == ("session_opened", "session_ended")
    assert last["token_id"] == TOKEN.token_hash[:12]
    assert (last["bytes_in"], last["bytes_out"], last["duration_s"]) == (5, 3, 2.0)


def test_open_while_another_releases(bench: Bench) -> None:
    """Sessions one after the other share nothing: the second dials anew."""
    session, _, _wire = bench.opened()
    session.viewer_lost()
    _second, viewer, wire = bench.opened()
    wire.protocol.dataReceived(b"fresh")
    assert viewer.sent == b"fresh"
