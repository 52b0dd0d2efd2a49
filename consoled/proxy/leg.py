"""The backend leg: the connection to a guest's port, and the lease that it is held by."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from consoled.errors import BackendUnreachable
from consoled.http.sending import write_now
from consoled.interfaces import Lease, Leases
from consoled.model import Console, Instance
from consoled.openstack.values import UserToken

CLOSE_PATIENCE = 1.0
"""Seconds until a backend leg that does not close is aborted."""

READ_SIZE = 96 * 1024
"""Bytes of output that one read takes at most: 50 us or so of the reactor's time. One read,
one message of input (64 KiB) on top of what may wait (12 KiB, ``inlet.py``) and the scrollback
(80 KiB) are what a line holds when everybody stalls: less than the 256 KiB of a session."""

TCP, SSH = "tcp", "ssh"
"""What carries a console's bytes, in the figures."""

SEND_BUFFER = 8 * 1024
"""Bytes that the kernel keeps for a guest that does not read, or twice that. Left alone it takes
4 MB: a paste would be gone there long before the guest has it, and could not be cancelled."""


class Leg(Protocol):
    """The TCP connection to the console: bytes in, bytes out, nothing else.

    :ivar fault: why the connection was lost, where its transport says so; else empty.
    :ivar ending: what a shell's end is in words.
    :ivar carrier: what carries the bytes, for the figures: as the transport says, else ``tcp``.
    """

    def __init__(self) -> None:
        # What came with the answer to CONNECT, over a transport that does not take it back.
        self._early: list[bytes] = []
        self._on_data: Callable[[bytes], None] = self._early.append
        self._on_lost: Callable[[], None] = lambda: None
        self.lost: Deferred[None] = Deferred()
        self.fault = ""
        self.ending = "The shell has ended."
        self.carrier = TCP

    def connectionMade(self) -> None:
        """Keystrokes go at once; a dead peer is noticed by keepalive."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        tcp: Any = transport.transport if isinstance(transport, TLSMemoryBIOProtocol) else transport
        self.carrier = getattr(tcp, "carrier", self.carrier)
        tcp.bufferSize = READ_SIZE
        if isinstance(tcp, Connection):
            tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # Nothing is read before the viewer is there to take it.
        transport.pauseProducing()

    def start(
        self,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[], None],
        throttle: IPushProducer,
    ) -> None:
        """Lets the guest's output flow.

        :param throttle: told to pause while the guest does not read its input.
        """
        self._tell(on_data, on_lost)
        transport: Any = self.transport
        if isinstance(transport, Connection) and not transport.TLS:
            # What the endpoints have put in between has done its work.
            transport.protocol = self
        transport.registerProducer(throttle, True)
        transport.resumeProducing()

    def attend(self, on_data: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        """Hears the guest before its console is on a line."""
        self._tell(on_data, on_lost)
        transport: Any = self.transport
        transport.resumeProducing()

    def _tell(self, on_data: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_data, self._on_lost = on_data, on_lost
        early, self._early = self._early, []
        for data in early:
            on_data(data)

    def write(self, data: bytes) -> None:
        """Input, to the guest."""
        write_now(self.transport, data)

    def dataReceived(self, data: bytes) -> None:
        """The guest's output."""
        self._on_data(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The socket is closed, by whichever side."""
        if reason is not None and reason.check(BackendUnreachable):
            self.fault = str(reason.value)
        status = getattr(self.transport, "exit_status", None)
        if status:
            self.ending = f"The shell has ended with status {status}."
        self.lost.callback(None)
        self._on_lost()

    def resize(self, columns: int, rows: int) -> None:
        """A shell's terminal has this size."""
        transport: Any = self.transport
        transport.resize(columns, rows)

    def close(self, clock: IReactorTime) -> Deferred[None]:
        """Closes the socket; fires when it is closed. Nothing is heard of it any more.

        Our end of the stream goes first: the console's side answers with its own and knows
        that its client is gone. A guest that does not read leaves input in QEMU's socket, and
        QEMU, which does not look further then, would keep its one client slot for a
        connection that is closed: a reset, in the end, makes it look.
        """
        self._on_data, self._on_lost = lambda data: None, lambda: None
        if self.lost.called:
            return self.lost
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.resumeProducing()
        transport.loseWriteConnection()
        abort = clock.callLater(CLOSE_PATIENCE, transport.abortConnection)

        def closed(_: None) -> None:
            if abort.active():
                abort.cancel()

        return self.lost.addCallback(closed)


class LegFactory(Factory):
    """Makes backend legs, without a log line for each."""

    protocol = Leg
    noisy = False


@frozen
class OpenConsole:
    """What an opened console consists of.

    :ivar leg: the connected backend leg, paused.
    :ivar lease: given back after the backend socket is closed (design.md, invariant 2).
    :ivar unproven: somebody else's client may still have the guest's port: nothing is typed
        before the guest has said something (invariant 2).
    :ivar user: the own token of the user who opened it, for as long as it is open.
    """

    instance: Instance
    console: Console
    leg: Leg
    lease: Lease
    leases: Leases
    unproven: bool = False
    user: UserToken | None = field(default=None, repr=False)

    def close(self, clock: IReactorTime) -> Deferred[None]:
        """Closes the socket, then gives the lease back; fires after both."""
        return self.leg.close(clock).addCallback(lambda _: self.leases.release(self.lease))
