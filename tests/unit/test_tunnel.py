"""A tunnel between a WebSocket and an instance's port: bytes, half-closes, ends, pace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_http_channel import Tail
from test_relay import client_frame
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from consoled.errors import BackendUnreachable
from consoled.forwarding.speech import EOF
from consoled.forwarding.tunnel import (
    LINGER,
    InstanceSide,
    TunnelSocket,
    TunnelSocketFactory,
)
from consoled.proxy.websocket import Handshake, PingRules

KEY = b"MDEyMzQ1Njc4OWFiY2RlZg=="
TEXT, CLOSE = 1, 8


class Leg(Tail):
    """The instance's connection; it knows whether we have ended our half."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        """No more bytes from us."""
        assert self.producer is None
        self.half_closed = True


class World:
    """An open tunnel in memory."""

    def __init__(self, chosen: str | None = "consoled.tcp.v1", *, early: bytes = b"") -> None:
        self.reactor = MemoryReactorClock()
        self.leg, self.wire = Leg(), Tail()
        self.side = InstanceSide()
        self.leg.protocol = self.side
        self.side.makeConnection(self.leg)
        assert not self.leg.reading
        if early:
            self.side.dataReceived(early)
        sockets = TunnelSocketFactory(self.reactor, PingRules(0, 0))
        self.socket: TunnelSocket = sockets.tunnel(self.side, chosen)
        self.ends = 0
        self.socket.on_end = self._ended
        self.wire.protocol = self.socket
        self.socket.makeConnection(self.wire)
        self.socket.accept(Handshake(KEY, chosen))
        assert self.wire.written.startswith(b"HTTP/1.1 101 ")
        self.seen = self.wire.written.index(b"\r\n\r\n") + 4

    def _ended(self) -> None:
        self.ends += 1

    def send(self, *frames: bytes) -> None:
        """The client's frames."""
        for frame in frames:
            self.socket.dataReceived(frame)
            for _ in range(len(frame) // 4096 + 2):
                self.reactor.advance(0)

    def frames(self) -> list[tuple[int, bytes]]:
        """What the client has got since it looked last: opcodes and payloads."""
        data, found = self.wire.written[self.seen :], []
        self.seen = len(self.wire.written)
        while data:
            opcode, size, start = data[0] & 15, data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(data[2:10], "big"), 10
            found.append((opcode, data[start : start + size]))
            data = data[start + size :]
        return found


def test_bytes_go_both_ways() -> None:
    """Whole frames, fragments and large ones, and what the instance said first."""
    world = World(early=b"SSH-2.0\r\n")
    assert world.frames() == [(2, b"SSH-2.0\r\n")]
    large = bytes(range(256)) * 200
    world.send(
        client_frame(b"one"),
        client_frame(b"tw", final=False) + client_frame(b"o", 0),
        client_frame(large),
    )
    assert world.leg.written == b"onetwo" + large
    world.side.dataReceived(b"x" * 200_000)
    got = world.frames()
    assert max(len(data) for _, data in got) <= 64 * 1024
    assert b"".join(data for _, data in got) == b"x" * 200_000
    assert (world.socket.bytes_in, world.socket.bytes_out) == (6 + len(large), 200_009)


def test_each_side_sets_the_pace_of_the_other() -> None:
    """Each transport is the other's producer."""
    world = World()
    assert world.leg.producer is world.wire
    assert world.wire.producer is world.leg
    assert world.leg.reading


def test_client_ends_its_half() -> None:
    """The instance sees the end of the bytes, and its answer still comes."""
    world = World()
    world.send(client_frame(b"sum"), client_frame(EOF, TEXT))
    assert world.leg.half_closed
    world.side.dataReceived(b"42")
    assert world.frames() == [(2, b"42")]
    world.side.readConnectionLost()
    [(opcode, payload)] = world.frames()
    assert (opcode, payload[:2]) == (CLOSE, (1000).to_bytes(2, "big"))
    assert world.ends == 1


def test_instance_ends_its_half() -> None:
    """The client hears of it and goes on, until it has no more either."""
    world = World()
    world.side.dataReceived(b"bye")
    world.side.readConnectionLost()
    found = world.frames()
    assert found[0] == (2, b"bye")
    assert found[1][0] == TEXT
    assert json.loads(found[1][1]) == {"type": "eof"}
    world.send(client_frame(b"more"))
    assert world.leg.written == b"more"
    world.send(client_frame(EOF, TEXT))
    assert [opcode for opcode, _ in world.frames()] == [CLOSE]
    assert world.ends == 1


@pytest.mark.parametrize("chosen", ["binary", None])
def test_plain_clients_have_no_half_close(chosen: str | None) -> None:
    """The instance's end is the end, and a text is not bytes."""
    world = World(chosen)
    world.side.readConnectionLost()
    assert [opcode for opcode, _ in world.frames()] == [CLOSE]
    assert world.ends == 1
    other = World(chosen)
    other.send(client_frame(EOF, TEXT))
    [(opcode, payload)] = other.frames()
    assert (opcode, payload[:2]) == (CLOSE, (1008).to_bytes(2, "big"))
    assert not other.leg.connected


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        (ConnectionDone(), 1000, b"has closed"),
        (ConnectionLost(), 1011, b"broke"),
        (BackendUnreachable("The proxy node is gone."), 1011, b"The proxy node is gone."),
    ],
)
def test_end_of_the_instances_connection_has_a_reason(
    reason: Exception, code: int, words: bytes
) -> None:
    """In order, broken, or with the sentence of whatever led there."""
    world = World()
    world.leg.connected = False
    world.side.connectionLost(Failure(reason))
    [(opcode, payload)] = world.frames()
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
    assert words in payload
    assert world.ends == 1


def test_instance_that_went_before_the_websocket_opened() -> None:
    """The tunnel opens only to say so."""
    side = InstanceSide()
    leg = Leg()
    leg.protocol = side
    side.makeConnection(leg)
    leg.drop()
    socket = TunnelSocketFactory(MemoryReactorClock(), PingRules(0, 0)).tunnel(side, None)
    wire = Tail()
    wire.protocol = socket
    socket.makeConnection(wire)
    socket.accept(Handshake(KEY, None))
    assert b"has closed" in wire.written


def test_client_that_goes_ends_the_instances_connection() -> None:
    """By a close, or without a word."""
    for last in (client_frame((1000).to_bytes(2, "big"), CLOSE), None):
        world = World()
        if last is None:
            world.wire.drop(ConnectionLost())
        else:
            world.send(last)
            world.wire.drop()
        assert not world.leg.connected
        assert world.ends == 1


def test_instance_gets_what_was_sent_before_the_client_left() -> None:
    """It has a while to take it; then the connection is cut."""
    world = World()
    world.leg.sticky = True
    world.send(client_frame(b"last words"), client_frame((1000).to_bytes(2, "big"), CLOSE))
    world.wire.drop()
    assert world.leg.written == b"last words"
    assert world.leg.disconnecting
    assert world.leg.connected
    world.reactor.advance(LINGER)
    assert not world.leg.connected


def test_bytes_after_their_end_are_refused() -> None:
    """A client that says it has no more bytes has none."""
    world = World()
    world.send(client_frame(EOF, TEXT), client_frame(b"more"))
    assert world.leg.written == b""
    assert [opcode for opcode, _ in world.frames()] == [CLOSE]
    assert not world.leg.connected


def test_violations_end_both_sides() -> None:
    """A frame that is none of RFC 6455's."""
    world = World()
    world.send(b"\x82\x05hello")
    assert world.ends == 1
    assert not world.leg.connected


def test_daemon_can_end_it() -> None:
    """With a code and a reason, once."""
    world = World()
    for _ in range(2):
        world.socket.finish(1001, "The console server is restarting.")
    [(opcode, payload)] = world.frames()
    assert (opcode, payload[2:]) == (CLOSE, b"The console server is restarting.")
    assert world.ends == 1
    touched: list[Any] = []
    world.socket.touched = lambda: touched.append(None)
    world.side.dataReceived(b"late")
    assert world.frames() == []
