"""What a session shows of itself, and what waits in a transport."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from test_session import Bench
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from wires import Wire

from consoled.http.waiting import waiting_bytes
from consoled.metrics.open_sessions import Reading
from consoled.metrics.reading import reader
from consoled.proxy.gate import CREDIT_WINDOW
from consoled.transports.ssh.channel import Stream


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A TCP connection whose reactor never runs: what is written stays in it."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        mine.setblocking(False)
        yield Connection(mine, Protocol(), MemoryReactorClock())


def test_what_waits_in_tcp(connection: Connection) -> None:
    """Bytes that were written and not yet sent are counted, sent ones are not."""
    connection.connected = True
    assert waiting_bytes(connection) == 0
    connection.write(b"x" * 10)
    assert waiting_bytes(connection) == 10
    connection.write(b"x" * 1_000_000)
    # The other end reads nothing: the kernel takes a part.
    connection.doWrite()
    assert 0 < waiting_bytes(connection) < 1_000_010


def test_what_waits_in_tls(connection: Connection) -> None:
    """Over TLS both count: what is not encrypted yet, and what the socket has not taken."""
    nobody: Any = None
    secure = TLSMemoryBIOProtocol(nobody, Protocol(), False)
    secure.transport = connection
    secure._appSendBuffer = [b"abc", b"de"]
    connection.connected = True
    connection.write(b"x" * 10)
    assert waiting_bytes(secure) == 15


def test_what_waits_elsewhere() -> None:
    """Nothing is known of other transports, or of one that is gone."""
    assert waiting_bytes(Wire()) == 0
    assert waiting_bytes(None) == 0


def test_a_session(connection: Connection) -> None:
    """A session shows its bytes both ways, and what waits for its viewer and its guest."""
    bench: Any = Bench()
    session, viewer, wire = bench.opened()
    read = reader(bench.sessions.find)
    session_id = viewer.greeted[0].resume.session_id
    session.typed(b"abc")
    wire.protocol.dataReceived(b"output")
    assert read(session_id) == Reading(3, 6, 0, 0)
    connection.connected = True
    connection.write(b"x" * 10)
    viewer.transport = connection
    assert read(session_id) == Reading(3, 6, 0, 10)
    session.viewer_left()
    assert read(session_id) is None


def test_a_session_without_a_viewer() -> None:
    """A session that waits for its viewer is still shown."""
    bench: Any = Bench()
    session, viewer, _wire = bench.opened()
    session_id = viewer.greeted[0].resume.session_id
    session.viewer_lost()
    assert reader(bench.sessions.find)(session_id) == Reading(0, 0, 0, 0)


def test_a_viewer_that_holds_up_its_guest() -> None:
    """The pause counts while it lasts, over all viewers of the session, and then no more."""
    bench: Any = Bench()
    session, viewer, wire = bench.opened(acknowledges=True)
    session_id = viewer.greeted[0].resume.session_id
    read = reader(bench.sessions.find)
    wire.protocol.dataReceived(b"x" * (CREDIT_WINDOW + 1))
    bench.reactor.advance(2)
    assert read(session_id).paused == 2
    session.acknowledged(CREDIT_WINDOW)
    bench.reactor.advance(2)
    assert read(session_id).paused == 2
    wire.protocol.dataReceived(b"x" * (CREDIT_WINDOW + 1))
    bench.reactor.advance(3)
    session.viewer_lost()
    bench.reactor.advance(3)
    assert read(session_id).paused == 5


def test_waiting_over_ssh() -> None:
    """A stream over SSH says itself what it has not sent."""
    stream = Stream("192.0.2.1", 10000)
    assert waiting_bytes(stream) == 0
    stream._outbox.append(memoryview(b"not sent"))
    assert waiting_bytes(stream) == 8
