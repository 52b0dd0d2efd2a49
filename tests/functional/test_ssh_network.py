"""The SSH transport over networks: one that only the server reaches, and one that is far."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ssh_fixtures import loop, wait_for
from ssh_loop import Client, Flood, Loop, node
from twisted.internet.protocol import Factory, Protocol

from consoled.transports.ssh.errors import TargetFailed
from consoled.transports.ssh.values import Method
from consoled.transports.ssh.window import LARGEST, SMALLEST
from tools.lab.kept import KeptProcess
from tools.lab.sshd import Sshd, make_key

__all__ = ["loop"]

MIB = 2**20

GATE, BEHIND = "203.0.113.242", "198.51.100.2"
"""Addresses of documentation (RFC 5737), which lead nowhere from here."""

ECHO = f"""
import socket
listener = socket.create_server(("{BEHIND}", 7))
print("listens", flush=True)
while True:
    peer, _ = listener.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    """A network of its own; the prefix that runs a command in it."""
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield ["ip", "netns", "exec", name]
    finally:
        _ip("netns", "del", name)


def test_what_only_the_server_reaches(loop: Loop, tmp_path: Path) -> None:
    """Namespaces: a target without a way from here is reached through the server alone."""
    key = make_key(tmp_path, "user")
    gate, behind = f"gate{os.getpid()}", f"back{os.getpid()}"
    with ExitStack() as stack:
        in_gate = stack.enter_context(namespace(gate))
        in_back = stack.enter_context(namespace(behind))
        # Both ends of the pairs go with their namespaces.
        _ip("link", "add", f"{gate}h", "type", "veth", "peer", "name", "up0", "netns", gate)
        _ip("address", "add", "203.0.113.241/30", "dev", f"{gate}h")
        _ip("link", "set", f"{gate}h", "up")
        _ip("-n", gate, "address", "add", f"{GATE}/30", "dev", "up0")
        _ip("-n", gate, "link", "set", "up0", "up")
        _ip(
            "-n",
            gate,
            *["link", "add", "down0", "type", "veth", "peer", "name", "up0", "netns"],
            behind,
        )
        _ip("-n", gate, "address", "add", "198.51.100.1/30", "dev", "down0")
        _ip("-n", gate, "link", "set", "down0", "up")
        _ip("-n", behind, "address", "add", f"{BEHIND}/30", "dev", "up0")
        _ip("-n", behind, "link", "set", "up0", "up")
        # Whatever a default route leads to would answer instead.
        _ip("route", "add", "unreachable", BEHIND)
        stack.callback(_ip, "route", "del", "unreachable", BEHIND)
        log = tmp_path / "echo.log"
        stack.enter_context(KeptProcess([*in_back, sys.executable, "-IS", "-c", ECHO], log))
        wait_for(lambda: "listens" in log.read_text())
        sshd = Sshd(tmp_path / "gate", [key.public], address=GATE, port=22, inside=in_gate)
        stack.enter_context(sshd)
        pool = stack.enter_context(loop.pool(connect_timeout=3.0))
        with pytest.raises(TargetFailed):
            loop.connect(pool.endpoint((), BEHIND, 7))
        for method in (Method.DIRECT, Method.NC):
            client = loop.connect(pool.endpoint((node(sshd, key, method=method),), BEHIND, 7))
            data = os.urandom(3 * MIB)
            client.send(data)
            assert client.until_got(len(data)) == data
            client.call("loseConnection")
            client.until_lost()


class Far(Protocol):
    """One direction of a way that takes ten milliseconds, however much is on it."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.other: Far | None = None
        self.early: deque[bytes] = deque()

    def dataReceived(self, data: bytes) -> None:
        """Later, over there."""
        self.reactor.callLater(0.01, self.pass_on, data)

    def pass_on(self, data: bytes) -> None:
        """To the other end, when there is one."""
        if self.other is None or self.other.transport is None:
            self.early.append(data)
        else:
            while self.early:
                self.other.transport.write(self.early.popleft())
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        """So is the other end."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


def far_from(loop: Loop, port: int) -> type[Protocol]:
    """A relay to a port of loopback that is twenty milliseconds away, there and back."""

    class Near(Far):
        """This end."""

        def __init__(self) -> None:
            super().__init__(loop.reactor)

        def connectionMade(self) -> None:
            """Dials the other end."""
            factory = Factory()
            factory.noisy = False
            self.other = Far(loop.reactor)
            self.other.other = self
            factory.buildProtocol = lambda addr: self.other  # type: ignore[method-assign]  # one
            from twisted.internet.endpoints import TCP4ClientEndpoint

            TCP4ClientEndpoint(loop.reactor, "127.0.0.1", port).connect(factory)

    return Near


def test_a_long_way_has_a_large_window(loop: Loop, tmp_path: Path) -> None:
    """At a round trip of 20 ms the window grows; after a stall it is small."""
    key = make_key(tmp_path, "user")
    with Sshd(tmp_path / "a", [key.public]) as sshd, ExitStack() as stack:
        port, _ = stack.enter_context(loop.server(far_from(loop, sshd.port)))
        flood, _ = stack.enter_context(loop.server(Flood))
        pool = stack.enter_context(loop.pool())
        known = sshd.known_lines
        client: Client = loop.connect(
            pool.endpoint((node(sshd, key, port=port, known=known),), "127.0.0.1", flood)
        )
        stream: Any = client.transport
        client.until_got(24 * MIB)
        assert stream.connection.round_trip >= 0.02
        assert 8 * SMALLEST <= stream.window.size <= LARGEST
        loop.run(stream.window.paused, 2.0)
        assert stream.window.size == SMALLEST
        client.call("abortConnection")
        client.until_lost()
