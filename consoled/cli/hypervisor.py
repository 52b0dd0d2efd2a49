"""The hypervisor of a configuration, asked by this process itself: nothing runs beside it.

The parts are the daemon's, with workers that work at once, so that each Deferred has fired
when it is returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure as Failed

from consoled.cli.compute_host import answers, host_of
from consoled.cli.failure import Failure
from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import ClientError, LibvirtClient
from consoled.compute.libvirt.configuring import DomainConfigurator
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.libvirt.starting import DomainStarter
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_tests import port_test
from consoled.compute.ports import PortAllocator
from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.settings import LibvirtHost, Settings
from consoled.workers import InlineWorker

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for libvirt to answer at first: somebody may have to type a password for SSH."""


@frozen
class Hypervisor:
    """A compute host, with the books of its ports.

    :ivar place: its section of the configuration.
    """

    place: LibvirtHost
    client: LibvirtClient
    asker: Asker
    keeper: PortKeeper
    allocator: PortAllocator


@contextmanager
def configurator(
    settings: Settings, domain: str, host: str | None = None
) -> Iterator[DomainConfigurator]:
    """Configures a domain where it is, with the ports of the cell database.

    :raises consoled.cli.failure.Failure: as of :func:`hypervisor_of`.
    :raises consoled.errors.ConsoledError: the database cannot be used.
    """
    with hypervisor_of(settings, domain, host) as found:
        yield DomainConfigurator(
            client=found.client,
            asking=found.asker,
            ports=found.allocator,
            address=found.place.proxyclient_address,
            noted=found.keeper.reconcile,
            opens_tls=settings.libvirt.chardev_tls_ca is not None,
        )


@contextmanager
def starter(settings: Settings, domain: str, host: str | None = None) -> Iterator[DomainStarter]:
    """Starts a domain where it is; as :func:`configurator`."""
    with hypervisor_of(settings, domain, host) as found:
        address = found.place.proxyclient_address
        yield DomainStarter(
            found.client, found.asker, found.allocator, address, found.keeper.reconcile
        )


@contextmanager
def hypervisor_of(settings: Settings, domain: str, host: str | None = None) -> Iterator[Hypervisor]:
    """The compute host that has a domain.

    :param host: its name; None looks for the domain on all.
    :raises consoled.cli.failure.Failure: another driver is configured, there is no such host,
        the domain is on several or on none of them, or libvirt is away.
    :raises consoled.errors.ConsoledError: the database cannot be used.
    """
    if settings.default.driver != "libvirt":
        raise Failure(
            f"[DEFAULT] driver is {settings.default.driver}, which has no domains; name the "
            "configuration of a daemon with driver = libvirt"
        )
    place = host_of(settings.compute_hosts, domain, host)
    uri, address, ports = place.uri, place.proxyclient_address, place.port_range
    worker, clock = InlineWorker(), Clock()
    project = settings.libvirt.default_project
    driver = LibvirtDriver(uri, place.name, address, project, worker, clock)
    engine = make_engine(settings.database.connection)
    try:
        hello(driver.client, uri)
        schema.check(engine)
        database = CellDatabase(engine, worker)
        keeper = PortKeeper(driver, database, ports)
        allocator = PortAllocator(
            database=database,
            settled=keeper.settled,
            address=address,
            ports=ports,
            worker=worker,
            is_free=port_test(uri, address),
            foreign=ForeignPorts(time.monotonic),
        )
        asker = Asker(f"libvirt at {uri}", worker, clock, 0.0)
        yield Hypervisor(place, driver.client, asker, keeper, allocator)
    except ClientError as error:
        raise Failure(f"libvirt at {uri} cannot be asked: {error}") from None
    finally:
        driver.client.close()
        engine.dispose()


def hello(client: LibvirtClient, uri: str) -> str:
    """The hypervisor's own name, by which its client is connected.

    :raises consoled.cli.failure.Failure: there is no answer within :data:`PATIENCE`.
    :raises consoled.compute.libvirt.client.ClientError: libvirt is away.
    """
    # libvirt's open() may never return, and meanwhile not even ^C would end this thread.
    answer = answers({uri: client.hostname}, PATIENCE)[uri]
    if isinstance(answer, TimeoutError):
        raise Failure(f"libvirt at {uri} does not answer within {PATIENCE:g} s")
    if isinstance(answer, Exception):
        raise answer
    return answer


def outcome(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with.

    :raises Exception: the error that it has fired with.
    """
    found: list[Any] = []
    deferred.addBoth(found.append)
    [result] = found
    if isinstance(result, Failed):
        result.raiseException()
    value: T = result
    return value
