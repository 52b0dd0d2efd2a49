"""Both ends of a migration, asked by this process itself (:mod:`consoled.cli.hypervisor`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from attrs import frozen
from twisted.internet.task import Clock

from consoled.cli.compute_host import host_of
from consoled.cli.failure import Failure
from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.libvirt.client import ClientError, LibvirtClient
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.migration.migrator import Site
from consoled.compute.other_hosts import OtherHosts
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_tests import port_test
from consoled.compute.ports import PortAllocator
from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.settings import LibvirtHost, Settings
from consoled.workers import InlineWorker


@frozen
class Wanted:
    """What was asked for.

    :ivar domain: its name, or its uuid.
    :ivar host: the compute host that has it, where that was said.
    :ivar destination: the name of another one, or a libvirt URI.
    :ivar address: where the serial ports listen on a host that the configuration does not name.
    :ivar inbound_address: where such a host takes the guest's memory, or None.
    """

    domain: str
    host: str | None
    destination: str
    address: str | None
    inbound_address: str | None


@frozen
class Sites:
    """Both compute hosts."""

    source: Site
    destination: Site

    @classmethod
    def of(
        cls, settings: Settings, wanted: Wanted, database: CellDatabase, ends: ExitStack
    ) -> Self:
        """With a connection to each that the stack closes.

        :raises consoled.cli.failure.Failure: one of them cannot be found.
        :raises consoled.compute.libvirt.client.ClientError: libvirt is away.
        """
        here = host_of(settings.compute_hosts, wanted.domain, wanted.host)
        there = _destination(settings, wanted)
        drivers = [_driver(settings, host) for host in (here, there)]
        for driver in drivers:
            ends.callback(driver.client.close)
            # Asked for now, so that one that is away is named before anything has happened.
            driver.host = driver.host or driver.client.hostname()
        source, destination = drivers
        return cls(
            _site(here, source, destination, database),
            _site(there, destination, source, database),
        )


@contextmanager
def both_sites(settings: Settings, wanted: Wanted) -> Iterator[Sites]:
    """The compute hosts of a migration, with the books of the cell database.

    :raises consoled.cli.failure.Failure: another driver is configured, or a host cannot be found
        or asked.
    :raises consoled.errors.ConsoledError: the database cannot be used.
    """
    if settings.default.driver != "libvirt":
        raise Failure(
            f"[DEFAULT] driver is {settings.default.driver}, which has no domains; name the "
            "configuration of a daemon with driver = libvirt"
        )
    with ExitStack() as ends:
        engine = make_engine(settings.database.connection)
        ends.callback(engine.dispose)
        try:
            schema.check(engine)
            yield Sites.of(settings, wanted, CellDatabase(engine, InlineWorker()), ends)
        except ClientError as error:
            raise Failure(f"libvirt cannot be asked: {error}") from None


def _destination(settings: Settings, wanted: Wanted) -> LibvirtHost:
    known = settings.compute_hosts
    for host in known:
        if wanted.destination in (host.name, host.uri, host.live_migration_uri):
            return host
    if "://" not in wanted.destination:
        names = ", ".join(host.name for host in known if host.name is not None)
        raise Failure(
            f"there is no compute host {wanted.destination!r}; name one of [libvirt] hosts "
            f"({names or 'there are none'}), or a libvirt URI such as qemu+ssh://kvm2/system"
        )
    if wanted.address is None:
        raise Failure(
            f"{wanted.destination} is no compute host of the configuration; say with --address "
            "where the domain's serial ports shall listen there"
        )
    client = LibvirtClient(wanted.destination)
    try:
        name = client.hostname()
    finally:
        client.close()
    return LibvirtHost(
        name,
        wanted.destination,
        wanted.address,
        settings.serial_console.port_range,
        live_migration_inbound_addr=wanted.inbound_address,
    )


def _driver(settings: Settings, host: LibvirtHost) -> LibvirtDriver:
    project = settings.libvirt.default_project
    address = host.proxyclient_address
    return LibvirtDriver(host.uri, host.name, address, project, InlineWorker(), Clock())


def _site(
    host: LibvirtHost, driver: LibvirtDriver, other: LibvirtDriver, database: CellDatabase
) -> Site:
    books = PortKeeper(driver, database, host.port_range)
    rows = InstanceKeeper(driver, database, OtherHosts([other]).have)
    address = host.proxyclient_address
    return Site(
        name=driver.host or host.label,
        uri=host.uri,
        peer_uri=host.live_migration_uri or host.uri,
        inbound_address=host.live_migration_inbound_addr,
        address=address,
        ports=PortAllocator(
            database=database,
            settled=books.settled,
            address=address,
            ports=host.port_range,
            worker=InlineWorker(),
            is_free=port_test(host.uri, address),
            foreign=ForeignPorts(time.monotonic),
        ),
        noted=(rows.reconcile, books.reconcile),
    )
