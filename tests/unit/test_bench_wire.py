"""bench.wire: the client's half of WebSocket."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import wire
from bench.errors import BenchError

NONCE = bytes(range(16))


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A frame as a server sends it."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((0x80 | opcode, 126)) + struct.pack("!H", length) + payload
    return bytes((0x80 | opcode, 127)) + struct.pack("!Q", length) + payload


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0x0, 0x2, 0x9]),
        st.sampled_from([0, 1, 125, 126, 65535, 65536, 70000]).map(lambda size: b"x" * size),
    ),
    max_size=6,
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, the last one as long as it takes."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


SPLITS = st.lists(st.integers(0, 80000), max_size=8)


@given(FRAMES, SPLITS)
def test_inbox_takes_frames_apart_however_they_arrive(
    frames: list[tuple[int, bytes]], splits: list[int]
) -> None:
    """The frames come out whole and in order for any split of the stream."""
    inbox, found = wire.Inbox(), []
    for piece in cut(b"".join(server_frame(*each) for each in frames), splits):
        inbox.feed(piece)
        found += inbox.frames()
    assert found == frames


@given(FRAMES, SPLITS)
def test_counter_counts_data_and_not_control_frames(
    frames: list[tuple[int, bytes]], splits: list[int]
) -> None:
    """The payload of data frames is counted for any split, and a ping's is not."""
    counter = wire.PayloadCounter()
    for piece in cut(b"".join(server_frame(*each) for each in frames), splits):
        counter.feed(memoryview(piece))
    assert counter.payload == sum(len(payload) for opcode, payload in frames if opcode != 0x9)


def test_frame_is_masked() -> None:
    """RFC 6455, section 5.7: the example of a masked "Hello"."""
    mask = bytes.fromhex("37fa213d")
    assert wire.frame(0x1, b"Hello", mask) == bytes.fromhex("818537fa213d7f9f4d5158")


def test_handshake_is_accepted_with_its_own_key_only() -> None:
    """The right answer passes; another key or another status is refused, and said."""
    key = base64.b64encode(NONCE)
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
    assert b"Sec-WebSocket-Key: " + key in wire.handshake("h", "/", NONCE)
    wire.check_answer(answer + base64.b64encode(digest), NONCE)
    with pytest.raises(BenchError, match="another client's key"):
        wire.check_answer(answer + base64.b64encode(bytes(20)), NONCE)
    with pytest.raises(BenchError, match="403"):
        wire.check_answer(b"HTTP/1.1 403 Forbidden\r\n", NONCE)
