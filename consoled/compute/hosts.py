"""The compute hosts of ``driver = libvirt``, each with everything that is its own.

Nothing is shared but libvirt's event loop: threads, connections and the books of ports are
each host's, so that one that is away, or hangs, keeps nobody else waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.libvirt.configuring import DomainConfigurator
from consoled.compute.libvirt.domain_parts import DomainParts
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.libvirt.events import EventLoop
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.libvirt.watch_parts import WatchParts
from consoled.compute.many_hosts import ManyHosts
from consoled.compute.other_hosts import OtherHosts
from consoled.compute.port_keeper import PortCount
from consoled.compute.port_parts import PortParts
from consoled.compute.rounds import Look
from consoled.errors import Unavailable
from consoled.interfaces import ConsoleDriver, Database
from consoled.model import Instance
from consoled.service import Part
from consoled.settings import LibvirtHost, Settings

log = Logger()

MONITORS = 4
"""Threads of a host for questions to its guests' own monitors."""


@frozen(eq=False)
class ComputeHost:
    """One compute host.

    :ivar configured: its section of the configuration.
    :ivar ports: the books of its ports, and their allocator.
    :ivar domains: configures its domains.
    :ivar watch: follows its domains.
    """

    configured: LibvirtHost
    driver: LibvirtDriver
    ports: PortParts
    domains: DomainParts
    watch: WatchParts

    @property
    def name(self) -> str | None:
        """The ``host`` of its instances and ports; None until libvirt has said it."""
        return self.configured.name or self.driver.host

    @property
    def uri(self) -> str:
        """libvirt's URI of it."""
        return self.configured.uri

    @property
    def address(self) -> str:
        """Where its serial ports listen and are dialled."""
        return self.configured.proxyclient_address

    @property
    def parts(self) -> tuple[Part, ...]:
        """What starts and stops, in this order."""
        return (*self.ports.parts, self.domains.part, *self.watch.parts)


@frozen(eq=False)
class ComputeHosts:
    """All compute hosts of the cell that this daemon serves.

    :ivar hosts: in the order of the configuration.
    """

    hosts: Sequence[ComputeHost]
    _loop: EventLoop = field(factory=EventLoop)

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        drivers: Sequence[LibvirtDriver],
        database: Database,
        *,
        count: PortCount,
        scout: Callable[[LibvirtDriver], Look],
    ) -> Self:
        """Those of the configuration; no thread runs yet.

        :param drivers: of each (:func:`host_drivers`).
        :param count: shows how many ports of each are free.
        :param scout: of several hosts, what looks there for guests that come from another one.
        """
        hosts = []
        for host, driver in zip(settings.compute_hosts, drivers, strict=True):
            ports = PortParts.of(host, reactor, driver, database, count)
            domains = DomainParts.of(settings, host, reactor, ports)
            others = [other for other in drivers if other is not driver]
            keeper = InstanceKeeper(driver, database, OtherHosts(others).have)
            looks: list[Look] = [keeper.reconcile, ports.keeper.reconcile]
            watch = WatchParts.of(
                host, reactor, keeper, [scout(driver), *looks] if others else looks
            )
            hosts.append(ComputeHost(host, driver, ports, domains, watch))
        return cls(hosts)

    def __iter__(self) -> Iterator[ComputeHost]:
        return iter(self.hosts)

    def named(self, name: str) -> ComputeHost | None:
        """The host of that name, None where it is another daemon's.

        A single host without a configured name is taken for it until libvirt has said its name.
        """
        return next((host for host in self.hosts if host.name in (None, name)), None)

    def configurator(self, instance: Instance) -> DomainConfigurator:
        """Configures the instance's domain, on its host.

        :raises consoled.errors.Unavailable: its host is not one of these.
        """
        host = self.named(instance.host)
        if host is None:
            raise Unavailable(
                f"The domain is on compute host {instance.host}, which another daemon serves."
            )
        return host.domains.configurator

    @property
    def parts(self) -> tuple[Part, ...]:
        """What starts and stops, after the database and before it."""
        return Part(self._loop.start, lambda: None), Part(self._start, self._stop)

    def _start(self) -> None:
        for host in self.hosts:
            for part in host.parts:
                part.start()

    def _stop(self) -> Deferred[None]:
        """All hosts at the same time: each that hangs is waited for a little."""
        ends = [Deferred.fromCoroutine(_end(host)) for host in self.hosts]
        return DeferredList(ends).addCallback(lambda _: None)


async def _end(host: ComputeHost) -> None:
    for part in reversed(host.parts):
        try:
            ended = part.stop()
            if isinstance(ended, Deferred):
                await ended
        except Exception:
            log.failure("a part of compute host {uri} has not stopped", uri=host.uri)


def host_drivers(settings: Settings, reactor: Any) -> tuple[LibvirtDriver, ...]:
    """The driver of each compute host; no thread runs yet.

    :raises consoled.errors.ConfigError: libvirt-python is not installed.
    """

    def thread(host: LibvirtHost, word: str) -> DaemonThread:
        return DaemonThread(reactor, f"libvirt{word}" if host.name is None else host.name + word)

    return tuple(
        LibvirtDriver(
            uri=host.uri,
            host=host.name,
            proxyclient_address=host.proxyclient_address,
            default_project=settings.libvirt.default_project,
            worker=thread(host, ""),
            clock=reactor,
            monitors=[thread(host, f"-monitor-{number}") for number in range(MONITORS)],
        )
        for host in settings.compute_hosts
    )


def over_all(
    drivers: Sequence[LibvirtDriver],
    homes: Callable[[Sequence[str]], Deferred[Mapping[str, str]]],
) -> ConsoleDriver:
    """One driver for the instances of all hosts.

    :param homes: of these instances, the hosts that their rows name.
    """
    if len(drivers) == 1:
        return drivers[0]
    named = {driver.host: driver for driver in drivers if driver.host is not None}
    return ManyHosts(named, homes)
