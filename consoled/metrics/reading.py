"""Reads a session's figures where they are kept: in its core and its transports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol

from consoled.metrics.open_sessions import Reading
from consoled.proxy.session import SessionCore


def reader(find: Callable[[str], SessionCore | None]) -> Callable[[str], Reading | None]:
    """Shows sessions by their id.

    :param find: the session of an id, None where there is none.
    """

    def read(session_id: str) -> Reading | None:
        core = find(session_id)
        return None if core is None else read_session(core)

    return read


def read_session(core: SessionCore) -> Reading:
    """What an open session shows now."""
    waiting = 0 if core.viewer is None else waiting_bytes(core.viewer.transport)
    if core.line.writer is core:
        # What waits for the guest is in the one connection that all on the line share.
        waiting += waiting_bytes(core.line.console.leg.transport)
    return Reading(core.bytes_in, core.bytes_out, core.paused, waiting)


def waiting_bytes(transport: Any) -> int:
    """Bytes that were written to a transport and are not in its socket yet."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        return sum(map(len, transport._appSendBuffer)) + waiting_bytes(transport.transport)
    if isinstance(transport, Connection):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return 0
