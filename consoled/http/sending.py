"""Writes that do not wait for the next turn of the loop, over plain TCP and over TLS."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import WantReadError
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol


def write_now(transport: Any, data: bytes) -> None:
    """Sends what the socket takes at once, and leaves the rest to the transport.

    Twisted's ``write`` waits for the next turn of the loop and registers with
    epoll twice. Where bytes wait already, or the transport is not a plain TCP
    one (TLS), this is its ``write``.

    :param transport: the connected transport.
    """
    # By its type, never by its attributes: a TLS transport passes on those of the
    # TCP transport beneath it, and its clear text would be sent past the encryption.
    if (
        isinstance(transport, Connection)
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and transport.connected
        and not transport.disconnecting
    ):
        written = transport.writeSomeData(data)
        if written == len(data):
            return
        # An error is found again, and reported, by the ordinary way.
        if isinstance(written, int) and written > 0:
            data = data[written:]
    transport.write(data)


class PromptTLS(TLSMemoryBIOProtocol):
    """TLS that encrypts and sends each write at once.

    Twisted's default gathers small writes until the next turn of the loop: good
    for pages, and a keystroke's echo waits for nothing but that.
    """

    def _flushSendBIO(self) -> None:
        try:
            data = self._tlsConnection.bio_read(2**15)
        except WantReadError:
            return
        write_now(self.transport, data)
