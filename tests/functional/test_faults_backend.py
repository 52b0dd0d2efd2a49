"""The guest's side fails, or two want it: F9 to F13 and W7 of the faults, on running daemons."""

from __future__ import annotations

import os
import queue
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from backends import Backend, Handler, backend, echo
from databases import REPLICATED
from fault_world import (
    PATIENCE,
    SYN_SENT,
    FullPort,
    OneClientPort,
    address,
    cell_database,
    described,
    new_token,
    refusal,
    signalled,
    until,
    uuid_of,
    visit,
    visit_when_free,
)

from consoled.settings import Proxy
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, static_daemon


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A cell database for several replicas."""
    return cell_database(request.session, request.param, tmp_path)


@contextmanager
def two_replicas(folder: Path, url: str, port: int) -> Iterator[tuple[Daemon, Daemon]]:
    """Two daemons of one cell with web-1 at that port."""
    with ExitStack() as stack:
        daemons = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            config = {"database": {"connection": url}}
            one = static_daemon(folder / name, [described("web-1", port)], config)
            daemons.append(stack.enter_context(one))
        yield daemons[0], daemons[1]


@pytest.mark.parametrize("url", REPLICATED[:1], indirect=True)
def test_f9_a_forced_disconnect_hands_over_a_clean_port(tmp_path: Path, url: str) -> None:
    """F9: the old socket is closed before the new dial, and no byte of one is in the other."""
    with OneClientPort() as port, two_replicas(tmp_path, url, port.port) as (first, second):
        with visit(address(first, new_token(first, "web-1"))) as old:
            assert old.client.recv(PATIENCE)
            old.client.send(b"a" * 4096)
            ended = second.request("DELETE", f"/v1/servers/{uuid_of('web-1')}/sessions")
            assert ended.status == 202
            # What the old one still types, it types to nobody.
            code, reason, output = old.ends()
            assert (code, reason) == (4410, "You were disconnected by ada.")
            assert set(output) <= set(b"1a")
            with visit_when_free(
                second, address(second, new_token(second, "web-1", key=ADMIN_KEY))
            ) as new:
                new.prints(port.greeting(2))
                new.says(b"b")
        assert port.overlaps == 0
        # What still waited for its turn went nowhere.
        assert set(port.received[0]) <= set(b"a")
        assert port.received[1:] == [b"b"]


# F10


def leaves(daemon: Daemon, visitor: socket.socket) -> None:
    """The viewer's connection is reset."""
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    visitor.close()


def is_ended(daemon: Daemon, visitor: socket.socket) -> None:
    """An operator ends the session that is not open yet."""
    answer = daemon.request("DELETE", f"/v1/servers/{uuid_of('web-1')}/sessions")
    assert len(answer.body["sessions"]) == 1


@pytest.mark.parametrize("goes", [leaves, is_ended])
def test_f10_a_cancelled_dial_leaves_nothing_at_the_port(
    tmp_path: Path, goes: Callable[[Daemon, socket.socket], None]
) -> None:
    """F10: whoever ends it, the pending dial is gone at once, and the next viewer is alone."""
    with (
        FullPort() as port,
        static_daemon(tmp_path, [described("web-1", port.port)]) as daemon,
        socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as visitor,
    ):
        visitor.sendall(
            f"GET /?token={new_token(daemon, 'web-1')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        until(daemon, "the port is dialled", lambda: port.dials() == [SYN_SENT])
        goes(daemon, visitor)
        daemon.wait_for_event("session_ended")
        until(daemon, "nobody dials it", lambda: port.dials() == [])
        port.drain()
        with visit_when_free(daemon, address(daemon, new_token(daemon, "web-1"))) as next_one:
            with port.accept() as guest:
                next_one.client.send(b"x")
                assert guest.recv(10) == b"x"
            assert port.queue_is_empty()


# F11


def hangs_up(connection: socket.socket) -> None:
    """FIN, after the first byte of input."""
    connection.recv(1)


def resets(connection: socket.socket) -> None:
    """RST, after the first byte of input."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@frozen
class Ports:
    """A daemon, and the port behind each of its instances."""

    daemon: Daemon
    served: dict[str, Backend]
    full: FullPort


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """A daemon whose instances are named after what their port does."""
    kinds: dict[str, Handler] = {"fin": hangs_up, "rst": resets}
    with ExitStack() as stack:
        served = {name: stack.enter_context(backend(kind)) for name, kind in kinds.items()}
        full = stack.enter_context(FullPort())
        # Bound and not listening: a dial is refused, and nobody else gets the port.
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        numbers = {name: one.port for name, one in served.items()}
        numbers |= {"black hole": full.port, "refused": closed.getsockname()[1]}
        instances = [described(name, number) for name, number in numbers.items()]
        folder = tmp_path_factory.mktemp("ports")
        config = {"proxy": {"connect_timeout": 1}}
        yield Ports(stack.enter_context(static_daemon(folder, instances, config)), served, full)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("fin", 1000, "closed the connection"),
        ("rst", 1000, "closed the connection"),
        ("refused", 1011, "refused the connection"),
        ("black hole", 1011, "did not answer in time"),
    ],
)
def test_f11_a_failing_port(ports: Ports, name: str, code: int, words: str) -> None:
    """F11: a clear close code in time, the lease given back, and one dial for one viewer."""
    daemon = ports.daemon
    with visit(address(daemon, new_token(daemon, name))) as visitor:
        if visitor.open:
            visitor.client.send(b"x")
            assert visitor.ends()[:2] == (code, f"The console's port {words}.")
        else:
            assert visitor.code == code
            assert words in visitor.reason

    def free() -> bool:
        answer = daemon.request("GET", f"/v1/servers/{uuid_of(name)}/consoles")
        return answer.body["consoles"][0]["in_use"] is False

    until(daemon, "the lease is given back", free)
    if name in ports.served:
        ports.served[name].accepted.get_nowait()
        assert ports.served[name].accepted.empty()
    until(daemon, "nobody dials any more", lambda: ports.full.dials() == [])


# F12, F13


def test_f12_connected_is_not_exclusive(tmp_path: Path) -> None:
    """F12: while an outsider has the port, a viewer is connected, and told of no output."""
    with OneClientPort() as port:
        outsider = socket.create_connection(("127.0.0.1", port.port), PATIENCE)
        with (
            outsider,
            static_daemon(tmp_path, [described("web-1", port.port)]) as daemon,
            visit(address(daemon, new_token(daemon, "web-1"))) as visitor,
        ):
            assert outsider.recv(1) == b"1"
            assert visitor.open
            assert "exclusive" not in visitor.hello
            # The outsider's own output, its last byte too, went to the outsider alone.
            received = 1
            while received < port.GREETING:
                received += len(outsider.recv(65536))
            outsider.close()
            visitor.prints(port.greeting(2))


class Wires:
    """A handler that reports what comes on each connection, and its end, with its number."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._number = 0

    def __call__(self, connection: socket.socket) -> None:
        """Serves one connection."""
        self._number += 1
        number = self._number
        try:
            while data := connection.recv(65536):
                self.heard.put((number, data))
        finally:
            self.heard.put((number, b""))

    def until(self, number: int, end: bytes) -> bytes:
        """What comes on that connection, up to that end; nothing comes on another one."""
        received = b""
        while not received.endswith(end) or not received:
            from_number, data = self.heard.get(timeout=PATIENCE)
            assert from_number == number, (from_number, data)
            if not data:
                assert not end, "the connection has ended"
                return received
            received += data
        return received


@pytest.mark.parametrize("url", REPLICATED[:1], indirect=True)
def test_f13_an_owner_that_is_stopped_past_its_lease(tmp_path: Path, url: str) -> None:
    """F12, F13: its successor types nothing unproven; continued, it relays nothing any more."""
    wires = Wires()
    with (
        backend(wires) as guest,
        two_replicas(tmp_path, url, guest.port) as (first, second),
        visit(address(first, new_token(first, "web-1"))) as old,
    ):
        old_wire = guest.accepted.get(timeout=PATIENCE)
        old.client.send(b"old!")
        assert wires.until(1, b"!") == b"old!"
        where = address(second, new_token(second, "web-1", key=ADMIN_KEY))
        with (
            signalled([first.pid], signal.SIGSTOP, signal.SIGCONT),
            visit_when_free(second, where, (4409, 1013)) as new,
        ):
            new_wire = guest.accepted.get(timeout=PATIENCE)
            # The stopped one still has its socket: QEMU would serve that one.
            assert new.hello["unproven"] is True
            new.client.send(b"unproven")
            new_wire.sendall(b"$ ")
            new.prints(b"$ ")
            new.client.send(b"new!")
            assert wires.until(2, b"!") == b"new!"
            old_wire.sendall(b"for the old one")
            old.client.send(b"late!")
            os.kill(first.pid, signal.SIGCONT)
            code, reason, output = old.ends()
            assert (code, output) == (1013, b"")
            assert reason
            assert wires.until(1, b"") == b""
            new.client.send(b"more!")
            assert wires.until(2, b"!") == b"more!"


# W7

FROZEN = (
    "import sys\n"
    "from websockets.sync.client import connect\n"
    "with connect(sys.argv[1], subprotocols=['consoled.v1'], compression=None) as client:\n"
    "    client.recv()\n"
    "    print('open', flush=True)\n"
    "    client.recv()\n"
)


def test_w7_a_frozen_viewer(tmp_path: Path) -> None:
    """W7: a client that hangs is noticed by its pings, and from then on the port is another's."""
    noticed = Proxy().ping_interval + Proxy().ping_timeout
    assert noticed <= 30, "a vanished client is noticed within 30 s"
    config = {"proxy": {"ping_interval": 1, "ping_timeout": 1}}
    with backend(echo) as guest:
        daemon_with = static_daemon(tmp_path, [described("web-1", guest.port)], config)
        with daemon_with as daemon:
            where = address(daemon, new_token(daemon, "web-1", key=ADMIN_KEY))
            client = subprocess.Popen(
                [
                    *(sys.executable, "-c", FROZEN),
                    address(daemon, new_token(daemon, "web-1", key=MEMBER_KEY)),
                ],
                stdout=subprocess.PIPE,
            )
            with client:
                try:
                    assert client.stdout is not None
                    assert client.stdout.readline() == b"open\n"
                    assert refusal(where) == 4409
                    client.send_signal(signal.SIGSTOP)
                    daemon.wait_for_event("session_lingers")
                    with visit(where) as other:
                        assert other.open
                        other.says(b"x")
                finally:
                    client.kill()
