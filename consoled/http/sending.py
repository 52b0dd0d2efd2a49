"""Writes that do not wait for the next turn of the loop, over plain TCP and over TLS."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import WantReadError
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol

_LARGE = 4096
"""Bytes from which two pieces are gathered by the kernel faster than joined before it."""


def write_now(transport: Any, data: bytes, head: bytes = b"") -> None:
    """Sends what the socket takes at once, and leaves the rest to the transport.

    Twisted's ``write`` waits for the next turn of the loop and registers with
    epoll twice. Where bytes wait already, or the transport is not a plain TCP
    one (TLS), this is its ``write``.

    :param transport: the connected transport.
    :param head: goes before ``data``, which is not copied for it where it is large.
    """
    if head and len(data) < _LARGE:
        head, data = b"", head + data
    # By its type, never by its attributes: a TLS transport passes on those of the
    # TCP transport beneath it, and its clear text would be sent past the encryption.
    if (
        isinstance(transport, Connection)
        and not transport.TLS
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and transport.connected
        and not transport.disconnecting
    ):
        sock = transport.socket
        try:
            written = sock.sendmsg((head, data)) if head else sock.send(data)
        except OSError:
            # A full socket; any other error is found again, and reported, by the ordinary way.
            written = 0
        if written == len(head) + len(data):
            return
        transport.write((head + data)[written:])
        _hold_producer(transport)
    else:
        transport.write(head + data)


def _hold_producer(transport: Connection) -> None:
    """Twisted lets a producer go on until more than 64 KiB wait: so much in each of a session's
    buffers would be too much. The transport resumes it when nothing waits any more."""
    producer: Any = transport.producer
    if producer is not None and transport.streamingProducer and not transport.producerPaused:
        transport.producerPaused = True
        producer.pauseProducing()


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
