"""The client's half of WebSocket (RFC 6455), without I/O: as little as is cheap and right.

It is the same for every relay that is measured, so what it costs hits all alike.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator

from bench.errors import BenchError

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_DATA = (0x0, 0x1, BINARY)


def handshake(host: str, path: str, nonce: bytes) -> bytes:
    """The request that asks for a WebSocket of subprotocol ``binary``.

    :param nonce: 16 random bytes.
    """
    key = base64.b64encode(nonce).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: binary\r\n\r\n"
    ).encode()


def check_answer(head: bytes, nonce: bytes) -> None:
    """Whether the answer to :func:`handshake` accepts it.

    :raises bench.errors.BenchError: what was answered instead.
    """
    status, _, rest = head.partition(b"\r\n")
    if not status.startswith(b"HTTP/1.1 101"):
        raise BenchError(f"the handshake was answered with {status.decode('latin-1')!r}")
    digest = hashlib.sha1(base64.b64encode(nonce) + _GUID.encode())
    wanted = base64.b64encode(digest.digest())
    fields = dict(line.partition(b":")[::2] for line in rest.split(b"\r\n") if line)
    found = {name.lower(): value.strip() for name, value in fields.items()}
    if found.get(b"sec-websocket-accept") != wanted:
        raise BenchError("the handshake was answered with another client's key")


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A client's frame; clients mask.

    :param payload: 125 bytes at most.
    :param mask: 4 bytes.
    """
    masked = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


class Inbox:
    """Takes a server's bytes apart into frames."""

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        self.rest += data

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """The complete frames so far, as ``(opcode, payload)``."""
        while (sizes := _sizes(self.rest)) is not None:
            head, length = sizes
            if len(self.rest) < head + length:
                return
            opcode = self.rest[0] & 0x0F
            payload = bytes(self.rest[head : head + length])
            del self.rest[: head + length]
            yield opcode, payload


class PayloadCounter:
    """Counts the payload of a flood of frames without keeping any of it."""

    def __init__(self) -> None:
        self.payload = 0
        self._head = bytearray()
        self._inside = 0
        self._counts = True

    def feed(self, data: memoryview) -> None:
        """Bytes have arrived."""
        at, end = 0, len(data)
        while at < end:
            if self._inside:
                part = min(self._inside, end - at)
                self._inside -= part
                at += part
                if self._counts:
                    self.payload += part
                continue
            self._head.append(data[at])
            at += 1
            sizes = _sizes(self._head)
            if sizes is not None:
                self._inside = sizes[1]
                self._counts = self._head[0] & 0x0F in _DATA
                self._head.clear()


def _sizes(data: bytearray) -> tuple[int, int] | None:
    """The lengths of a server frame's head and payload, or None while the head is not whole."""
    if len(data) < 2:
        return None
    short = data[1]
    if short < 126:
        return 2, short
    head, form = (4, "!H") if short == 126 else (10, "!Q")
    if len(data) < head:
        return None
    return head, struct.unpack_from(form, data, 2)[0]
