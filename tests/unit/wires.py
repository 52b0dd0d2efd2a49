"""Transports in memory for protocols under test."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure


class Wire(StringTransport):
    """One end of a connection: what was written, and how it was closed.

    Losing the connection, or aborting it, tells the protocol at once, unless
    ``sticky``: then only an abort does, as with a peer that does not read.
    """

    protocol: Any = None
    sticky = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As of a TCP transport."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """As of a TCP transport."""

    def unregisterProducer(self) -> None:
        """As of a TCP transport: it does not mind when there is none."""
        self.producer = None

    def loseConnection(self) -> None:
        """Closes in order."""
        super().loseConnection()
        if not self.sticky:
            self.drop(ConnectionDone())

    def loseWriteConnection(self) -> None:
        """Says that nothing more comes; the other side says the same, unless it is sticky."""
        assert self.connected, "the reactor would be asked to write to no socket"
        self.loseConnection()

    def abortConnection(self) -> None:
        """Closes at once."""
        self.aborting = True
        self.drop(ConnectionAborted())

    def drop(self, reason: Exception | None = None) -> None:
        """The connection is gone, by the other side or by ours."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def written(self) -> bytes:
        """All that was written so far."""
        return bytes(self.value())


def answer_dial(reactor: MemoryReactorClock, *, sticky: bool = False) -> Wire:
    """Lets the last dial of the reactor succeed; the dialled end."""
    factory = reactor.tcpClients[-1][2]
    protocol = factory.buildProtocol(None)
    wire = Wire()
    wire.sticky = sticky
    wire.protocol = protocol
    protocol.makeConnection(wire)
    return wire
