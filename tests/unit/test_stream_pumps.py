"""The daemon's side of the program that carries pty consoles."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from cells import outcome
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.compute.libvirt.pumps import Program, Pumps, launch
from consoled.errors import Unavailable
from consoled.workers import InlineWorker

URI = "qemu:///system"
UUID = "11111111-1111-4111-8111-111111111111"


class FakeProgram:
    """Its sockets, both ends."""

    def __init__(self) -> None:
        self.waited = 0
        orders, self.orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        notices, self.notices = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        orders.setblocking(False)
        notices.setblocking(False)
        self.program = Program(orders, notices, cast(Any, self))

    def wait(self, timeout: float | None = None) -> int:
        """Its process has ended."""
        self.waited += 1
        return 0

    def take(self) -> tuple[dict[str, Any], socket.socket]:
        """The next order, and the console's socket."""
        message, [descriptor], _, _ = socket.recv_fds(self.orders, 4096, 1)
        return json.loads(message), socket.socket(fileno=descriptor)

    def close(self) -> None:
        """Ends it."""
        self.orders.close()
        self.notices.close()


class Launcher:
    """Starts programs, and keeps them."""

    def __init__(self) -> None:
        self.started: list[FakeProgram] = []
        self.fails = False

    def __call__(self) -> Program:
        if self.fails:
            raise OSError("no such program")
        self.started.append(FakeProgram())
        return self.started[-1].program


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """One, whose programs end with the test."""
    made = Launcher()
    yield made
    for program in made.started:
        program.close()


@pytest.fixture
def pumps(launcher: Launcher) -> Iterator[Pumps]:
    """Over it."""
    made = Pumps(InlineWorker(), launcher)
    made.start()
    yield made
    outcome(made.stop())


def test_an_order(pumps: Pumps, launcher: Launcher) -> None:
    """The program learns what to open, and gets the other end of the daemon's socket."""
    wire = outcome(pumps.dial(URI, UUID, 1))
    order, console = launcher.started[0].take()
    assert order == {"number": wire.number, "uri": URI, "uuid": UUID, "index": 1}
    with console, wire.socket:
        console.send(b"+hello")
        assert wire.socket.recv(100) == b"+hello"
    second = outcome(pumps.dial(URI, UUID, 0))
    second.socket.close()
    assert len(launcher.started) == 1
    assert second.number != wire.number


def test_a_program_that_has_ended_is_started_again(pumps: Pumps, launcher: Launcher) -> None:
    """Whoever asks for a console then gets it from the next one."""
    outcome(pumps.dial(URI, UUID, 0)).socket.close()
    launcher.started[0].close()
    wire = outcome(pumps.dial(URI, UUID, 0))
    order, console = launcher.started[1].take()
    console.close()
    wire.socket.close()
    assert order["number"] == wire.number
    assert launcher.started[0].waited == 1


def test_a_program_that_does_not_start(pumps: Pumps, launcher: Launcher) -> None:
    """The cause is for the log; the person tries again."""
    launcher.fails = True
    with pytest.raises(Unavailable, match="cannot be reached now"):
        outcome(pumps.dial(URI, UUID, 0))
    launcher.fails = False
    outcome(pumps.dial(URI, UUID, 0)).socket.close()


def test_how_a_console_ended(pumps: Pumps, launcher: Launcher) -> None:
    """Each console's notice is kept until its own socket is seen closed, and no longer."""
    first, second = (outcome(pumps.dial(URI, UUID, index)) for index in (0, 1))
    program = launcher.started[0]
    for wire, kind in ((first, "lost"), (second, "end")):
        program.notices.send(json.dumps({"number": wire.number, "kind": kind}).encode())
        wire.socket.close()
    program.notices.send(json.dumps({"number": 77, "kind": "end"}).encode())
    program.notices.send(b"nonsense")
    assert [pumps.closed(second), pumps.closed(first)] == ["end", "lost"]
    assert [pumps.closed(second), pumps.closed(first)] == [None, None]


def test_the_real_program() -> None:
    """It answers, takes a second order, and ends with the daemon's."""
    pumps = Pumps(InlineWorker(), launch)
    for _ in range(2):
        dialled: Deferred[Any] = pumps.dial("test:///default", UUID, 0)
        with outcome(dialled).socket as console:
            console.setblocking(True)
            answer = b""
            while data := console.recv(4096):
                answer += data
        assert answer.startswith(b"-gone Domain not found")
    assert not isinstance(outcome(pumps.stop()), Failure)
