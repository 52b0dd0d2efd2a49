"""Consoles without a TCP port: libvirt's stream of a pty, carried by a program of its own.

That program (:mod:`consoled.compute.libvirt.pump`) gives each console a socket on this machine.
Once it has answered there, the socket is the console: what waits on either side waits in it, and
whoever closes it ends the console, as with TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet import protocol
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorFDSet,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.compute.libvirt.pumps import Wire
from consoled.errors import BackendUnreachable, ConsoledError, HeldOutside
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf

log = Logger()

OPENED = b"+"
"""What the program answers when the console is open; anything else is why it is not."""

LONGEST_REFUSAL = 4096
"""Bytes that are read of that."""

HELD = "Somebody has this console open through libvirt (virsh console, for one)."

_REFUSALS = {
    "gone": "The hypervisor has no such console any more. Get a new URL.",
    "away": "The hypervisor does not answer now. Try again in a moment.",
}
_FAULTS = {
    "lost": "Somebody opened this console through libvirt with force, or its stream failed.",
    "away": "The connection to the hypervisor, which carries this console, is lost.",
    None: "The process that carried this console has ended. Connect again.",
}


class Streams(Protocol):
    """Opens ptys (:class:`consoled.compute.libvirt.pumps.Pumps`)."""

    def dial(self, uri: str, instance_uuid: str, index: int) -> Deferred[Wire]:
        """The socket of a console that is being opened.

        :raises consoled.errors.ConsoledError: it cannot be asked for.
        """

    def closed(self, wire: Wire) -> str | None:
        """How a console has ended whose socket is closed; asked once of each."""


@frozen
class StreamTransport:
    """Implements :class:`consoled.interfaces.Transport` for consoles without a port.

    :ivar uri_of: libvirt's URI of a compute host; None where this daemon has none of it.
    """

    streams: Streams
    uri_of: Callable[[str], str | None]
    reactor: IReactorFDSet

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """The stream of a console.

        :raises consoled.errors.BackendUnreachable: the instance's host is not this daemon's.
        """
        uri = self.uri_of(instance.host)
        if uri is None:
            raise BackendUnreachable(
                f"Console {console.index} is on compute host {instance.host}, whose libvirt this "
                "server does not reach."
            )
        endpoint: IStreamClientEndpoint = StreamEndpoint(
            self.streams, uri, instance, console, self.reactor
        )
        return endpoint


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class StreamEndpoint:
    """One console's stream.

    :ivar uri: libvirt's, of its host.
    """

    streams: Streams
    uri: str
    instance: Instance
    console: Console
    reactor: IReactorFDSet

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected to the console. Cancelling closes what is open.

        :raises consoled.errors.HeldOutside: somebody else has it.
        :raises consoled.errors.BackendUnreachable: it does not open.
        :raises consoled.errors.Unavailable: nothing carries streams now.
        """
        dial = _Dial(self, protocolFactory)
        self.streams.dial(self.uri, self.instance.uuid, self.console.index).addCallbacks(
            dial.dialled, dial.failed
        )
        return dial.agreed


@define(eq=False, slots=False)
class _Dial(protocol.Protocol):
    """Waits for the program's answer, then gives the socket to the factory's protocol."""

    endpoint: StreamEndpoint
    wrapped: IProtocolFactory
    agreed: Deferred[IProtocol] = field(init=False)
    _answer: bytes = field(default=b"", init=False)
    _given_up: bool = field(default=False, init=False)

    @agreed.default
    def _cancellable(self) -> Deferred[IProtocol]:
        return Deferred(lambda _: self._give_up())

    def dialled(self, wire: Wire) -> None:
        """There is a socket, on which the answer comes."""
        stream = StreamSocket(wire, self, self.endpoint)
        if self._given_up:
            stream.abortConnection()
            return
        # Not a byte more: what follows the answer is the console's.
        stream.bufferSize = len(OPENED)
        self.makeConnection(stream)
        stream.startReading()

    def failed(self, failure: Failure) -> None:
        """There is no socket."""
        if not self._given_up:
            self.agreed.errback(failure)

    def dataReceived(self, data: bytes) -> None:
        """The answer."""
        stream: Any = self.transport
        if data == OPENED and not self._answer:
            self._hand_over(stream)
            return
        self._answer += data[: LONGEST_REFUSAL - len(self._answer)]
        stream.bufferSize = LONGEST_REFUSAL

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no console."""
        if not self._given_up:
            self.agreed.errback(self._refusal())

    def _hand_over(self, stream: StreamSocket) -> None:
        stream.bufferSize = Connection.bufferSize
        made = self.wrapped.buildProtocol(stream.getPeer())
        if made is None:
            self._given_up = True
            stream.abortConnection()
            self.agreed.errback(NoProtocol())
            return
        stream.protocol = made
        stream.open = True
        made.makeConnection(stream)
        self.agreed.callback(made)

    def _refusal(self) -> ConsoledError:
        kind, _, cause = self._answer.decode("utf-8", "replace").lstrip("-").partition(" ")
        console, name = self.endpoint.console, self.endpoint.instance.name
        log.warn(
            "{place} of {name} does not open: {cause}",
            event="stream_refused",
            place=console.place,
            name=name,
            instance_uuid=self.endpoint.instance.uuid,
            index=console.index,
            cause=cause or "the process that opens it has ended",
        )
        if kind == "busy":
            return HeldOutside(HELD)
        return BackendUnreachable(
            _REFUSALS.get(
                kind, f"The hypervisor did not open serial port {console.index} of {name}."
            )
        )

    def _give_up(self) -> None:
        self._given_up = True
        if self.transport is not None:
            stream: Any = self.transport
            stream.abortConnection()
        self.agreed.errback(CancelledError())


class StreamSocket(Connection):
    """A console's socket, as a transport.

    :ivar open: whether the console has been opened.
    """

    # Not one of Twisted's own transports for Unix sockets: those read whole buffers only.
    def __init__(self, wire: Wire, reader: protocol.Protocol, endpoint: StreamEndpoint) -> None:
        super().__init__(wire.socket, reader, endpoint.reactor)
        self.open = False
        self.connected = 1
        self.logstr = f"{endpoint.console.place} of {endpoint.instance.name}"
        self._wire = wire
        self._endpoint = endpoint

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Bytes never wait here."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """The other end is on this machine."""

    def getHost(self) -> IAddress:
        """An address without a name."""
        address: IAddress = UNIXAddress(None)
        return address

    def getPeer(self) -> IAddress:
        """An address without a name."""
        return self.getHost()

    def connectionLost(self, reason: Failure) -> None:
        """Says with a reason of ours why a console has ended that consoled has not closed."""
        fault = _FAULTS.get(self._endpoint.streams.closed(self._wire))
        ours = self.disconnecting or self._writeDisconnecting or self._aborting
        if self.open and not ours and fault is not None:
            log.warn(
                "{place} of {name} has ended: {fault}",
                event="stream_lost",
                place=self._endpoint.console.place,
                name=self._endpoint.instance.name,
                instance_uuid=self._endpoint.instance.uuid,
                index=self._endpoint.console.index,
                fault=fault,
            )
            reason = Failure(BackendUnreachable(fault))
        super().connectionLost(reason)
