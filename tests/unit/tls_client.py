"""A TLS client without a socket: Python's own ssl module, fed by hand."""

from __future__ import annotations

import ssl
import warnings
from contextlib import suppress
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from wires import Wire


def client_context(
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str | None = None,
    protocols: tuple[str, ...] = (),
) -> ssl.SSLContext:
    """A client that trusts anybody, and speaks what nobody should any more.

    :param newest: the newest version that it offers.
    :param ciphers: what it offers for TLS 1.2 and older.
    :param protocols: what it offers by ALPN.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    # OpenSSL offers TLS 1.0 and 1.1 at its lowest security level only.
    context.set_ciphers((ciphers or "ALL") + ":@SECLEVEL=0")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class TLSClient:
    """One connection to a protocol behind a :class:`wires.Wire`.

    :param wire: the server's transport, its ``protocol`` set and connected.
    :param reactor: advanced so that delayed writes come out.
    """

    def __init__(self, wire: Wire, reactor: MemoryReactorClock, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._reactor = reactor
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        self.alert: ssl.SSLError | None = None

    def _move(self) -> None:
        data = self._outgoing.read()
        if data:
            self._wire.protocol.dataReceived(data)
        self._reactor.advance(0)
        answer = self._wire.value()
        self._wire.clear()
        if answer:
            self._incoming.write(answer)

    def handshake(self) -> bool:
        """Whether the server agrees; if not, ``alert`` says what it said."""
        for _ in range(6):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._move()
            except ssl.SSLError as error:
                self.alert = error
                return False
            else:
                self._move()
                return True
        return False

    def ask(self, data: bytes) -> bytes:
        """What the server answers to these bytes."""
        self.tls.write(data)
        self._move()
        received: Any = b""
        with suppress(ssl.SSLError):
            while more := self.tls.read(65536):
                received += more
        return bytes(received)

    def encrypt(self, data: bytes) -> bytes:
        """These bytes as one or more TLS records, not sent."""
        self.tls.write(data)
        records: bytes = self._outgoing.read()
        return records

    def said(self) -> bytes:
        """What the server has sent since it was last asked."""
        self._incoming.write(self._wire.value())
        self._wire.clear()
        received = bytearray()
        with suppress(ssl.SSLWantReadError):
            while more := self.tls.read(65536):
                received += more
        return bytes(received)
