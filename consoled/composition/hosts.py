"""The compute hosts of a cell, and what is asked of them besides the driver."""

from __future__ import annotations

import hashlib
import socket
from typing import Self

from attrs import frozen

from consoled.composition.inputs import Inputs
from consoled.composition.openstack import Cloud
from consoled.composition.store import Store
from consoled.compute.hosts import ComputeHosts
from consoled.compute.image_source import Questions
from consoled.compute.libvirt.address_parts import AddressParts
from consoled.compute.libvirt.stream_parts import StreamParts
from consoled.compute.migration.parts import HostMigrations
from consoled.compute.migration.replanning import Replanning
from consoled.interfaces import Addresses, Transport
from consoled.openstack.images import ImageProperties
from consoled.proxy.scout import Scout
from consoled.reaching.finding import ListedAddresses
from consoled.service import Part
from consoled.settings import Settings


@frozen(eq=False)
class Hosts:
    """What there is of them; with another driver than libvirt, nothing but listed addresses.

    :ivar hosts: whose domains are watched and configured.
    :ivar migrations: between them.
    :ivar ptys: reaches consoles without a TCP port.
    :ivar addresses: of the instances themselves.
    :ivar images: asks what their images say of serial ports; None without Keystone.
    :ivar parts: to be started after the database, and so stopped before it.
    """

    hosts: ComputeHosts | None
    migrations: HostMigrations | None
    ptys: Transport | None
    addresses: Addresses
    parts: tuple[Part, ...] = ()
    images: Questions | None = None

    @classmethod
    def of(cls, inputs: Inputs, store: Store, cloud: Cloud) -> Self:
        """Those of the configuration; no thread runs yet."""
        if inputs.settings.default.driver == "libvirt":
            return cls._libvirt(inputs, store, cloud)
        return cls(None, None, None, ListedAddresses())

    @classmethod
    def _libvirt(cls, inputs: Inputs, store: Store, cloud: Cloud) -> Self:
        settings, reactor = inputs.settings, inputs.reactor
        hosts = ComputeHosts.of(
            settings,
            reactor,
            inputs.drivers,
            store.database,
            count=store.meters.count_ports,
            scout=lambda driver: Scout(driver, store.sessions).look,
        )

        def uri_of(name: str) -> str | None:
            host = hosts.named(name)
            return None if host is None else host.uri

        streams = StreamParts.of(reactor, uri_of)
        asked = AddressParts.of(settings.compute_hosts, reactor, uri_of)
        tls = settings.libvirt.live_migration_with_native_tls
        calls = cloud.openstack.calls
        images = None if calls is None else ImageProperties(calls, reactor)
        replanning = _replanning(settings, images, cloud)
        start = () if replanning is None else (Part(replanning.start, lambda: None),)
        return cls(
            hosts,
            HostMigrations.of(hosts, reactor, tls=tls, replanning=replanning),
            streams.transport,
            asked.addresses,
            (*hosts.parts, streams.part, asked.part, *start),
            None if images is None else images.asking_soon,
        )

    @property
    def several(self) -> bool:
        """Whether guests may go on at another compute host."""
        return self.hosts is not None and len(self.hosts.hosts) > 1


def _replanning(
    settings: Settings, images: ImageProperties | None, cloud: Cloud
) -> Replanning | None:
    keeper = cloud.openstack.keeper
    if images is None or keeper is None:
        return None
    # The same after a restart, and another one for each daemon of the cell.
    name = f"{socket.gethostname()} {settings.default.state_path}"
    return Replanning(images, keeper, hashlib.sha256(name.encode()).hexdigest()[:16])
