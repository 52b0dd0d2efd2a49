"""The parts that give out the ports of a libvirt host, put together."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_keeper import PortCount, PortKeeper
from consoled.compute.port_tests import port_test
from consoled.compute.ports import PortAllocator
from consoled.interfaces import Database, PortNaming
from consoled.service import Part
from consoled.settings import LibvirtHost
from consoled.workers import ThreadWorker


@frozen
class PortParts:
    """The ports of one libvirt host.

    :ivar parts: what starts and stops, after the database and before it.
    """

    keeper: PortKeeper
    allocator: PortAllocator
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        host: LibvirtHost,
        reactor: Any,
        driver: PortNaming,
        database: Database,
        count: PortCount,
    ) -> Self:
        """For that host; no thread runs yet.

        :param count: shows its free ports.
        """
        keeper = PortKeeper(driver, database, host.port_range, count)
        worker = ThreadWorker(reactor, f"{host.label}-port-tests", 1)
        allocator = PortAllocator(
            database=database,
            settled=keeper.settled,
            address=host.proxyclient_address,
            ports=host.port_range,
            worker=worker,
            is_free=port_test(host.uri, host.proxyclient_address),
            foreign=ForeignPorts(reactor.seconds),
        )
        return cls(keeper, allocator, (Part(worker.start, worker.stop),))
