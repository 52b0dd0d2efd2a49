"""``consolectl forward`` through a real daemon: bytes, many connections, half-close, its ends."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest
from http_target import PIECE, closed_port
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import (
    ADMIN_KEY,
    MEMBER_KEY,
    READER_KEY,
    STRANGER_KEY,
    Daemon,
    static_daemon,
)

VM = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
MANY = 20
MOST = 25
"""``[forward] max_connections``."""
PIECES = 128
"""8 MiB."""
ROOM = 24 * 2**20
"""Bytes by which the daemon's memory may grow."""


class _Echo(BaseRequestHandler):
    """A line says what to do: ``sum``, ``late`` (a sum), ``pour N``, ``echo`` or ``deaf``."""

    server: Service

    def handle(self) -> None:
        sock: socket.socket = self.request
        order = b""
        while not order.endswith(b"\n"):
            data = sock.recv(1)
            if not data:
                return
            order += data
        word, _, number = order.decode().strip().partition(" ")
        if word == "late":
            self.server.joined.set()
            self.server.released.wait(30)
        if word in ("sum", "late"):
            found = hashlib.sha256()
            while data := sock.recv(2**16):
                found.update(data)
            # The other way is open still.
            sock.sendall(found.hexdigest().encode())
        elif word == "pour":
            for _ in range(int(number)):
                left = memoryview(PIECE)
                while left:
                    if not select.select([], [sock], [], 0.5)[1]:
                        self.server.stalled.set()
                    left = left[sock.send(left) :]
        elif word == "echo":
            while data := sock.recv(2**16):
                sock.sendall(data)
        elif word == "deaf":
            self.server.joined.set()
            while sock.recv(1):
                pass
            self.server.left.set()


class Service(ThreadingTCPServer):
    """A TCP service as an instance may have it.

    :ivar released: lets those go on who are late.
    :ivar stalled: set when nobody takes what it pours.
    :ivar joined: set when somebody is deaf.
    :ivar left: set when that one has gone.
    """

    daemon_threads = True
    # With the default of five, Linux resets some of many that come at once.
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.stalled, self.joined, self.left = Event(), Event(), Event()
        self.released = Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients go away on purpose."""


class World(NamedTuple):
    """A daemon, and a service on an instance of its."""

    daemon: Daemon
    service: Service
    closed: int

    @property
    def port(self) -> int:
        """The service's."""
        return int(self.service.server_address[1])

    @property
    def memory(self) -> int:
        """The most bytes that the daemon has had in memory so far."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def command(self, *words: str, key: str = MEMBER_KEY) -> subprocess.Popen[str]:
        """A running ``consolectl forward``."""
        return subprocess.Popen(
            [sys.executable, "-m", "consoled.cli", "forward", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "CONSOLED_API": self.daemon.api_url, "CONSOLED_KEY": key},
        )

    def websocket(self, port: int | None = None, key: str = MEMBER_KEY, **how: Any) -> Any:
        """A tunnel of a client of somebody else's making."""
        url = f"ws://127.0.0.1:{self.daemon.api_port}/v1/servers/{VM}/tcp/{port or self.port}"
        return connect(url, additional_headers={"X-Auth-Token": key}, **how)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests."""
    with Service() as service:
        thread = Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        closed = closed_port()
        vm = {"uuid": VM, "name": "vm", "project_id": "demo", "host": "rack1"}
        port = service.server_address[1]
        config = {
            "forward": {
                "allowed_ports": f"{port}, {closed}",
                "allowed_networks": "127.0.0.0/8",
                "max_connections": MOST,
            }
        }
        instances = [{**vm, "addresses": ["127.0.0.1"]}]
        with static_daemon(tmp_path_factory.mktemp("tcp"), instances, config) as daemon:
            yield World(daemon, service, closed)
        service.shutdown()


class Running(NamedTuple):
    """A command that listens."""

    process: subprocess.Popen[str]
    local: int

    def open(self) -> socket.socket:
        """A connection to its local port."""
        return socket.create_connection(("127.0.0.1", self.local), timeout=30)

    def event(self) -> dict[str, Any]:
        """The next thing that it says."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def running(world: World, port: int | None = None) -> Iterator[Running]:
    """``consolectl forward`` to the service, for a script."""
    process = world.command("vm", f"0:{port or world.port}", "--format", "json")
    with process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert first["event"] == "listening"
            assert (first["address"], first["port"]) == ("127.0.0.1", port or world.port)
            yield Running(process, first["local_port"])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def forwarding(world: World) -> Iterator[Running]:
    """One for the tests that need no events."""
    with running(world) as one:
        yield one


def receive_all(sock: socket.socket) -> bytes:
    """Everything until the end."""
    return b"".join(iter(lambda: sock.recv(2**16), b""))


def summed(forwarding: Running) -> str:
    """What the service says of 8 MiB after the half-close."""
    with forwarding.open() as sock:
        sock.sendall(b"sum\n")
        for _ in range(PIECES):
            sock.sendall(PIECE)
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock).decode()


def poured(forwarding: Running) -> str:
    """The sum of 8 MiB that the service sends."""
    found = hashlib.sha256()
    with forwarding.open() as sock:
        sock.sendall(f"pour {PIECES}\n".encode())
        while data := sock.recv(2**16):
            found.update(data)
    return found.hexdigest()


def expected() -> str:
    """The sum of 8 MiB."""
    return hashlib.sha256(PIECE * PIECES).hexdigest()


def test_bytes_arrive_both_ways(forwarding: Running) -> None:
    """8 MiB each way come whole, and an answer after the client's half-close comes too."""
    assert summed(forwarding) == expected()
    assert poured(forwarding) == expected()


def test_many_connections_at_once(forwarding: Running) -> None:
    """Twenty local connections keep their bytes apart."""

    def talk(number: int) -> bool:
        text = f"{number} ".encode() * 20_000
        with forwarding.open() as sock:
            sock.sendall(b"echo\n")
            sender = Thread(target=lambda: (sock.sendall(text), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            found = receive_all(sock)
            sender.join()
        return found == text

    with ThreadPoolExecutor(MANY) as pool:
        assert all(pool.map(talk, range(MANY)))


def test_stalled_client_stops_the_instance(world: World, forwarding: Running) -> None:
    """Of 64 MiB that nobody takes the daemon keeps next to nothing, and loses nothing."""
    before = world.memory
    world.service.stalled.clear()
    with forwarding.open() as sock:
        sock.sendall(f"pour {8 * PIECES}\n".encode())
        assert world.service.stalled.wait(60)
        assert world.memory - before < ROOM
        assert sum(len(data) for data in iter(lambda: sock.recv(2**16), b"")) == 2**26


def test_stalled_instance_stops_the_client(world: World, forwarding: Running) -> None:
    """Of what an instance does not take the daemon keeps next to nothing, and loses nothing."""
    before = world.memory
    world.service.joined.clear()
    world.service.released.clear()
    found = hashlib.sha256()
    with forwarding.open() as sock:
        sock.sendall(b"late\n")
        assert world.service.joined.wait(60)
        for _ in range(8 * PIECES):
            found.update(PIECE)
            left = memoryview(PIECE)
            while left:
                if not select.select([], [sock], [], 0.5)[1]:
                    assert world.memory - before < ROOM
                    world.service.released.set()
                left = left[sock.send(left) :]
        assert world.service.released.is_set()
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock).decode() == found.hexdigest()
    assert world.memory - before < ROOM


def test_script_hears_of_each_connection(world: World) -> None:
    """Opened, ended with its bytes, and ^C with exit status 0."""
    with running(world) as one:
        with one.open() as sock:
            sock.sendall(b"echo\n")
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"
            opened = one.event()
            assert (opened["event"], opened["connection"]) == ("opened", 1)
        ended = one.event()
        assert (ended["event"], ended["bytes_in"], ended["bytes_out"]) == ("ended", 10, 5)
        assert ended["reason"] is None
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(60) == 0
        assert one.process.stderr is not None
        assert one.process.stderr.read() == ""


def test_end_of_the_command_ends_its_tunnels(world: World) -> None:
    """^C closes what is open: the instance's service hears of it."""
    world.service.joined.clear()
    world.service.left.clear()
    with running(world) as one, one.open() as sock:
        sock.sendall(b"deaf\n")
        assert world.service.joined.wait(60)
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(60) == 0
        assert world.service.left.wait(60)


def test_refused_connection_says_why(world: World) -> None:
    """A port that nothing listens on: the local connection closes, the command goes on."""
    with running(world, world.closed) as one:
        with one.open() as sock:
            assert receive_nothing(sock)
        event = one.event()
        assert event["event"] == "refused"
        assert "refuses connections" in event["reason"]
        assert "(502)" in event["reason"]


def receive_nothing(sock: socket.socket) -> bool:
    """Whether the connection ends without a byte."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("key", "spec", "sentence"),
    [
        ("wrong", "0:22", "does not accept the key"),
        (STRANGER_KEY, "0:{port}", "could not be found"),
        (READER_KEY, "0:{port}", "Policy does not allow"),
        (ADMIN_KEY, "0:9", "[forward] allowed_ports"),
        (ADMIN_KEY, "{taken}:{port}", "cannot listen on 127.0.0.1:"),
    ],
)
def test_what_cannot_work_is_said_at_once(world: World, key: str, spec: str, sentence: str) -> None:
    """A wrong key, a missing right, a port that is not allowed, or one that is taken: exit 1."""
    filled = spec.format(port=world.port, taken=world.daemon.api_port)
    process = world.command(VM, filled, key=key)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.startswith("consolectl: ")
    assert sentence in told


def test_people_get_lines(world: World) -> None:
    """Without --format json the standard output stays empty."""
    process = world.command(VM, f"0:{world.port}")
    with process:
        assert process.stderr is not None
        assert "leads to port" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")


def test_other_clients_can_use_the_route(world: World) -> None:
    """Any WebSocket client has a tunnel; the instance's end is its end, with 1000."""
    tunnel: ClientConnection
    with world.websocket(subprotocols=[Subprotocol("binary")]) as tunnel:
        tunnel.send(b"pour 1\n")
        received = b""
        while len(received) < len(PIECE):
            received += bytes(tunnel.recv(timeout=60))
        assert received == PIECE
        with pytest.raises(Exception, match="1000"):
            tunnel.recv(timeout=60)
    with pytest.raises(InvalidStatus) as refused:
        world.websocket(key="wrong")
    assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        world.websocket(port=world.closed)
    assert refused.value.response.status_code == 502
    opened = world.daemon.wait_for_event("tunnel_opened")
    assert opened["instance_uuid"] == VM
    assert world.daemon.wait_for_event("tunnel_ended")["bytes_out"] >= 0


def test_one_too_many_is_told_to_wait(world: World) -> None:
    """Beyond max_connections the answer is 503, with the time to try again."""
    with ExitStack() as stack, pytest.raises(InvalidStatus) as refused:
        for _ in range(MOST + 1):
            stack.enter_context(world.websocket())
    answer = refused.value.response
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_stop_of_the_daemon_ends_tunnels_with_a_reason(world: World) -> None:
    """The last test, as it ends the daemon: the command says what happened, and goes on."""
    with running(world) as one, one.open() as sock:
        sock.sendall(b"deaf\n")
        assert one.event()["event"] == "opened"
        world.daemon.stop()
        ended = one.event()
        assert (ended["event"], "restarting" in ended["reason"]) == ("ended", True)
        assert receive_nothing(sock)
        with one.open() as again:
            assert receive_nothing(again)
        assert "cannot be reached" in one.event()["reason"]
