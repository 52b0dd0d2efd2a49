"""Keeps the books of a compute host's ports in step with the XML of its domains.

A round reads the books, then the domains, and changes what differs, as far as it is still as
it was read: another replica may do the same at that moment. The rules are
:mod:`consoled.compute.reconciling`'s; :mod:`consoled.compute.rounds` says when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger

from consoled.compute.port_range import PortRange
from consoled.compute.reconciling import Adoption, Allocation, Clash, Plan, reconcile
from consoled.db import port_rows
from consoled.interfaces import Database, PortNaming

T = TypeVar("T")

TOGETHER = 100
"""Changes in one transaction; the heartbeat of a replica waits for it."""


PortCount = Callable[[str, int, int], object]
"""Told the compute host, its free ports and its used ones."""


def _uncounted(host: str, free: int, used: int) -> None:
    """Nobody wants to know."""


@define(eq=False)
class PortKeeper:
    """The books of one compute host.

    :ivar driver: knows the domains.
    :ivar ports: the host's ``port_range``; domains may name others, which is said.
    :ivar count: told after each look how many of these ports are free, and how many are not.
    """

    driver: PortNaming
    database: Database
    ports: PortRange
    count: PortCount = _uncounted
    _log: Logger = field(factory=Logger, init=False)
    _host: str | None = field(default=None, init=False)
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False)
    _told: frozenset[Clash] = field(default=frozenset(), init=False)

    def settled(self) -> Deferred[str]:
        """The compute host's name, after the first round: from then on the books know every port
        that a domain had before consoled asked.

        :raises consoled.errors.Unavailable: there was none yet, and the database or the
            hypervisor is away.
        """
        if self._host is not None:
            return succeed(self._host)
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._settled()))

    def reconcile(self, uuid: str | None = None) -> Deferred[Plan]:
        """Makes the books agree with the domains: adopts, confirms and takes back.

        :param uuid: only what belongs to, or is named by, this domain: after its definition,
            its end, a change of its XML.
        :returns: what was done, and the clashes that there are.
        :raises consoled.errors.Unavailable: the database or the hypervisor is away.
        """
        return self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._reconcile(None if uuid is None else uuid.lower()))
        )

    async def _settled(self) -> str:
        # A round may have been under way.
        if self._host is None:
            await self._reconcile(None)
        assert self._host is not None
        return self._host

    async def _reconcile(self, uuid: str | None) -> Plan:
        host = await self.driver.compute_host()
        # Before the domains: see reconcile().
        rows = await self.database.read(port_rows.rows, host)
        found = await self.driver.ports_named(uuid)
        plan = reconcile(found.domains, rows, only=uuid)
        done = Plan(
            await self._carry_out(port_rows.release, host, plan.released),
            await self._carry_out(port_rows.confirm, host, plan.confirmed),
            await self._carry_out(port_rows.adopt, host, plan.adopted),
            plan.clashes,
        )
        if uuid is None:
            self._host = host
        self._tell(host, done, everything=uuid is None)
        self._count(host, rows, done)
        return done

    async def _carry_out(
        self, change: Callable[..., list[T]], host: str, wanted: Sequence[T]
    ) -> tuple[T, ...]:
        done: list[T] = []
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            done += await self.database.run(change, host, some)
        return tuple(done)

    def _count(self, host: str, rows: Sequence[Allocation], done: Plan) -> None:
        known = {row.port for row in rows} - {one.row.port for one in done.released}
        known |= {one.named.port for one in done.adopted}
        used = sum(port in self.ports for port in known)
        self.count(host, len(self.ports) - used, used)

    def _tell(self, host: str, done: Plan, *, everything: bool) -> None:
        for one in done.released:
            self._log.info(
                "port {port} of {host} is free again, it was serial port {index} of "
                "{instance_uuid}: {why}",
                event="port_released",
                **_fields(host, one.row.port, one.row.instance_uuid, one.row.index),
                why=one.why,
            )
        for _, of_domain in groupby(
            sorted(done.adopted, key=lambda one: (one.domain.name, one.domain.uuid)),
            key=lambda one: one.domain.uuid,
        ):
            self._tell_adopted(host, list(of_domain))
        for clash in sorted(set(done.clashes) - self._told, key=lambda one: (one.port, one.name)):
            self._log.warn(
                "the XML of {domain} names port {port} of {host} for its serial port {index}, "
                "and {holder} has it: the one that starts last will not; give {domain} another",
                event="port_clash",
                domain=clash.name,
                holder=clash.holder,
                **_fields(host, clash.port, None, clash.index),
            )
        told = frozenset(done.clashes)
        self._told = told if everything else self._told | told

    def _tell_adopted(self, host: str, adopted: list[Adoption]) -> None:
        domain = adopted[0].domain
        ports = sorted(one.named.port for one in adopted)
        outside = [port for port in ports if port not in self.ports]
        self._log.info(
            "{domain} names ports {ports} of {host} in its XML: noted as its own{outside}",
            event="ports_adopted",
            domain=domain.name,
            ports=", ".join(map(str, ports)),
            host=host,
            instance_uuid=domain.uuid,
            outside=f" (outside of {self.ports}: {', '.join(map(str, outside))})" * bool(outside),
        )


def _fields(host: str, port: int, uuid: str | None, index: int) -> dict[str, Any]:
    return {"host": host, "port": port, "instance_uuid": uuid, "index": index}
