"""A TLS server without a socket: Python's own ssl module behind a wire in memory."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from wires import Wire

from tools.lab.authority import Authority
from tools.lab.certificates import Pair


def server_context(
    folder: Path, authority: Authority, pair: Pair | None = None, *, verify: bool = True
) -> ssl.SSLContext:
    """A server as QEMU is one.

    :param folder: for its files.
    :param authority: vouches for its clients, and for itself.
    :param pair: what it shows; a certificate for loopback by default.
    :param verify: whether it wants a client's certificate.
    """
    cert, key = (pair or authority.issue("server")).write(folder, "host")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cadata=authority.pair.cert_pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    # QEMU sends none, and nothing of the server's follows the handshake then.
    context.num_tickets = 0
    return context


class LateWire(Wire):
    """A wire that is closed in the next turn, as a socket is.

    :ivar reactor: whose turns those are.
    """

    reactor: MemoryReactorClock

    def drop(self, reason: Exception | None = None) -> None:
        """The connection is gone, in a moment."""
        self.reactor.callLater(0, super().drop, reason)


def answer_late(reactor: MemoryReactorClock) -> LateWire:
    """Lets the last dial of the reactor succeed; the dialled end."""
    wire = LateWire()
    wire.reactor = reactor
    wire.protocol = reactor.tcpClients[-1][2].buildProtocol(None)
    wire.protocol.makeConnection(wire)
    return wire


class TLSServer:
    """The host's side of one connection.

    :param wire: the client's transport, its ``protocol`` set and connected.
    :ivar error: why it did not agree, else None.
    :ivar records: the sizes of the records that it was sent, of all kinds.
    """

    def __init__(self, wire: Wire, reactor: MemoryReactorClock, context: ssl.SSLContext) -> None:
        self._wire, self._reactor = wire, reactor
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.name: str | None = None
        context.sni_callback = self._named
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.error: ssl.SSLError | None = None
        self.records: list[int] = []
        self.received = b""

    def _named(self, _tls: object, name: str | None, _context: object) -> None:
        self.name = name

    def handshake(self) -> bool:
        """Whether both agree, as far as the server sees it."""
        for _ in range(6):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.move()
            except ssl.SSLError as error:
                self.error = error
                self.move()
                return False
            else:
                return True
        return False

    def move(self) -> None:
        """Everything that is on its way arrives."""
        self.hear()
        self.deliver()
        self.hear()

    def deliver(self, cut: int = 1 << 20) -> None:
        """What the server has written arrives, in pieces of that many bytes."""
        while data := self._outgoing.read(cut):
            if self._wire.connected:
                self._wire.protocol.dataReceived(data)

    def hear(self) -> None:
        """What the client has written arrives."""
        self._reactor.advance(0)
        sent = self._wire.value()
        self._wire.clear()
        self._note(sent)
        self._incoming.write(sent)

    def _note(self, sent: bytes) -> None:
        while sent:
            size = int.from_bytes(sent[3:5], "big")
            self.records.append(size)
            sent = sent[5 + size :]

    def says(self, data: bytes) -> None:
        """The guest prints something, which is not delivered yet."""
        self.tls.write(data)

    def heard(self) -> bytes:
        """What the client has sent since it was last asked."""
        self.hear()
        got: Any = b""
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while more := self.tls.read(65536):
                got += more
        return bytes(got)
