"""The parts that find out the addresses of libvirt's domains, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList

from consoled.compute.libvirt.addresses import HostAddresses, KnownAddresses
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.ports import Lane
from consoled.compute.libvirt.thread import DaemonThread
from consoled.service import Part
from consoled.settings import LibvirtHost

TIMEOUT = 4.0
"""Seconds for an answer: somebody waits for a connection meanwhile."""

AGENTS = 2
"""Threads of a host for questions to the agents in its guests."""


@frozen
class AddressParts:
    """The addresses of all libvirt hosts of this daemon.

    :ivar part: what starts and stops.
    """

    addresses: KnownAddresses
    part: Part

    @classmethod
    def of(
        cls, hosts: Iterable[LibvirtHost], reactor: Any, uri_of: Callable[[str], str | None]
    ) -> Self:
        """For these hosts; no thread runs yet.

        :param uri_of: libvirt's URI of a compute host; None where this daemon has none of it.
        """

        def lane(host: LibvirtHost, number: int) -> Lane:
            worker = DaemonThread(reactor, f"{host.label}-addresses-{number}")
            what = f"libvirt at {host.uri}, for addresses,"
            return Lane(Asker(what, worker, reactor, TIMEOUT), LibvirtClient(host.uri))

        known = {
            host.uri: HostAddresses(
                lane(host, 0), [lane(host, number) for number in range(1, AGENTS + 1)]
            )
            for host in hosts
        }
        lanes = [one for each in known.values() for one in each.lanes]

        def start() -> None:
            for one in lanes:
                one.asker.worker.start()

        def stop() -> Deferred[None]:
            return DeferredList([one.end() for one in lanes]).addCallback(lambda _: None)

        return cls(KnownAddresses(known, uri_of), Part(start, stop))
