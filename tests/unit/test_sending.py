"""Writes that do not wait: what goes at once, what goes later, and never past TLS."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from wires import Wire

from consoled.http.sending import write_now


class Socket:
    """Takes so much, or fails."""

    def __init__(self, takes: int | OSError) -> None:
        self.takes = takes
        self.sent = b""

    def send(self, data: bytes) -> int:
        """As the kernel does."""
        if isinstance(self.takes, OSError):
            raise self.takes
        self.sent += data[: self.takes]
        return min(self.takes, len(data))

    def sendmsg(self, pieces: tuple[bytes, ...]) -> int:
        """As the kernel does."""
        return self.send(b"".join(pieces))


class Port(Connection):
    """A TCP transport whose socket takes so much."""

    def __init__(self, takes: int | OSError) -> None:  # not the base's: there is no reactor
        self.socket: Any = Socket(takes)
        self.later = b""
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.connected = True
        self.disconnecting = False

    @property
    def sent(self) -> bytes:
        """What went at once."""
        sent: bytes = self.socket.sent
        return sent

    def write(self, data: bytes) -> None:
        """The ordinary way."""
        self.later += data


class Producer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Told to stop."""
        self.told.append("paused")


@pytest.mark.parametrize(
    ("takes", "later"), [(100, b""), (3, b"lo"), (0, b"hello"), (BlockingIOError(), b"hello")]
)
@pytest.mark.parametrize("head", [b"", b"h", b"hel"])
def test_what_the_socket_does_not_take(takes: int | OSError, later: bytes, head: bytes) -> None:
    """What does not go at once goes the ordinary way, once and in order."""
    port = Port(takes)
    write_now(port, b"hello".removeprefix(head), head)
    assert (port.sent, port.later) == (b"hello".removesuffix(later), later)


@given(head=st.binary(max_size=10), size=st.integers(0, 20_000), takes=st.integers(0, 20_000))
def test_head_and_data_are_one(head: bytes, size: int, takes: int) -> None:
    """A head and its data move as if they were joined, whatever the kernel takes of them."""
    data = bytes(number % 251 for number in range(size))
    port = Port(takes)
    write_now(port, data, head)
    assert port.sent + port.later == head + data
    assert len(port.sent) == min(takes, len(head + data))


@pytest.mark.parametrize(("takes", "held"), [(100, []), (3, ["paused"])])
def test_a_full_socket_holds_its_producer(takes: int, held: list[str]) -> None:
    """Whoever produces stops as soon as anything waits: a session's memory is bounded (F7)."""
    port = Port(takes)
    producer = Producer()
    port.producer, port.streamingProducer = producer, True
    write_now(port, b"hello")
    port.dataBuffer = port.later
    write_now(port, b"more")
    assert producer.told == held
    assert port.producerPaused == bool(held)


def test_a_lost_connection_is_found_the_ordinary_way() -> None:
    """An error of the socket is left to the transport to report."""
    port = Port(ConnectionResetError())
    write_now(port, b"hello")
    assert port.later == b"hello"


@pytest.mark.parametrize(
    "change",
    [
        {"dataBuffer": b"x"},
        {"_tempDataBuffer": [b"x"]},
        {"connected": False},
        {"disconnecting": True},
        {"TLS": True},
    ],
)
def test_bytes_never_overtake(change: dict[str, Any]) -> None:
    """Where bytes wait already, or the end is near, everything takes the ordinary way."""
    port = Port(100)
    vars(port).update(change)
    write_now(port, b"hello")
    assert (port.sent, port.later) == (b"", b"hello")


def test_other_transports() -> None:
    """A transport without a socket of its own is written to as ever."""
    wire = Wire()
    write_now(wire, b"hello")
    assert wire.written == b"hello"


def test_never_past_a_wrapper() -> None:
    """A wrapping transport (TLS) gets the bytes itself, though it shows its port's attributes."""
    port = Port(100)
    wrapped: list[bytes] = []
    wrapper = ProtocolWrapper(WrappingFactory(None), Protocol())
    wrapper.transport = port
    wrapper.write = wrapped.append
    assert wrapper.dataBuffer == b""
    write_now(wrapper, b"secret")
    assert wrapped == [b"secret"]
    assert port.sent == b""
