"""The own path of the ordinary frame: the same bytes as autobahn's, whatever comes."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from wires import Wire

from consoled.proxy import websocket
from consoled.proxy.relay import binary_head, plain_payload
from consoled.proxy.websocket import SIP, ConsoleSocket, ConsoleSocketFactory, Handshake, PingRules

LIMIT = 64 * 1024
MASK = b"\x9a\x01\xfe\x42"


def client_frame(
    payload: bytes, opcode: int = 2, *, final: bool = True, mask: bytes = MASK
) -> bytes:
    """A client's frame in the shortest form."""
    size = len(payload)
    first = (0x80 if final else 0) | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0xFE)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0xFF)) + struct.pack("!Q", size)
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + bytes(a ^ b for a, b in zip(payload, key, strict=True))


class Session:
    """Keeps what is typed."""

    def __init__(self) -> None:
        self.input = b""
        self.over = False

    def typed(self, data: bytes) -> None:
        """Input."""
        self.input += data

    def acknowledged(self, count: int) -> None:
        """A page's acknowledgement."""

    def ended(self, code: int, reason: str) -> None:
        """Told to end."""
        self.over = True

    def viewer_lost(self) -> None:
        """The socket is gone."""
        self.over = True

    def viewer_left(self) -> None:
        """The viewer is done, or broke the rules."""
        self.over = True


def open_socket(session: Any, chosen: str | None = "consoled.v1") -> tuple[ConsoleSocket, Wire]:
    """An open WebSocket of that session."""
    reactor = MemoryReactorClock()
    socket = ConsoleSocketFactory(reactor, PingRules(0, 0)).socket(lambda _: session, chosen)
    wire = Wire()
    wire.protocol = socket
    socket.makeConnection(wire)
    socket.accept(Handshake(b"MDEyMzQ1Njc4OWFiY2RlZg==", chosen))
    wire.clear()
    socket.go_straight(session.typed)
    return socket, wire


def swallow(socket: ConsoleSocket) -> None:
    """Turns the loop until all is taken."""
    while socket._unread:
        socket.factory.reactor.advance(0)


@pytest.mark.parametrize("size", [0, 1, 2, 125, 126, 127, 511, 512, 513, 65535, 65536])
def test_every_form_of_length(size: int) -> None:
    """Payloads at each boundary of the length's forms are taken as they are."""
    payload = bytes(number % 251 for number in range(size))
    assert plain_payload(client_frame(payload), LIMIT) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x82",
        client_frame(b"abc")[:-1],
        client_frame(b"abc") + b"\x82",
        client_frame(b"abc") * 2,
        client_frame(b"abc", 1),
        client_frame(b"abc", 8),
        client_frame(b"abc", 9),
        client_frame(b"abc", final=False),
        client_frame(b"abc", 0),
        b"\xc2" + client_frame(b"abc")[1:],
        b"\x82\x03abcdefg",
        b"\x82\xfe\x00\x03" + MASK + b"abc",
        b"\x82\xff" + struct.pack("!Q", 3) + MASK + b"abc",
        b"\x82\xff" + struct.pack("!Q", 1 << 62) + MASK,
        client_frame(bytes(LIMIT + 1)),
        binary_head(3) + b"abc",
    ],
)
def test_everything_else_is_autobahns(data: bytes) -> None:
    """Parts, several, other kinds, unmasked, longer forms and too long ones are not taken."""
    assert plain_payload(data, LIMIT) is None


@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever comes, what is taken is what that frame carries, encoded again."""
    payload = plain_payload(data, LIMIT)
    if payload is not None:
        assert client_frame(payload, mask=data[len(data) - len(payload) - 4 :][:4]) == data


FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.binary(max_size=700)),
        st.tuples(st.just("pieces"), st.lists(st.binary(max_size=40), min_size=2, max_size=4)),
        st.tuples(st.just("ping"), st.binary(max_size=20)),
        st.tuples(st.just("pong"), st.binary(max_size=20)),
        st.tuples(st.just("ack"), st.integers(0, 1000)),
    ),
    max_size=12,
)


def wire_bytes(frames: list[tuple[str, Any]]) -> tuple[bytes, bytes]:
    """What a client sends, and the input that it means."""
    sent, meant = b"", b""
    for kind, value in frames:
        if kind == "data":
            sent, meant = sent + client_frame(value), meant + value
        elif kind == "pieces":
            for number, piece in enumerate(value):
                last = number == len(value) - 1
                sent += client_frame(piece, 0 if number else 2, final=last)
                meant += piece
        elif kind == "ack":
            sent += client_frame(b'{"type": "ack", "bytes": %d}' % value, 1)
        else:
            sent += client_frame(value, 9 if kind == "ping" else 10)
    return sent, meant


@settings(deadline=None)
@given(frames=FRAMES, cuts=st.lists(st.integers(0, 4000), max_size=20), boundaries=st.booleans())
def test_both_paths_move_the_same_bytes(
    frames: list[tuple[str, Any]], cuts: list[int], boundaries: bool
) -> None:
    """Over random frames, control frames between them and random splits (issue: the relay)."""
    sent, meant = wire_bytes(frames)
    places = set(cuts)
    if boundaries:
        # Reads that end where frames do are what the own path is for.
        places |= {len(wire_bytes(frames[:count])[0]) for count in range(len(frames))}
    edges = sorted({0, len(sent), *(place for place in places if place < len(sent))})
    chunks = [sent[start:end] for start, end in pairwise(edges)]
    own, plain = Session(), Session()
    one, one_wire = open_socket(own)
    two, two_wire = open_socket(plain)
    for chunk in chunks:
        one.dataReceived(chunk)
        two._dataReceived(chunk)
    swallow(one)
    assert own.input == plain.input == meant
    assert one_wire.written == two_wire.written
    assert not own.over


def test_many_small_frames_take_turns() -> None:
    """Of a read full of tiny frames so much is taken in a turn that others get theirs (F3)."""
    session = Session()
    socket, wire = open_socket(session)
    assert wire.bufferSize == SIP
    frames = client_frame(b"a") * 1000
    socket.dataReceived(frames)
    socket.dataReceived(client_frame(b"b"))
    assert len(session.input) <= SIP // 7
    (turn,) = {call.func for call in socket.factory.reactor.getDelayedCalls()}
    assert turn == socket._swallow
    swallow(socket)
    assert session.input == b"a" * 1000 + b"b"
    socket.dataReceived(client_frame(b"c"))
    assert session.input.endswith(b"c")


def test_what_waits_counts_at_the_end() -> None:
    """A viewer that sends much and goes has sent it."""
    session = Session()
    socket, wire = open_socket(session)
    socket.dataReceived(client_frame(b"a") * 1000)
    wire.drop()
    assert session.input == b"a" * 1000
    socket.factory.reactor.advance(0)
    assert session.input == b"a" * 1000


def test_what_waits_behind_a_violation_is_nothing() -> None:
    """Behind a broken frame nothing is taken any more."""
    session = Session()
    socket, _ = open_socket(session)
    socket.dataReceived(b"\xf2\x80abcd" + client_frame(b"a") * 1000)
    swallow(socket)
    assert session.input == b""


@given(payload=st.binary(max_size=300))
def test_output_is_a_frame(payload: bytes) -> None:
    """What is sent on the own path is what autobahn sends."""
    own, own_wire = open_socket(Session())
    plain, plain_wire = open_socket(Session())
    own.send(payload)
    plain.sendMessage(payload, isBinary=True)
    assert own_wire.written == plain_wire.written


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_output_lengths(size: int) -> None:
    """The forms of the length are autobahn's."""
    own, own_wire = open_socket(Session())
    plain, plain_wire = open_socket(Session())
    own.send(bytes(size))
    plain.sendMessage(bytes(size), isBinary=True)
    assert own_wire.written == plain_wire.written


def test_nothing_is_sent_after_the_close() -> None:
    """No output follows a close frame on the own path either."""
    socket, wire = open_socket(Session())
    socket.dismiss(4410, "taken over")
    before = wire.written
    socket.send(b"late")
    assert wire.written == before


def test_no_input_after_the_close() -> None:
    """An ordinary frame after the close reaches nobody."""
    session = Session()
    socket, _ = open_socket(session)
    socket.dismiss(4410, "taken over")
    socket.dataReceived(client_frame(b"late"))
    assert session.input == b""


def test_base64_is_not_the_wire() -> None:
    """With base64 a binary frame is not taken as the wire."""
    session = Session()
    socket, _ = open_socket(session, "base64")
    socket.dataReceived(client_frame(b"aGk="))
    assert session.input == b"hi"
    assert websocket.MESSAGE_LIMIT == LIMIT


def test_base64_output_over_the_limit() -> None:
    """A whole read of the guest's output fits, though base64 makes it longer than a message."""
    socket, wire = open_socket(Session(), "base64")
    data = bytes(range(256)) * 256
    socket.send(data)
    received, rest = b"", wire.written
    while rest:
        assert rest[:2] == b"\x81\x7e"
        size = int.from_bytes(rest[2:4], "big")
        received += base64.b64decode(rest[4 : 4 + size])
        rest = rest[4 + size :]
    assert received == data
