"""Listening: one port for TLS and plain, IPv4 or IPv6, errors in one line."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from consoled.errors import ConfigError
from consoled.http.sending import PromptTLS
from consoled.http.tls import SwappableContext

BACKLOG = 4096
FIRST_BYTE_DEADLINE = 10.0
UNTAKEN_DEADLINE = 30.0
"""Seconds until the kernel drops a peer that takes nothing of what was sent to it."""
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that vanished while nothing was sent to it is noticed within 30 seconds too."""
TLS_HANDSHAKE = 0x16

_SENTENCE = b"This port speaks TLS only: use https:// or wss://.\n"
_TLS_ONLY = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_SENTENCE), _SENTENCE)
)


class FirstByte(Protocol):
    """Reads the first byte of a connection, then hands it to TLS or to plain HTTP for good."""

    _deadline: IDelayedCall | None = None

    def __init__(self, factory: EitherFactory, addr: IAddress | None) -> None:
        self._factory = factory
        self._addr = addr

    def connectionMade(self) -> None:
        """Starts the deadline for the first byte."""
        self._deadline = self._factory.reactor.callLater(FIRST_BYTE_DEADLINE, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        """Swaps the transport's protocol; there is no cost after that."""
        self._stop_deadline()
        factory = self._factory
        transport: Any = self.transport
        protocol: IProtocol | None
        if data[0] == TLS_HANDSHAKE:
            protocol = factory.secure.buildProtocol(self._addr)
        elif factory.plain is not None:
            protocol = factory.plain.buildProtocol(cast(IAddress, self._addr))
        else:
            transport.write(_TLS_ONLY)
            transport.loseConnection()
            return
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(data)

    def connectionLost(self, reason: Any = None) -> None:
        """Ends the deadline."""
        self._stop_deadline()

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _too_slow(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class EitherFactory(Factory):
    """One port for TLS and plain connections, told apart by their first byte.

    :param site: the HTTP site behind it.
    :param context: makes TLS connections.
    :param ssl_only: plain connections get a sentence and are closed.
    :param reactor: for the first byte's deadline.
    """

    noisy = False

    def __init__(
        self, site: IProtocolFactory, context: SwappableContext, ssl_only: bool, reactor: Any
    ) -> None:
        self.reactor = reactor
        self.plain = None if ssl_only else site
        self.secure = TLSMemoryBIOFactory(context, False, site, clock=reactor)
        self.secure.protocol = PromptTLS
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> FirstByte:
        """A connection whose first byte decides."""
        return FirstByte(self, addr)

    def doStart(self) -> None:
        """Starts the site as well."""
        super().doStart()
        self._site.doStart()

    def doStop(self) -> None:
        """Stops the site as well."""
        self._site.doStop()
        super().doStop()


def bind(address: str, port: int, *, v6_only: bool = False) -> socket.socket:
    """A listening socket; made before twistd forks, so that errors reach the terminal.

    :param address: an IP address; ``::`` takes IPv4 as well unless ``v6_only``.
    :param port: 0 takes a free one.
    :raises consoled.errors.ConfigError: the address cannot be listened on, and why.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNTAKEN_DEADLINE * 1000))
        for level, option, value in KEEPALIVE:
            sock.setsockopt(level, option, value)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise ConfigError(
            f"cannot listen on {_place(address, port)}: {error.strerror or error}"
        ) from error
    return sock


def serve(reactor: Any, sock: socket.socket, factory: IProtocolFactory) -> IListeningPort:
    """Accepts connections of a bound socket, which the reactor takes over."""
    with sock:
        port: IListeningPort = reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
    return port


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@lru_cache(maxsize=1024)
def peer_address(host: str) -> str:
    """A peer's address with an IPv4 one taken out of its IPv6 mapping."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
