"""A tunnel: a TCP port of an instance, in a WebSocket.

Each side's full buffer stops the reading of the other, so that a tunnel keeps no more than
these buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.errors import ConsoledError
from consoled.forwarding.speech import BINARY, EOF, TCP_V1, is_eof
from consoled.proxy.reception import Farewell
from consoled.proxy.websocket import (
    MESSAGE_LIMIT,
    POLICY_VIOLATION,
    ConsoleSocket,
    ConsoleSocketFactory,
    PingRules,
)

ENDED = 1000
BROKEN = 1011
CLOSE_LIMIT = 30
"""Seconds that a client has to take the close, and what is in front of it."""
LINGER = 10.0
"""Seconds that an instance has to take what its client sent before it left."""
TURN = 8 * 1024
"""Bytes that one read takes from a client, and that autobahn gets in a turn of the loop: with
fewer of these than of those the rest would grow."""


@implementer(IHalfCloseableProtocol)
class InstanceSide(Protocol):
    """The connection to the instance; its bytes wait until there is a WebSocket.

    :ivar socket: the WebSocket, once it is open.
    :ivar reason: why the connection is gone, once it is.
    """

    def __init__(self) -> None:
        self.socket: TunnelSocket | None = None
        self.reason: Failure | None = None
        self._kept: list[bytes] = []
        self._patience: IDelayedCall | None = None
        self._sends = True
        self._takes = True

    def connectionMade(self) -> None:
        """Waits for the WebSocket."""
        self._transport.setTcpNoDelay(True)
        self._transport.setTcpKeepAlive(True)
        self._transport.pauseProducing()

    def join(self, socket: TunnelSocket) -> None:
        """The WebSocket is open."""
        self.socket = socket
        theirs: Any = socket.transport
        mine = self._transport
        if self.reason is not None:
            socket.instance_gone(self.reason)
            return
        theirs.registerProducer(mine, True)
        mine.registerProducer(theirs, True)
        kept, self._kept = self._kept, []
        for data in kept:
            socket.bring(data)
        if not self._sends:
            socket.instance_ended()
        mine.resumeProducing()

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the instance."""
        if self.socket is not None:
            self.socket.bring(data)
        elif self._patience is None:
            self._kept.append(data)

    def write(self, data: bytes) -> None:
        """Bytes for the instance."""
        if self._takes and self.reason is None:
            self._transport.write(data)

    def end_writing(self) -> None:
        """The client has no more bytes."""
        if not self._takes or self.reason is not None:
            return
        self._takes = False
        self._transport.unregisterProducer()
        self._transport.loseWriteConnection()
        if not self._sends:
            self._transport.loseConnection()

    def readConnectionLost(self) -> None:
        """The instance has no more bytes."""
        self._sends = False
        if self.socket is not None:
            self.socket.instance_ended()
        if not self._takes:
            self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """The instance takes no more bytes, or has been told that there are none."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Ends the WebSocket."""
        self.reason = reason
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        if self.socket is not None:
            self.socket.instance_gone(reason)

    def leave(self, clock: Any) -> None:
        """The WebSocket is gone: the instance has a while to take what it was sent."""
        self.socket = None
        if self.reason is None:
            self._transport.unregisterProducer()
            self._patience = clock.callLater(LINGER, self._transport.abortConnection)
            self._transport.loseConnection()


class TunnelSocket(ConsoleSocket):
    """The WebSocket of one tunnel.

    :param side: the connection to the instance.
    :param chosen: the subprotocol, or None.
    :ivar on_end: told once that the tunnel is over.
    :ivar touched: told of every piece, whichever way.
    :ivar bytes_in: from the client.
    :ivar bytes_out: to the client.
    """

    def __init__(self, side: InstanceSide, chosen: str | None) -> None:
        super().__init__(lambda _: Farewell(ENDED, ""), BINARY)
        self._side = side
        self._halves = chosen == TCP_V1
        self._client_ended = False
        self._instance_ended = False
        self._ended = False
        self.on_end: Callable[[], None] = lambda: None
        self.touched: Callable[[], None] = lambda: None
        self.bytes_in = 0
        self.bytes_out = 0

    def onOpen(self) -> None:
        """Joins the two sides."""
        reading: Any = self.transport
        while isinstance(reading, ProtocolWrapper):
            reading = reading.transport
        reading.bufferSize = TURN
        sock = getattr(reading, "socket", None)
        if sock is not None:
            # A client that takes nothing for a while is no viewer who is gone.
            sock.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 0)
        vars(self)["send_queue"] = ()
        vars(self).pop("is_open", None)
        self.go_straight(self._typed)
        self._guard(self._side.join, self)

    def _swallow(self) -> None:
        piece, self._unread = self._unread[:TURN], self._unread[TURN:]
        if self._unread:
            self.factory.reactor.callLater(0, self._swallow)
        if piece:
            self._dataReceived(piece)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Bytes for the instance, or the end of them."""
        if self._dismissed:
            return
        if isBinary:
            self._guard(self._typed, payload)
        elif self._halves and is_eof(payload):
            self._guard(self._end_client)
        else:
            self.dismiss(POLICY_VIOLATION, "Only binary messages are bytes here.")
            self._over()

    def _typed(self, data: bytes) -> None:
        if self._client_ended:
            self.dismiss(POLICY_VIOLATION, "There was an end of the bytes, and then more.")
            self._over()
            return
        self.touched()
        self.bytes_in += len(data)
        self._side.write(data)

    def _end_client(self) -> None:
        self._client_ended = True
        transport: Any = self.transport
        transport.resumeProducing()
        self._side.end_writing()

    def bring(self, data: bytes) -> None:
        """Bytes of the instance, for the client."""
        self.touched()
        self.bytes_out += len(data)
        for start in range(0, len(data), MESSAGE_LIMIT):
            self.send(data[start : start + MESSAGE_LIMIT])

    def instance_ended(self) -> None:
        """The instance has no more bytes."""
        self._instance_ended = True
        if self._halves and not self._client_ended:
            if not self._dismissed:
                send: Any = self.sendMessage
                send(EOF, isBinary=False)
        else:
            self.finish(ENDED, "The instance has closed the connection.")

    def instance_gone(self, reason: Failure) -> None:
        """The connection to the instance is gone."""
        if reason.check(ConsoledError):
            self.finish(BROKEN, str(reason.value))
        elif self._instance_ended or reason.check(ConnectionDone):
            self.finish(ENDED, "The instance has closed the connection.")
        else:
            self.finish(BROKEN, "The connection to the instance broke.")

    def finish(self, code: int, reason: str) -> None:
        """Closes both sides.

        :param code: of the close.
        """
        self.dismiss(code, reason)
        self._over()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The client is gone."""
        self._dismissed = True
        self._over()

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        super()._fail_connection(code, reason)
        self._over()

    def _over(self) -> None:
        if not self._ended:
            self._ended = True
            self._side.leave(self.factory.reactor)
            self.on_end()


class TunnelSocketFactory(ConsoleSocketFactory):
    """Makes them, with the bounds of consoles' WebSockets."""

    def __init__(self, reactor: Any, pings: PingRules) -> None:
        super().__init__(reactor, pings)
        # The last bytes are in front of the close, and a client may be slow.
        patient = {"closeHandshakeTimeout": CLOSE_LIMIT}
        self._tunnels: type[TunnelSocket] = type(
            "TunnelSocket", (TunnelSocket, self._kind), patient
        )

    def tunnel(self, side: InstanceSide, chosen: str | None) -> TunnelSocket:
        """A WebSocket for a request that has been judged."""
        protocol = self._tunnels(side, chosen)
        protocol.factory = self
        return protocol
