"""What a transport was given and has not sent: bytes in this process's memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol


def waiting_bytes(transport: Any) -> int:
    """Bytes that were written to a transport and are not in its socket yet.

    Private names of Twisted's; tests/unit/test_metrics_reading.py looks at real transports.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        return sum(map(len, transport._appSendBuffer)) + waiting_bytes(transport.transport)
    if isinstance(transport, Connection):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    # What is no socket says it itself, as a stream over SSH does.
    return int(getattr(transport, "waiting", 0))
