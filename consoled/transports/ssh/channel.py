"""One stream through a server, as a transport of Twisted's.

What a TCP connection has, a stream has: backpressure both ways, half closes, aborts. Its
reader's pause holds back nothing but its own window; its writer is paused while the server,
or the connection below, takes no more.
"""

from __future__ import annotations

import struct
from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.conch.error import ConchError
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.transports.ssh.errors import NodeFailed, SSHError
from consoled.transports.ssh.link import Quiet
from consoled.transports.ssh.window import Window

if TYPE_CHECKING:
    from consoled.transports.ssh.connection import Connection

log = Logger()

LARGEST_PACKET = 32 * 1024
"""Bytes of one packet of a channel; OpenSSH's own."""


@implementer(ITransport, IPushProducer)
class Stream(SSHChannel):
    """A channel, as far as all kinds are alike; it begins paused, and without a protocol.

    :param host: where it leads, for :meth:`getPeer` and the log.

    :ivar connection: what carries it, once it is asked for.
    :ivar opened: fires when the other side has opened it, or fails with why it has not.
    :ivar window: how much may come.
    :ivar carrier: the name of this kind of transport, for who counts them.
    :ivar is_session: whether the server counts it as a session (MaxSessions).
    """

    name = b"session"
    carrier = "ssh"
    _log = Quiet()
    carrier = "ssh"
    is_session = False
    disconnecting = False

    def __init__(self, host: str, port: int) -> None:
        self.window = Window()
        super().__init__(localWindow=self.window.size, localMaxPacket=LARGEST_PACKET)
        self.connection: Connection
        self.host, self.port = host, port
        self.opened: Deferred[Stream] = Deferred(lambda _: self.abortConnection())
        self._protocol: Any = None
        self._paused, self._paused_at = True, 0.0
        self._inbox: deque[bytes] = deque()
        self._draining = False
        self._outbox: deque[memoryview] = deque()
        self._producer: Any = None
        self._streams = True
        self._holds_producer = self._ends_writing = self._eof_sent = False
        self._aborting = self._input_ended = self._lost = False
        self._reason: Failure | None = None

    # Opening.

    def request(self) -> bytes:
        """What the open message says besides the channel's type."""
        return b""

    def ask_for(self, connection: Connection) -> None:
        """Asks the other side to open it."""
        self.conn = self.connection = connection
        connection.openChannel(self, self.request())

    def channelOpen(self, specificData: bytes) -> None:
        """The other side has opened it."""
        if self._aborting:
            self.connection.sendClose(self)
        else:
            self.ready()

    def ready(self) -> None:
        """It is open; kinds that have more to do before they are of use override this."""
        self._settle(self)

    def openFailed(self, reason: Any) -> None:
        """The other side has not opened it."""
        self._lost = True
        self.connection._on_closed(self)
        self._settle(Failure(reason if isinstance(reason, Exception) else ConchError(str(reason))))

    def _settle(self, outcome: Any) -> None:
        if not self.opened.called:
            self.opened.callback(outcome)

    def attach(self, factory: IProtocolFactory) -> IProtocol:
        """Gives the stream to a protocol of the factory's.

        :raises twisted.internet.error.NoProtocol: the factory makes none; the stream is closed.
        """
        protocol = factory.buildProtocol(self.getPeer())
        if protocol is None:
            self.abortConnection()
            raise NoProtocol()
        self._protocol = protocol
        self._paused = False
        protocol.makeConnection(self)
        if self._lost:
            self._protocol = None
            protocol.connectionLost(self._reason or Failure(ConnectionDone()))
        self._drain_soon()
        return protocol

    # Reading.

    def arrived(self, data: bytes) -> None:
        """Bytes came; the window allowed them."""
        if self._aborting or self.disconnecting or self._lost:
            return
        if self._paused or self._inbox or self._draining:
            self._inbox.append(data)
        else:
            self._deliver(data)

    def error_output(self, data: bytes) -> None:
        """A command's error output; ignored, and allowed to go on."""
        self._taken(len(data))

    def pauseProducing(self) -> None:
        """Nothing more is passed on; the other side goes on until its window is used up."""
        if not self._paused:
            self._paused, self._paused_at = True, self.connection.seconds()

    def resumeProducing(self) -> None:
        """What waits is passed on, not before the next turn."""
        if self._paused:
            self._paused = False
            self.window.paused(self.connection.seconds() - self._paused_at)
            self._drain_soon()

    def stopProducing(self) -> None:
        """As :meth:`loseConnection`."""
        self.loseConnection()

    def _deliver(self, data: bytes) -> None:
        try:
            self._protocol.dataReceived(data)
        except Exception:
            log.failure("a protocol over SSH failed; its stream is closed")
            self.abortConnection()
        self._taken(len(data))

    def _taken(self, count: int) -> None:
        if self._lost:
            return
        if self.window.take(count):
            connection = self.connection
            more = self.window.promise(connection.seconds(), connection.round_trip)
            connection.grant(self, more)

    def _drain_soon(self) -> None:
        if (self._inbox or self._input_ended) and not self._draining:
            self._draining = True
            self.connection.later(0, self._drain)

    def _drain(self) -> None:
        self._draining = False
        if self._protocol is None or self._lost:
            return
        while self._inbox and not self._paused and not self._aborting:
            self._deliver(self._inbox.popleft())
        if not self._paused and not self._inbox:
            self._finish_input()

    def _finish_input(self) -> None:
        """All that came has been passed on: so is the end of it."""
        if self._reason is not None:
            self._lose(self._reason)
        elif self._input_ended:
            self._input_ended = False
            if IHalfCloseableProtocol.providedBy(self._protocol):
                self._protocol.readConnectionLost()
            else:
                self.loseConnection()

    # Writing.

    def write(self, data: bytes) -> None:
        """Sends it, or keeps it until the other side takes more."""
        if self._aborting or self._lost or self._ends_writing or self.localClosed or not data:
            return
        size = len(data)
        if self._outbox or self.connection.busy or self.remoteWindowLeft < size:
            self._outbox.append(memoryview(data))
            self.flush()
        else:
            if size <= self.remoteMaxPacket:
                self.remoteWindowLeft -= size
                self.connection.send(self, data)
            else:
                self._send(memoryview(data))
            if self._producer is not None and not self._streams:
                self.connection.later(0, self.release_producer)

    def writeSequence(self, data: Any) -> None:
        """As one :meth:`write`."""
        self.write(b"".join(data))

    def flush(self) -> None:
        """Sends what waits, as far as it is taken."""
        while self._outbox and self.remoteWindowLeft and not self.connection.busy:
            data = self._outbox.popleft()
            room = self.remoteWindowLeft
            if len(data) > room:
                self._outbox.appendleft(data[room:])
                data = data[:room]
            self._send(data)
        if self._outbox:
            self.hold_producer()
            if self.connection.busy:
                self.connection.stall(self)
        else:
            self._after_flush()

    def _send(self, data: memoryview) -> None:
        largest = self.remoteMaxPacket
        self.remoteWindowLeft -= len(data)
        for start in range(0, len(data), largest):
            self.connection.send(self, data[start : start + largest])

    def addWindowBytes(self, data: int) -> None:
        """The other side takes so many bytes more."""
        self.remoteWindowLeft += data
        self.flush()

    def _after_flush(self) -> None:
        if self._ends_writing and not self._eof_sent and not self.localClosed:
            self._eof_sent = True
            self.connection.sendEOF(self)
        if self.disconnecting:
            self.hang_up()
        else:
            self.release_producer()

    @property
    def waiting(self) -> int:
        """Bytes that were written and have not been sent."""
        return sum(map(len, self._outbox))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The producer is paused while the other side, or the connection, takes no more."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._streams = producer, streaming
        if self._lost or self.disconnecting:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()
        elif self._outbox or self.connection.busy:
            self.hold_producer()

    def unregisterProducer(self) -> None:
        """Nobody is told any more."""
        self._producer, self._holds_producer = None, False

    def hold_producer(self) -> None:
        """Enough for now."""
        if self._producer is not None and not self._holds_producer:
            self._holds_producer = True
            if self._streams:
                self._producer.pauseProducing()

    def release_producer(self) -> None:
        """It may go on, unless something of it still waits."""
        if self._outbox or self.connection.busy:
            return
        if self._producer is not None and (self._holds_producer or not self._streams):
            self._holds_producer = False
            self._producer.resumeProducing()

    # Ends.

    def loseWriteConnection(self) -> None:
        """The end of what is written, after what waits; reading goes on."""
        if not self._ends_writing:
            self._ends_writing = True
            self.flush()

    def loseConnection(self) -> None:
        """Closes it after what waits has been sent; nothing more is read."""
        if not (self.disconnecting or self._lost):
            self.disconnecting = True
            self._inbox.clear()
            self.flush()

    def abortConnection(self) -> None:
        """Closes it at once; the protocol hears of it when the server has let go."""
        if self._aborting or self._lost:
            return
        self._aborting = self.disconnecting = True
        self._inbox.clear()
        self._outbox.clear()
        self._reason = self._reason or Failure(ConnectionAborted())
        if self.conn is not None and self in self.conn.channelsToRemoteChannel:
            self.hang_up()

    def hang_up(self) -> None:
        """Tells the server to close: a command needs more than that."""
        self.connection.sendClose(self)

    def eofReceived(self) -> None:
        """Nothing more will come."""
        self._input_ended = True
        if not self._paused and not self._inbox:
            self._drain_soon()

    def closeReceived(self) -> None:
        """The other side has closed it, and so do we."""
        self.connection.sendClose(self)

    def closed(self) -> None:
        """Both sides have closed it."""
        self._reason = self._reason or Failure(self.end())
        self._settle(Failure(ConnectionDone()))
        if self._protocol is None or self.disconnecting or not (self._paused or self._inbox):
            self._lose(self._reason)
        else:
            self._drain_soon()

    def end(self) -> ConnectionDone:
        """How it ended, where both sides have closed it in order."""
        return ConnectionDone()

    def cut_off(self, error: SSHError) -> None:
        """The connection is gone, or not to be trusted: all that came is passed on first."""
        self._settle(Failure(error))
        self._reason = Failure(error)
        while self._inbox and self._protocol is not None and not self._paused:
            self._deliver(self._inbox.popleft())
        self._lose(self._reason)

    def broke_the_rules(self) -> SSHError:
        """The error for a server that sends more than it may."""
        label = self.connection.link.node.label
        return NodeFailed(f"The SSH server {label} sent more than it was allowed to.")

    def _lose(self, reason: Failure) -> None:
        if self._lost:
            return
        self._lost = True
        self.localClosed = self.remoteClosed = True
        self._inbox.clear()
        self._outbox.clear()
        producer, self._producer = self._producer, None
        protocol, self._protocol = self._protocol, None
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(reason)

    # Addresses, and what only a socket has.

    def getPeer(self) -> IAddress:
        """Where it leads, as far as that is an address."""
        try:
            kind = IPv6Address if ip_address(self.host).version == 6 else IPv4Address
        except ValueError:
            name: IAddress = HostnameAddress(self.host.encode(), self.port)
            return name
        address: IAddress = kind("TCP", self.host, self.port)
        return address

    def getHost(self) -> IAddress:
        """This machine's end of the connection that carries it."""
        wire: Any = self.connection.link.transport
        address: IAddress = wire.getHost()
        return address

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits to be gathered anyway."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """The connection that carries it is asked whether it lives."""


class DirectStream(Stream):
    """A TCP connection that the server makes (``direct-tcpip``, RFC 4254, section 7.2)."""

    name = b"direct-tcpip"

    def request(self) -> bytes:
        """Where to, and from where: an address of nobody."""
        origin = NS(b"127.0.0.1") + struct.pack(">L", 65535)
        return NS(self.host.encode()) + struct.pack(">L", self.port) + origin
