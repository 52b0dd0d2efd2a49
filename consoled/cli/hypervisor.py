"""The hypervisor of a configuration, asked by this process itself: nothing runs beside it.

The parts are the daemon's, with workers that work at once, so that each Deferred has fired
when it is returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure as Failed

from consoled.cli.failure import Failure
from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.configuring import DomainConfigurator
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_tests import port_test
from consoled.compute.ports import PortAllocator
from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.settings import Settings
from consoled.workers import InlineWorker

T = TypeVar("T")


@contextmanager
def configurator(settings: Settings) -> Iterator[DomainConfigurator]:
    """Configures the domains of ``[libvirt] uri``, with the ports of the cell database.

    :raises consoled.cli.failure.Failure: another driver is configured, or libvirt is away.
    :raises consoled.errors.ConsoledError: the database cannot be used.
    """
    if settings.default.driver != "libvirt":
        raise Failure(
            f"[DEFAULT] driver is {settings.default.driver}, which has no domains; name the "
            "configuration of a daemon with driver = libvirt"
        )
    uri, address = settings.libvirt.uri, settings.serial_console.proxyclient_address
    worker, clock = InlineWorker(), Clock()
    driver = LibvirtDriver(uri, None, address, settings.libvirt.default_project, worker, clock)
    engine = make_engine(settings.database.connection)
    try:
        driver.client.hostname()
        schema.check(engine)
        ports = settings.serial_console.port_range
        database = CellDatabase(engine, worker)
        keeper = PortKeeper(driver, database, ports, clock)
        allocator = PortAllocator(
            database=database,
            settled=keeper.settled,
            address=address,
            ports=ports,
            worker=worker,
            is_free=port_test(uri, address),
            foreign=ForeignPorts(time.monotonic),
        )
        yield DomainConfigurator(
            client=driver.client,
            asking=Asker(f"libvirt at {uri}", worker, clock, 0.0),
            ports=allocator,
            address=address,
            noted=keeper.reconcile,
            opens_tls=settings.libvirt.chardev_tls_ca is not None,
        )
    except ClientError as error:
        raise Failure(f"libvirt at {uri} cannot be asked: {error}") from None
    finally:
        driver.client.close()
        engine.dispose()


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
