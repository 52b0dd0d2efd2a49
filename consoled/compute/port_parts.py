"""The parts that give out the ports of a libvirt host, put together."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_tests import port_test
from consoled.compute.ports import PortAllocator
from consoled.interfaces import Database, PortNaming
from consoled.service import Part
from consoled.settings import Settings
from consoled.workers import ThreadWorker


@frozen
class PortParts:
    """The ports of the daemon's own libvirt host.

    :ivar parts: what starts and stops, after the database and before it.
    """

    keeper: PortKeeper
    allocator: PortAllocator
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, settings: Settings, reactor: Any, driver: PortNaming, database: Database) -> Self:
        """For ``[libvirt] uri``; no thread runs yet."""
        group = settings.serial_console
        keeper = PortKeeper(driver, database, group.port_range, reactor)
        worker = ThreadWorker(reactor, "port-tests", 1)
        allocator = PortAllocator(
            database=database,
            settled=keeper.settled,
            address=group.proxyclient_address,
            ports=group.port_range,
            worker=worker,
            is_free=port_test(settings.libvirt.uri, group.proxyclient_address),
            foreign=ForeignPorts(reactor.seconds),
        )
        parts = (Part(worker.start, worker.stop), Part(keeper.start, keeper.stop))
        return cls(keeper, allocator, parts)
