"""The line: the backend leg of one open console, its scrollback, and the lease it is held by.

It outlives its viewers: while nobody watches, the output goes on into the ring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from consoled.http.sending import write_now
from consoled.interfaces import Lease, Leases
from consoled.proxy.ring import Ring

CLOSE_PATIENCE = 1.0
"""Seconds until a backend leg that does not close is aborted."""

SCROLLBACK = 64 * 1024
"""Bytes of output that a line keeps for viewers that come later."""


class LineListener(Protocol):
    """Who hears what happens on a line."""

    def printed(self, data: bytes) -> None:
        """The guest's output."""

    def line_lost(self) -> None:
        """The console's side closed the connection."""


class Leg(TwistedProtocol):
    """The TCP connection to the console: bytes in, bytes out, nothing else."""

    def __init__(self) -> None:
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_lost: Callable[[], None] = lambda: None
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Keystrokes go at once; a dead peer is noticed by keepalive."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        # Nothing is read before the viewer is there to take it.
        transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """The guest's output."""
        self.on_data(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The socket is closed, by whichever side."""
        self.lost.callback(None)
        self.on_lost()


class LegFactory(Factory):
    """Makes backend legs, without a log line for each."""

    protocol = Leg
    noisy = False


@define(eq=False)
class Line:
    """One open console.

    No byte moves unless the lease is valid at that moment (design.md, invariant 1).

    :ivar leg: the connected backend leg, paused.
    :ivar lease: given back after the backend socket is closed (invariant 2).
    :ivar ring: the last output.
    """

    leg: Leg
    lease: Lease
    leases: Leases
    clock: IReactorTime
    ring: Ring = field(factory=lambda: Ring(SCROLLBACK), init=False)
    _closing: bool = field(default=False, init=False)

    @property
    def transport(self) -> Any:
        """The leg's transport, a producer and a consumer."""
        return self.leg.transport

    def start(self, listener: LineListener, throttle: IPushProducer) -> None:
        """Lets the guest's output flow to the listener.

        :param throttle: told to pause while the guest does not read its input.
        """
        self.leg.on_data = lambda data: self._printed(listener, data)
        self.leg.on_lost = lambda: None if self._closing else listener.line_lost()
        self.transport.registerProducer(throttle, True)
        self.transport.resumeProducing()

    def _printed(self, listener: LineListener, data: bytes) -> None:
        if self.lease.valid and not self._closing:
            self.ring.append(data)
            listener.printed(data)

    def write(self, data: bytes) -> None:
        """The viewer's input, to the guest."""
        if self.lease.valid and not self._closing:
            write_now(self.transport, data)

    def linger(self, waits: bool) -> None:
        """Tells the cell whether the console waits for its viewer, and so yields to anybody."""
        self.leases.linger(self.lease, waits)

    def close(self) -> Deferred[None]:
        """Closes the socket, then gives the lease back; fires after both. Called once.

        Our end of the stream goes first: the console's side answers with its own and knows that
        its client is gone. A guest that does not read leaves input in QEMU's socket, and
        QEMU, which does not look further then, would keep its one client slot for a
        connection that is closed: a reset, in the end, makes it look.
        """
        self._closing = True
        if self.leg.lost.called:
            return self.leases.release(self.lease)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.transport.loseWriteConnection()
        abort = self.clock.callLater(CLOSE_PATIENCE, self.transport.abortConnection)

        def closed(_: None) -> Deferred[None]:
            if abort.active():
                abort.cancel()
            return self.leases.release(self.lease)

        return self.leg.lost.addCallback(closed)
