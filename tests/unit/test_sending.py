"""Writes that do not wait: what goes at once, what goes later, and never past TLS."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from wires import Wire

from consoled.http.sending import write_now


class Port(Connection):
    """A TCP transport whose socket takes so much."""

    def __init__(self, takes: Any) -> None:  # not the base's: there is no socket
        self.takes = takes
        self.sent = b""
        self.later = b""
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.connected = True
        self.disconnecting = False

    def writeSomeData(self, data: bytes) -> Any:
        """As Twisted's: a count, or an error."""
        if isinstance(self.takes, int):
            self.sent += data[: self.takes]
            return min(self.takes, len(data))
        return self.takes

    def write(self, data: bytes) -> None:
        """The ordinary way."""
        self.later += data


@pytest.mark.parametrize(("takes", "later"), [(100, b""), (3, b"lo"), (0, b"hello")])
def test_what_the_socket_does_not_take(takes: int, later: bytes) -> None:
    """What does not go at once goes the ordinary way, once and in order."""
    port = Port(takes)
    write_now(port, b"hello")
    assert (port.sent, port.later) == (b"hello"[:takes], later)


def test_a_lost_connection_is_found_the_ordinary_way() -> None:
    """An error of the socket is left to the transport to report."""
    port = Port(ConnectionLost())
    write_now(port, b"hello")
    assert port.later == b"hello"


@pytest.mark.parametrize(
    "change",
    [
        {"dataBuffer": b"x"},
        {"_tempDataBuffer": [b"x"]},
        {"connected": False},
        {"disconnecting": True},
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
