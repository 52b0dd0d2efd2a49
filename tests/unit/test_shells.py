"""Shells on an instance: many at a time, each one somebody's own, with a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from fakes import WEB_1, result
from receptions import House
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from wires import Wire
from zope.interface import implementer

from consoled.errors import BackendUnreachable, NotFound
from consoled.leasing.values import Holder
from consoled.model import NO_GENERATION, SHELL, Console, ConsoleAuthToken, Instance
from consoled.proxy.presence import Busy
from consoled.proxy.reception import Arrival, Farewell
from consoled.proxy.viewing import Greeting
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.shells import MOST, shell_of

MIA = ConsoleAuthToken(
    token_hash="ab" * 32,
    instance_uuid=WEB_1,
    index=0,
    host=WEB_1,
    port=1,
    generation=1,
    access_url="http://127.0.0.1:6083/serial.html",
    expires=1,
    project_id="demo",
    user_id="mia",
    console_type=SHELL,
)
NOA = evolve(MIA, token_hash="cd" * 32, user_id="noa")
SERIAL_TOKEN = evolve(
    MIA, token_hash="ef" * 32, host="192.0.2.1", port=10000, console_type="serial"
)


class ShellWire(Wire):
    """A shell's end of its channel.

    :ivar sizes: columns and rows, as they were told.
    :ivar carrier: what its bytes go over.
    :ivar exit_status: how the shell ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        self.carrier = "ssh"
        self.exit_status: int | None = None

    def resize(self, columns: int, rows: int) -> None:
        """Remembers it."""
        self.sizes.append((columns, rows))


@implementer(IStreamClientEndpoint)
class Shells:
    """A transport that gives out shells in memory.

    :ivar dialled: the consoles.
    :ivar wires: the shells.
    :ivar waits: whether a dial waits for :meth:`answer`.
    """

    def __init__(self) -> None:
        self.dialled: list[Console] = []
        self.wires: list[ShellWire] = []
        self.waits = False
        self.carrier = "ssh"
        self.pending: list[tuple[Any, Deferred[Any]]] = []

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """Itself."""
        self.dialled.append(console)
        endpoint: Any = self
        return endpoint

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """A shell, now or later."""
        if self.waits:
            answer: Deferred[Any] = Deferred()
            self.pending.append((protocolFactory, answer))
            return answer
        return succeed(self._shell(protocolFactory))

    def answer(self) -> None:
        """The oldest dial that waits has its shell."""
        factory, answer = self.pending.pop(0)
        answer.callback(self._shell(factory))

    def _shell(self, factory: Any) -> Any:
        protocol, wire = factory.buildProtocol(None), ShellWire()
        wire.protocol, wire.carrier = protocol, self.carrier
        protocol.makeConnection(wire)
        self.wires.append(wire)
        return protocol


class Viewer:
    """What a session does to its WebSocket."""

    acknowledges = False

    def __init__(self) -> None:
        self.transport: Any = Wire()
        self.greeted: list[Greeting] = []
        self.sent = b""
        self.dismissed: tuple[int, str] | None = None
        self.busy: Busy | None = None

    def greet(self, greeting: Greeting) -> None:
        """The console is open."""
        self.greeted.append(greeting)

    def send(self, data: bytes) -> None:
        """Output."""
        self.sent += data

    def go_straight(self, take: Any) -> None:
        """Nothing."""

    def warn(self, text: str, *, until_typing: bool = False) -> None:
        """Nothing."""

    def show_company(self, writer: str | None, observers: Sequence[str]) -> None:
        """Nothing."""

    def show_request(self, user: str | None, seconds: float) -> None:
        """Nothing."""

    def show_wait(self, user: str | None, seconds: float) -> None:
        """Nothing."""

    def show_pasted(self, gone: int, dropped: int | None) -> None:
        """Nothing."""

    def dismiss(self, code: int, reason: str, busy: Busy | None = None) -> None:
        """Closed, with a reason."""
        self.dismissed, self.busy = (code, reason), busy
        self.transport.unregisterProducer()


class Bench(House):
    """A reception whose consoles are shells in memory."""

    def __init__(self) -> None:
        super().__init__(MemoryReactorClock())
        self.shells = Shells()
        self.reception.paste_rate = 1000.0
        self.reception.opener = evolve(self.reception.opener, transport=self.shells)

    def begin(self, token: ConsoleAuthToken = MIA, **arrival: Any) -> tuple[Any, Viewer]:
        """What a viewer that arrives gets, and the viewer."""
        viewer = Viewer()
        given = self.reception.receive(viewer, Arrival(token, **arrival))
        if isinstance(given, Farewell):
            viewer.dismiss(given.code, given.reason, given.busy)
        return given, viewer


@pytest.fixture
def bench() -> Bench:
    """A bench."""
    return Bench()


def test_each_session_has_a_shell_of_its_own(bench: Bench) -> None:
    """Two people have two shells at a time, each under its own index, and neither is busy."""
    mia, mias = bench.begin(MIA)
    noa, noas = bench.begin(NOA)
    assert [console.index for console in bench.shells.dialled] == [0, 1]
    assert [g.console.console.index for g in (*mias.greeted, *noas.greeted)] == [0, 1]
    mia.typed(b"a")
    noa.typed(b"b")
    assert [wire.written for wire in bench.shells.wires] == [b"a", b"b"]
    bench.shells.wires[1].protocol.dataReceived(b"hers")
    assert (mias.sent, noas.sent) == (b"", b"hers")


def test_the_shell_is_leased_as_itself(bench: Bench) -> None:
    """A shell's lease keeps nobody from the serial port of the same index."""
    bench.begin(MIA)
    result(bench.leases.take(WEB_1, 0, "other", holder=Holder()))
    assert bench.registrar.recorded == [(WEB_1, 0)]


def test_a_free_index_is_used_again(bench: Bench) -> None:
    """The next session takes the place of a shell that is gone."""
    session, _ = bench.begin(MIA)
    bench.begin(NOA)
    session.viewer_left()
    bench.begin(evolve(MIA, token_hash="12" * 32))
    assert [console.index for console in bench.shells.dialled] == [0, 1, 0]


def test_another_replica_has_the_index(bench: Bench) -> None:
    """Where the cell has that shell elsewhere, the session goes on under the next index."""
    result(bench.leases.take(WEB_1, 0, "elsewhere", holder=Holder(), console_type=SHELL))
    with capturedLogs() as events:
        session, viewer = bench.begin(MIA)
    assert viewer.dismissed is None
    assert [console.index for console in bench.shells.dialled] == [1]
    opened = [event for event in events if event.get("event") == "session_opened"]
    assert [event["index"] for event in opened] == [1]
    line = bench.sessions.shell(MIA.token_hash)
    assert line is not None
    assert line.key.index == 1
    session.viewer_left()
    assert bench.sessions.shell(MIA.token_hash) is None
    assert len(bench.sessions) == 0


def test_there_is_a_most(bench: Bench) -> None:
    """With all of an instance's shells open elsewhere, one more is refused in plain words."""
    for index in range(MOST):
        result(bench.leases.take(WEB_1, index, f"s{index}", holder=Holder(), console_type=SHELL))
    _, viewer = bench.begin(MIA)
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 1013
    assert f"{MOST} shells" in viewer.dismissed[1]


def test_the_same_url_again(bench: Bench) -> None:
    """A URL that has a shell open finds that one: in another window it is one's own to take."""
    session, first = bench.begin(MIA)
    _, second = bench.begin(MIA)
    assert second.dismissed is not None
    assert second.dismissed[0] == 4409
    assert second.busy is not None
    assert second.busy.takeover
    _, third = bench.begin(MIA, takeover=True)
    assert first.dismissed is not None
    assert first.dismissed[0] == 4410
    assert third.greeted
    session.viewer_lost()
    _, fourth = bench.begin(MIA)
    assert fourth.greeted
    assert len(bench.shells.wires) == 1


def test_another_one_after_its_end(bench: Bench) -> None:
    """While a shell that has ended is closed, its URL opens another, and finds that one again."""
    session, _ = bench.begin(MIA)
    bench.shells.wires[0].sticky = True
    session.ended(4410, "disconnected")
    again, second = bench.begin(MIA)
    assert second.greeted[0].console.console.index == 1
    again.viewer_lost()
    _, third = bench.begin(MIA)
    assert third.greeted[0].resume.session_id == second.greeted[0].resume.session_id
    assert len(bench.shells.wires) == 2


def test_it_lingers_and_resumes(bench: Bench) -> None:
    """A shell waits for a viewer whose connection broke, and shows what it has missed."""
    session, first = bench.begin(MIA)
    key = first.greeted[0].resume
    bench.shells.wires[0].protocol.dataReceived(b"seen")
    session.viewer_lost()
    bench.shells.wires[0].protocol.dataReceived(b" missed")
    _, back = bench.begin(MIA, resume=key, since=4)
    assert back.sent == b" missed"


def test_nobody_inherits_a_shell(bench: Bench) -> None:
    """A shell that waits for its viewer is not given to the next user, not even in its index."""
    session, _ = bench.begin(MIA)
    session.viewer_lost()
    _, noas = bench.begin(NOA)
    assert len(bench.shells.wires) == 2
    assert noas.greeted[0].console.console.index == 1
    assert not bench.shells.wires[0].disconnecting


def test_a_serial_token_opens_no_shell(bench: Bench) -> None:
    """A token opens what it is for: the serial port is dialled as itself."""
    bench.begin(SERIAL_TOKEN)
    assert [console.type for console in bench.shells.dialled] == ["serial"]


def test_a_shell_token_opens_no_serial_port(bench: Bench) -> None:
    """Whatever place a token for a shell names, what is dialled is a shell."""
    bench.begin(evolve(MIA, host="192.0.2.1", port=10000))
    assert [console.type for console in bench.shells.dialled] == [SHELL]


def test_a_foreign_token_opens_no_shell(bench: Bench) -> None:
    """A token that the cell has not issued itself, and so has no generation, opens none."""
    _, viewer = bench.begin(evolve(MIA, generation=NO_GENERATION))
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 4401
    assert not bench.shells.dialled


def test_another_type_of_console_opens_nothing(bench: Bench) -> None:
    """A token for a type of console that the instance has not opens nothing there."""
    _, viewer = bench.begin(evolve(SERIAL_TOKEN, console_type="vnc"))
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 4401


def test_it_has_no_line_speed_and_no_break(bench: Bench) -> None:
    """Pastes to a shell are not slowed down, and nobody is offered a BREAK."""
    _, viewer = bench.begin(evolve(MIA, options={"rights": "break take force"}))
    assert viewer.greeted[0].paste_rate == 0
    assert not viewer.greeted[0].breaks


def test_the_size_follows_the_viewer(bench: Bench) -> None:
    """A size that comes before the shell is there is its first; later ones follow, each once."""
    bench.shells.waits = True
    session, _ = bench.begin(MIA)
    session.resized(100, 30)
    session.resized(101, 31)
    bench.shells.answer()
    wire = bench.shells.wires[0]
    assert wire.sizes == [(101, 31)]
    session.resized(101, 31)
    session.resized(90, 20)
    assert wire.sizes == [(101, 31), (90, 20)]
    session.viewer_lost()
    session.resized(1, 1)
    assert wire.sizes == [(101, 31), (90, 20)]


def test_a_serial_port_has_no_size(bench: Bench) -> None:
    """What a page says of its size means nothing to a serial port."""
    session, _ = bench.begin(SERIAL_TOKEN)
    session.resized(100, 30)
    assert bench.shells.wires[0].sizes == []


def test_the_recording_has_the_sizes(bench: Bench) -> None:
    """A recording is told the size that the shell began with, and each change of it."""
    said: list[tuple[int, int]] = []

    class Tape:
        def __getattr__(self, name: str) -> Any:
            return (lambda *size: said.append(size)) if name == "resize" else lambda *_: None

    class Recorder:
        def start(self, *_: Any) -> Any:
            return Tape()

    bench.reception.recorder = Recorder()
    bench.shells.waits = True
    session, _ = bench.begin(MIA)
    session.resized(100, 30)
    bench.shells.answer()
    session.resized(90, 20)
    assert said == [(100, 30), (90, 20)]


def test_exit(bench: Bench) -> None:
    """A shell that ends closes with 1000, in words of its own."""
    _, viewer = bench.begin(MIA)
    bench.shells.wires[0].drop(ConnectionDone())
    bench.reactor.advance(1)
    assert viewer.dismissed == (1000, "The shell has ended.")


def test_exit_status(bench: Bench) -> None:
    """A shell that ends with a status of its own says which."""
    _, viewer = bench.begin(MIA)
    bench.shells.wires[0].exit_status = 3
    bench.shells.wires[0].drop(ConnectionDone())
    bench.reactor.advance(1)
    assert viewer.dismissed == (1000, "The shell has ended with status 3.")


@pytest.mark.parametrize(("carrier", "freed"), [("ssh", [(WEB_1, 0)]), ("tcp", [])])
def test_a_lost_proxy_node_may_have_the_port_still(
    bench: Bench, carrier: str, freed: list[tuple[str, int]]
) -> None:
    """After a proxy node was lost, the next opening frees the guest's port, where it can."""
    bench.ports.can = True
    bench.shells.carrier = carrier
    bench.begin(SERIAL_TOKEN)
    bench.shells.wires[0].drop(BackendUnreachable("Proxy node jump is gone."))
    bench.reactor.advance(1)
    assert not bench.ports.freed
    bench.begin(SERIAL_TOKEN)
    assert bench.ports.freed == freed
    bench.begin(SERIAL_TOKEN, takeover=True)
    assert bench.ports.freed == freed


def test_a_port_that_cannot_be_freed(bench: Bench) -> None:
    """Where nobody can free it, input waits for the guest's first byte."""
    bench.shells.carrier = "ssh"
    bench.begin(SERIAL_TOKEN)
    bench.shells.wires[0].drop(BackendUnreachable("Proxy node jump is gone."))
    bench.reactor.advance(1)
    _, viewer = bench.begin(SERIAL_TOKEN)
    assert viewer.greeted[0].unproven


def test_the_way_is_lost(bench: Bench) -> None:
    """A shell whose SSH connection goes away ends with the reason that the transport gives."""
    _, viewer = bench.begin(MIA)
    bench.shells.wires[0].drop(BackendUnreachable("Proxy node jump is gone."))
    bench.reactor.advance(1)
    assert viewer.dismissed == (1011, "Proxy node jump is gone.")


def test_the_instance_is_gone(bench: Bench) -> None:
    """A token for a shell of an instance that was deleted opens nothing."""
    bench.driver.error = NotFound("gone")
    _, viewer = bench.begin(MIA)
    assert viewer.dismissed is not None
    assert viewer.dismissed[0] == 4401


def test_places_are_the_cells_own() -> None:
    """No two shells of any two instances have one place, and none is a port that is dialled."""
    one = Instance("a" * 36, "a", None, "h", None)  # type: ignore[arg-type]  # not asked
    places = {(shell_of(one, n).host, shell_of(one, n).port) for n in range(MOST)}
    assert len(places) == MOST
    assert shell_of(one, 2).place == f"ssh 2 at {one.uuid}"


def test_what_comes_with_the_answer_to_connect(bench: Bench) -> None:
    """A guest's first bytes in one packet with the answer of its host are not lost over SSH."""
    bench.shells.waits = True
    _, viewer = bench.begin(evolve(SERIAL_TOKEN, options={"internal_access_path": "/console"}))
    bench.shells.answer()
    (wire,) = bench.shells.wires
    assert wire.written == b"CONNECT /console HTTP/1.1\r\n\r\n"
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nlogin: ")
    wire.protocol.dataReceived(b"mia")
    assert viewer.sent == b"login: mia"
