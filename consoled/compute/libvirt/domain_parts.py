"""The parts that configure the domains of a libvirt host, put together."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.configuring import DomainConfigurator
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.port_parts import PortParts
from consoled.service import Part
from consoled.settings import LibvirtHost, Settings

TIMEOUT = 10.0
"""Seconds for an answer of libvirt's; to define a domain takes longer than to look at one."""


@frozen
class DomainParts:
    """The domains of one libvirt host.

    :ivar part: what starts and stops: a thread and a connection of their own.
    """

    configurator: DomainConfigurator
    part: Part

    @classmethod
    def of(cls, settings: Settings, host: LibvirtHost, reactor: Any, ports: PortParts) -> Self:
        """For that host; no thread runs yet.

        :param ports: that the domains are given.
        """
        worker = DaemonThread(reactor, f"{host.label}-domains")
        client = LibvirtClient(host.uri)
        asker = Asker(f"libvirt at {host.uri}, to configure domains,", worker, reactor, TIMEOUT)

        def stop() -> Deferred[None]:
            closed = asker.ask(client.close)
            # It does not matter any more whether libvirt answers.
            return closed.addErrback(lambda _: None).addBoth(lambda _: worker.stop())

        configurator = DomainConfigurator(
            client=client,
            asking=asker,
            ports=ports.allocator,
            address=host.proxyclient_address,
            noted=ports.keeper.reconcile,
            opens_tls=settings.libvirt.chardev_tls_ca is not None,
        )
        return cls(configurator, Part(worker.start, stop))
