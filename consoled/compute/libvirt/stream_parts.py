"""The parts that reach consoles without a TCP port, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from attrs import frozen

from consoled.compute.libvirt.pumps import Pumps
from consoled.compute.libvirt.thread import DaemonThread
from consoled.service import Part
from consoled.transports.stream import StreamTransport


@frozen
class StreamParts:
    """The ptys of all libvirt hosts of this daemon.

    :ivar part: what starts and stops.
    """

    transport: StreamTransport
    part: Part

    @classmethod
    def of(cls, reactor: Any, uri_of: Callable[[str], str | None]) -> Self:
        """No thread and no program runs yet.

        :param uri_of: libvirt's URI of a compute host; None where this daemon has none of it.
        """
        pumps = Pumps(DaemonThread(reactor, "pty-consoles"))
        return cls(StreamTransport(pumps, uri_of, reactor), Part(pumps.start, pumps.stop))
