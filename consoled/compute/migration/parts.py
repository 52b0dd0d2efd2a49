"""Migrations between the compute hosts of a configuration, put together."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred, fail

from consoled.compute.hosts import ComputeHost, ComputeHosts
from consoled.compute.migration.engine import ThreadedEngine
from consoled.compute.migration.migrator import Migrator, Site
from consoled.compute.migration.replanning import Replanning
from consoled.compute.migration.values import Migration
from consoled.errors import BadRequest, Unavailable
from consoled.model import Instance
from consoled.openstack.values import UserToken


@frozen
class HostMigrations:
    """What the API asks: migrations of instances to hosts by their names.

    :ivar replanning: plans the ports of instances again when they have come; None where their
        images cannot be asked about later.
    """

    hosts: ComputeHosts
    migrator: Migrator
    replanning: Replanning | None = None

    @classmethod
    def of(
        cls,
        hosts: ComputeHosts,
        reactor: Any,
        *,
        tls: bool,
        replanning: Replanning | None = None,
    ) -> Self:
        """Between these hosts; no thread runs before there is one.

        :param tls: whether guests' memory goes over TLS.
        """
        return cls(hosts, Migrator(ThreadedEngine(reactor), tls=tls), replanning)

    def start(
        self,
        instance: Instance,
        destination: str,
        facts: dict[str, Any],
        user: UserToken | None = None,
    ) -> Deferred[Migration]:
        """Begins one.

        :param destination: the name of the host that it goes to.
        :param facts: for the log: who wants it.
        :param user: the token of who wants it, where it is one of Keystone's.
        :raises consoled.errors.ConsoledError: as of :meth:`Migrator.start`, and
            ``BadRequest`` where there is no such host.
        """
        there = next((host for host in self.hosts if host.name == destination), None)
        if there is None:
            names = ", ".join(host.name for host in self.hosts if host.name is not None)
            return fail(
                BadRequest(
                    f"This daemon has no compute host of that name; it has {names or 'none'}."
                )
            )
        here = self._source(instance)
        if here is None:
            return fail(
                Unavailable(
                    f"The domain is on compute host {instance.host}, which another daemon serves."
                )
            )
        afterwards = (
            None
            if self.replanning is None
            else self.replanning.of(user, lambda: there.domains.configurator)
        )
        site = _site(there, destination)
        return self.migrator.start(instance.uuid, here, site, facts, afterwards)

    def find(self, instance: Instance) -> Deferred[Migration]:
        """The instance's latest one (:meth:`Migrator.find`)."""
        return self.migrator.find(instance.uuid, instance.name, self._source(instance))

    def cancel(self, instance: Instance) -> Deferred[Migration]:
        """Asks for its end (:meth:`Migrator.cancel`)."""
        return self.migrator.cancel(instance.uuid, instance.name, self._source(instance))

    def _source(self, instance: Instance) -> Site | None:
        here = self.hosts.named(instance.host)
        return None if here is None else _site(here, instance.host)


def _site(host: ComputeHost, name: str) -> Site:
    configured = host.configured
    return Site(
        name=name,
        uri=host.uri,
        peer_uri=configured.live_migration_uri or host.uri,
        inbound_address=configured.live_migration_inbound_addr,
        address=host.address,
        ports=host.ports.allocator,
        noted=(host.watch.keeper.reconcile, host.ports.keeper.reconcile),
    )
