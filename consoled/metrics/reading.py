"""Reads a session's figures where they are kept: in its core and its transports."""

from __future__ import annotations

from collections.abc import Callable

from consoled.http.waiting import waiting_bytes
from consoled.metrics.open_sessions import Reading
from consoled.proxy.core import SessionCore


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
        waiting += waiting_bytes(core.line.console.leg.transport) + core.input_waiting
    return Reading(core.bytes_in, core.bytes_out, core.paused, waiting)
