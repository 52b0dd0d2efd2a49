"""TLS to a console's port: QEMU's ``tls-creds-x509`` on a socket chardev (``tls='yes'``).

The connection is the console's when the handshake is over and the host has proved who it is;
until then no byte moves but TLS's own. The host judges consoled's certificate after that (TLS
1.3 has it so, and QEMU in every version): it closes the connection then, without a word of
the guest's.

QEMU's serial port takes as many bytes at a time as its FIFO has room for, and leaves the rest of
a TLS record in GnuTLS, where no poll sees it: it looks there again when something more comes from
the network. So each write ends with a record of one byte, which can not be taken in part, and
while it is on its way QEMU goes on with those before it.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.errors import BackendUnreachable
from consoled.http.sending import PromptTLS
from consoled.interfaces import Transport
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.transports.credentials import Credentials, Peer, words_of

log = Logger()

JUDGEMENT = 5.0
"""Seconds after the handshake in which a closed connection is taken for a refused certificate."""

_NOT_TLS = frozenset(
    {"wrong version number", "packet length too long", "unexpected message", "record layer failure"}
)


@frozen
class TLSTransport:
    """Implements :class:`consoled.interfaces.Transport` around another one.

    :ivar plain: dials.
    :ivar credentials: None where ``[libvirt] chardev_tls_ca`` is not set.
    :ivar timeout: seconds for the handshake, from the connection on.
    """

    plain: Transport
    credentials: Credentials | None
    clock: IReactorTime
    timeout: float

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """As the other one's, with TLS where the console speaks it.

        :raises consoled.errors.BackendUnreachable: there is nobody to trust for that.
        """
        endpoint = self.plain.endpoint(instance, console, behalf)
        if not console.tls:
            return endpoint
        if self.credentials is None:
            log.error(
                "{place} speaks TLS, and [libvirt] chardev_tls_ca does not name the authority "
                "that vouches for it",
                place=console.place,
            )
            raise BackendUnreachable(
                f"Serial port {console.index} speaks TLS, for which this server is not set up."
            )
        secure: IStreamClientEndpoint = TLSEndpoint(
            endpoint, console, self.credentials, self.clock, self.timeout
        )
        return secure


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class TLSEndpoint:
    """Dials another endpoint, does the handshake, then gives the connection to the factory.

    :ivar endpoint: where to dial.
    :ivar console: what is there.
    :ivar timeout: seconds for the handshake, from the connection on.
    """

    endpoint: IStreamClientEndpoint
    console: Console
    credentials: Credentials
    clock: IReactorTime
    timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected over TLS. Cancelling closes what is open.

        Its ``connectionLost`` gets a :class:`consoled.errors.BackendUnreachable` where the host
        seems to have refused consoled's certificate.

        :raises consoled.errors.BackendUnreachable: why there is no TLS.
        """
        peer = self.credentials.peer(self.console.host)
        factory = TLSMemoryBIOFactory(
            _Creator(self.credentials, peer),
            True,
            _HandshakeFactory(self, peer, protocolFactory),
            clock=self.clock,
        )
        factory.protocol = ConsoleTLS
        factory.noisy = False
        dial: Deferred[Any] = self.endpoint.connect(factory)
        shaken: Deferred[IProtocol] = dial.addCallback(lambda tls: tls.handshake.agreed)
        return shaken


@implementer(IOpenSSLClientConnectionCreator)
@frozen(eq=False)
class _Creator:
    """Makes one connection's OpenSSL part."""

    credentials: Credentials
    peer: Peer

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """The client's side."""
        return self.credentials.connection(self.peer)


@implementer(IProtocolFactory)
@frozen(eq=False)
class _HandshakeFactory:
    """Makes the protocol of one connection."""

    dialled: TLSEndpoint
    peer: Peer
    wrapped: IProtocolFactory

    def doStart(self) -> None:
        """The wrapped factory's own start."""
        self.wrapped.doStart()

    def doStop(self) -> None:
        """The wrapped factory's own stop."""
        self.wrapped.doStop()

    def buildProtocol(self, addr: IAddress) -> _Handshake:
        """The handshake of one connection."""
        return _Handshake(self, addr)


class ConsoleTLS(PromptTLS):
    """A console's TLS connection, with the ways of a plain one that a leg knows.

    :ivar handshake: what it began with.
    """

    def __init__(self, factory: Any, wrapped: Any, _connectWrapped: bool = True) -> None:
        super().__init__(factory, wrapped, _connectWrapped)
        self.handshake = wrapped
        self._paused = self._held = False
        self._unread = b""

    def unread(self, data: bytes) -> None:
        """Takes back what was read too early: it is the first to be passed on later."""
        self._unread, self._held = data, True

    def pauseProducing(self) -> None:
        """Reads no more, and passes nothing on: TLS may have read beyond the handshake."""
        self._paused = True
        self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        """Goes on, first with what has been read; not before the next turn."""
        self._paused = False
        self._tcp.resumeProducing()
        if self._held:
            self._held = False
            self.factory._clock.callLater(0, self._go_on)

    def write(self, data: bytes) -> None:
        """Sends it; the last byte in a record of its own, for QEMU's sake."""
        if len(data) > 1:
            super().write(data[:-1])
        super().write(data[-1:])

    def loseWriteConnection(self) -> None:
        """Our end of the stream, as TLS says it; the other side answers with its own."""
        self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What has been read is passed on before that."""
        self._paused = False
        super().connectionLost(reason)

    @property
    def _tcp(self) -> Any:
        return self.transport

    def _go_on(self) -> None:
        if self.connected:
            self._flushReceiveBIO()

    def _flushReceiveBIO(self) -> None:
        if self._paused:
            self._held = True
            self._flushSendBIO()
        else:
            unread, self._unread = self._unread, b""
            if unread:
                ProtocolWrapper.dataReceived(self, unread)
            super()._flushReceiveBIO()


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Waits for the handshake; then for the first byte, after which it is not needed.

    :ivar agreed: the wrapped factory's protocol, or why there is none.
    """

    def __init__(self, shakes: _HandshakeFactory, addr: IAddress) -> None:
        self._shakes, self._addr = shakes, addr
        self._console = shakes.dialled.console
        self._clock = shakes.dialled.clock
        self._over = False
        self._protocol: IProtocol | None = None
        self._timer: IDelayedCall | None = None
        self._shaken_at = 0.0
        self.agreed: Deferred[IProtocol] = Deferred(lambda _: self._end())

    def connectionMade(self) -> None:
        """The handshake begins."""
        timeout = self._shakes.dialled.timeout
        self._timer = self._clock.callLater(
            timeout,
            self._refuse,
            f"no handshake within {timeout:g} seconds",
            "it does not speak TLS, or somebody else has this port",
        )

    def handshakeCompleted(self) -> None:
        """The host is whom it should be: the connection is the protocol's."""
        if self._over:
            return
        self._finish()
        protocol = self._shakes.wrapped.buildProtocol(self._addr)
        if protocol is None:
            self._end()
            self.agreed.errback(NoProtocol())
            return
        self._protocol, self._shaken_at = protocol, self._clock.seconds()
        protocol.makeConnection(self._wire)
        self.agreed.callback(protocol)

    def dataReceived(self, data: bytes) -> None:
        """The console's first bytes: from now on they are the protocol's."""
        if self._protocol is not None:
            self._wire.wrappedProtocol = self._protocol
            self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is closed, by whichever side."""
        if self._protocol is None:
            self._refuse(*self._why(reason))
        else:
            self._protocol.connectionLost(self._judged(reason))

    @property
    def _wire(self) -> Any:
        return self.transport

    def _why(self, reason: Failure) -> tuple[str, str]:
        """Why there was no handshake: words for a viewer, and more for an operator."""
        if self._shakes.peer.fault is not None:
            return self._shakes.peer.fault
        if not isinstance(reason.value, SSL.Error):
            return "the connection was closed during the handshake", reason.getErrorMessage()
        words = words_of(reason.value)
        if _NOT_TLS & set(words.split("; ")):
            return "something else than TLS was spoken", words
        return "there was no agreement on TLS 1.2 or later", words

    def _judged(self, reason: Failure) -> Failure:
        """The end of a connection over which not one byte came."""
        told = isinstance(reason.value, SSL.Error)
        late = self._clock.seconds() - self._shaken_at > JUDGEMENT
        if self._wire.disconnecting or (late and not told):
            return reason
        error = reason.value
        detail = words_of(error) if isinstance(error, SSL.Error) else str(error)
        log.warn(
            "{place}: closed right after the TLS handshake ({detail}); QEMU does that where it "
            "does not accept [libvirt] chardev_tls_cert",
            place=self._console.place,
            detail=detail,
        )
        return Failure(
            BackendUnreachable(
                f"Serial port {self._console.index} hung up right after the TLS handshake: it may "
                "not accept this server's certificate."
            )
        )

    def _refuse(self, words: str, detail: str) -> None:
        if self._over:
            return
        self._end()
        log.warn(
            "{place}: TLS failed: {words} ({detail})",
            place=self._console.place,
            words=words,
            detail=detail,
        )
        self.agreed.errback(
            BackendUnreachable(f"TLS to serial port {self._console.index} failed: {words}.")
        )

    def _end(self) -> None:
        self._finish()
        self._wire.abortConnection()

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
