"""Frames under attack: the rows W1, W2 and W5 to W8 of the faults, on a running daemon.

W3 and W4 are in test_websocket.py; a peer that hangs (W7) is in test_faults_backend.py too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from backends import Backend, backend, echo, silent
from fault_world import described, new_token, until, uuid_of
from floods import (
    BINARY,
    CLOSE,
    KIB,
    MIB,
    MORE,
    PING,
    PONG,
    figure,
    frame,
    measure_from_now,
    memory,
    viewer,
)
from raw_http import UPGRADE, dial, read_to_end, request
from websockets.sync.client import connect

from tools.lab.daemon import Daemon, static_daemon

ROOM = 4 * MIB
"""Bytes by which the daemon's memory may differ for reasons that are nobody's here."""


class World:
    """A daemon, and the console behind its instances."""

    def __init__(self, daemon: Daemon, console: Backend) -> None:
        self.daemon = daemon
        self.console = console

    def token(self) -> str:
        """A fresh token of the echoing console."""
        return new_token(self.daemon, "echo")

    def unharmed(self) -> None:
        """Somebody else is served."""
        with viewer(self.daemon, new_token(self.daemon, "other")) as other:
            other.echoes(b"still here")

    def dialled(self) -> bool:
        """Whether anybody has reached the console since this was last asked."""
        found = not self.console.accepted.empty()
        while not self.console.accepted.empty():
            self.console.accepted.get()
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon whose sessions end with their connections."""
    with ExitStack() as stack:
        console = stack.enter_context(backend(echo))
        quiet = stack.enter_context(backend(silent))
        other = stack.enter_context(backend(echo))
        instances = [
            described("echo", console.port),
            described("silent", quiet.port),
            described("other", other.port),
        ]
        folder = tmp_path_factory.mktemp("frames")
        config = {"proxy": {"linger": 0}}
        daemon = stack.enter_context(static_daemon(folder, instances, config))
        found = World(daemon, console)
        found.unharmed()
        yield found


def test_w1_declared_sizes(world: World) -> None:
    """W1: a frame of 2^62 bytes, or of one over the limit, is 1009 at its header, for nothing."""
    for length in (b"\xff\x40\0\0\0\0\0\0\0", b"\xff\0\0\0\0\0\x01\0\x01"):
        before = measure_from_now(world.daemon.pid)
        with viewer(world.daemon, world.token()) as one:
            one.sock.sendall(b"\x82" + length + b"abcd")
            assert one.close_code() == 1009
        assert memory(world.daemon.pid, "VmHWM") - before < ROOM


def test_w2_one_byte_fragments(world: World) -> None:
    """W2: fragments of one byte are counted together, up to 1009 and never a byte beyond."""
    before, since = measure_from_now(world.daemon.pid), len(world.daemon.events())
    with viewer(world.daemon, new_token(world.daemon, "silent")) as one:
        one.sock.sendall(frame(b"a", final=False) + frame(b"a", MORE, final=False) * (64 * KIB))
        assert one.close_code() == 1009
    assert memory(world.daemon.pid, "VmHWM") - before < ROOM
    silent_one = uuid_of("silent")
    ended = world.daemon.wait_for_event("session_ended", since=since, instance_uuid=silent_one)
    assert ended["bytes_in"] == 0


def test_w2_empty_fragments(world: World) -> None:
    """W2: fragments of nothing gather nothing, however many there are, and the rest is served."""
    many = frame(b"", MORE, final=False) * (200 * KIB)
    with viewer(world.daemon, world.token()) as one:
        one.sock.sendall(frame(b"he", final=False))
        before = measure_from_now(world.daemon.pid)
        one.sock.sendall(many + frame(b"llo", MORE))
        assert one.next() == (BINARY, b"hello")
        assert memory(world.daemon.pid, "VmHWM") - before < ROOM


def test_w5_deflate(world: World) -> None:
    """W5: a client that offers compression gets none, and is served."""
    address = f"ws://127.0.0.1:{world.daemon.port}/?token={world.token()}"
    with connect(address, compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        client.send(b"a" * 100)
        assert client.recv(60) == b"a" * 100


def test_w6_pings_that_are_answered(world: World) -> None:
    """W6: of a flood of pings none has more than one answer, in order, and input goes on."""
    with viewer(world.daemon, world.token()) as one:
        pings = [b"%d" % number for number in range(2000)]
        one.sock.sendall(b"".join(frame(data, PING) for data in pings) + frame(b"typed"))
        answers = []
        while (found := one.next()).opcode == PONG:
            answers.append(found.payload)
        assert found == (BINARY, b"typed")
    known = iter(pings)
    assert all(answer in known for answer in answers)
    assert answers


def test_w6_pings_without_a_reader(world: World) -> None:
    """W6: answers that nobody takes do not gather, and everybody else is served."""
    flood = frame(bytes(125), PING) * (12 * MIB // 131)
    with viewer(world.daemon, world.token(), window=4 * KIB) as one:
        before = measure_from_now(world.daemon.pid)
        one.sock.sendall(flood)
        world.unharmed()
        # A ping that came while nobody read is answered when somebody does: the newest.
        one.sock.sendall(frame(b"the last", PING))
        while (found := one.next()).payload != b"the last":
            assert found.opcode in (PONG, PING)
        assert memory(world.daemon.pid, "VmHWM") - before < ROOM


def test_w7_a_silent_peer(tmp_path: Path) -> None:
    """W7: a peer that answers no ping is gone in time; its lease is free, the gauge is back."""
    config = {"proxy": {"ping_interval": 1, "ping_timeout": 4, "linger": 0}}
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [described("echo", console.port)], config) as daemon,
    ):
        with viewer(daemon, new_token(daemon, "echo")) as one:
            one.echoes(b"there")
            assert figure(daemon, "sessions_active") == 1
            # It reads nothing any more, so it answers nothing.
            daemon.wait_for_event("line_closed")
        listed = ("GET", "/v1/sessions")
        until(daemon, "its lease is free", lambda: not daemon.request(*listed).body["sessions"])
        until(daemon, "the gauge is back", lambda: figure(daemon, "sessions_active") == 0)
        with viewer(daemon, new_token(daemon, "echo")) as following:
            following.echoes(b"mine now")


@pytest.mark.parametrize("kind", ["with the request", "right after it", "without a right"])
def test_w8_input_before_authorization(world: World, kind: str) -> None:
    """W8: what is sent before the handshake is answered, or without a right, reaches no guest."""
    world.dialled()
    token = "nonsense" if kind == "without a right" else world.token()
    head = request(f"/?token={token}", f"127.0.0.1:{world.daemon.port}", UPGRADE)
    with dial(world.daemon.port) as sock:
        if kind == "with the request":
            sock.sendall(head + frame(b"rm -rf /\r"))
        else:
            sock.sendall(head)
            with suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(frame(b"rm -rf /\r") * 3)
        if kind != "right after it":
            answer = read_to_end(sock)
            # Where it comes after the request it may still be too early.
            refused = b" 400 " in answer
            assert refused or (kind != "with the request" and CLOSE | 0x80 in answer)
            assert not world.dialled()
            return
        # Either it was too early, or it waited until the console was this viewer's.
        answer = sock.recv(65536)
        assert b" 400 " in answer or b" 101 " in answer
    until(
        world.daemon,
        "nobody has the console",
        lambda: figure(world.daemon, "sessions_active") == 0,
    )
