"""What a viewer sends takes no more memory than its bytes (faults.md W2, W6)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from test_relay import Session, client_frame, open_socket, swallow

from consoled.proxy import websocket
from consoled.proxy.websocket import PONG_PATIENCE

PING, PONG = 9, b"\x8a"


def kept(pieces: Sequence[bytes]) -> int:
    """How many objects hold what has come of a message."""
    return len(pieces)


def test_bytes_that_trickle() -> None:
    """A frame that comes byte by byte is one piece, not one for each byte."""
    session = Session()
    socket, _ = open_socket(session)
    payload = bytes(range(256)) * 8
    sent = client_frame(payload)
    for at in range(len(sent) - 1):
        socket.dataReceived(sent[at : at + 1])
    assert kept(socket.frame_data) == 1
    socket.dataReceived(sent[-1:])
    assert session.input == payload


@pytest.mark.parametrize("piece", [b"a", b""])
def test_tiny_fragments(piece: bytes) -> None:
    """Fragments of a byte, or of none, are one piece of their message."""
    session = Session()
    socket, _ = open_socket(session)
    socket.dataReceived(client_frame(piece, final=False))
    for _ in range(500):
        socket.dataReceived(client_frame(piece, 0, final=False))
    swallow(socket)
    assert kept(socket.message_data) == 1
    socket.dataReceived(client_frame(b"end", 0))
    assert session.input == piece * 501 + b"end"


def test_pings_while_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """While answers wait only the newest ping is remembered; it is answered when there is room."""
    waiting = [100]
    monkeypatch.setattr(websocket, "waiting_bytes", lambda transport: waiting[0])
    socket, wire = open_socket(Session())
    reactor = socket.factory.reactor
    for number in range(50):
        socket.dataReceived(client_frame(b"%d" % number, PING))
    reactor.advance(PONG_PATIENCE)
    assert wire.written == b""
    assert len(reactor.getDelayedCalls()) == 1
    waiting[0] = 0
    socket.dataReceived(client_frame(b"last", PING))
    reactor.advance(PONG_PATIENCE)
    assert wire.written == PONG + b"\x04last"
    assert not reactor.getDelayedCalls()
    socket.dataReceived(client_frame(b"next", PING))
    assert wire.written.endswith(PONG + b"\x04next")


def test_a_ping_that_waits_ends_with_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has gone is answered no more."""
    monkeypatch.setattr(websocket, "waiting_bytes", lambda transport: 1)
    socket, wire = open_socket(Session())
    socket.dataReceived(client_frame(b"", PING))
    wire.drop()
    socket.factory.reactor.advance(PONG_PATIENCE)
    assert wire.written == b""
    assert not socket.factory.reactor.getDelayedCalls()
