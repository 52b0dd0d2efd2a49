"""Keeps the rows of instances in step with the domains of a compute host.

A look reads the rows, then the domains, and writes what differs. Another replica may do the
same at that moment: both write the same. The rules are :mod:`consoled.compute.following`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger

from consoled.compute.following import Differences, differences
from consoled.db import instances, moving
from consoled.errors import NotFound
from consoled.interfaces import Database, DomainDriver
from consoled.model import Instance

T = TypeVar("T")

TOGETHER = 100
"""Rows in one transaction; the heartbeat of a replica waits for it."""


Elsewhere = Callable[[Sequence[str]], Deferred[frozenset[str]]]
"""Asked for uuids."""


def _nowhere_else(uuids: Sequence[str]) -> Deferred[frozenset[str]]:
    """There is no other compute host."""
    return succeed(frozenset())


@define(eq=False)
class InstanceKeeper:
    """The instances of one compute host.

    :ivar driver: knows the domains.
    :ivar elsewhere: which of these other compute hosts of the cell have, or may have while they
        are away. Their rows stay, with the tokens: a migration ends here before, or after, the
        other host's own look takes the row over.
    """

    driver: DomainDriver
    database: Database
    elsewhere: Elsewhere = _nowhere_else
    _log: Logger = field(factory=Logger, init=False)
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False)

    def reconcile(self, uuid: str | None = None) -> Deferred[Differences]:
        """Makes the rows agree with the domains.

        With the row of a domain that is gone its consoles, leases and tokens go; sessions that
        are still open there hear of it from their lease.

        :param uuid: of this domain only.
        :returns: what was done; ``missed`` are those that are gone.
        :raises consoled.errors.Unavailable: the database or the hypervisor is away.
        """
        return self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._reconcile(None if uuid is None else uuid.lower()))
        )

    async def _reconcile(self, uuid: str | None) -> Differences:
        host = await self.driver.compute_host()
        # Before the domains: one that is defined after this look is not missed by it.
        rows = await self.database.read(instances.rows, uuid)
        found = await self._found(uuid)
        plan = differences(
            [(one, instances.row(one, self.driver.name)) for one in found],
            rows,
            host=host,
            driver=self.driver.name,
        )
        gone = await self._gone(plan.missed) if plan.missed else ()
        done = Differences(
            tuple(await self._together(self._put, plan.changed)),
            tuple(await self._together(lambda some: self._remove(host, some), gone)),
        )
        self._tell(host, done, rows)
        return done

    async def _gone(self, missed: Sequence[str]) -> Sequence[str]:
        gone = await self.driver.gone(missed)
        kept = await self.elsewhere(gone) if gone else frozenset()
        return [uuid for uuid in gone if uuid not in kept]

    async def _found(self, uuid: str | None) -> Sequence[Instance]:
        if uuid is None:
            return await self.driver.instances()
        try:
            return [await self.driver.instance(uuid)]
        except NotFound:
            return []

    def _put(self, some: Sequence[Instance]) -> Deferred[list[Instance]]:
        return self.database.run(moving.settle_all, some, self.driver.name)

    def _remove(self, host: str, some: Sequence[str]) -> Deferred[list[str]]:
        return self.database.run(instances.remove_from, host, self.driver.name, some)

    async def _together(
        self, change: Callable[[Sequence[T]], Deferred[list[T]]], wanted: Sequence[T]
    ) -> list[T]:
        done: list[T] = []
        for start in range(0, len(wanted), TOGETHER):
            done += await change(wanted[start : start + TOGETHER])
        return done

    def _tell(self, host: str, done: Differences, rows: dict[str, dict[str, Any]]) -> None:
        new = [one for one in done.changed if one.uuid not in rows]
        if len(new) == 1:
            self._log.info(
                "instance {instance_uuid}, {name}, is new on {host}",
                event="instance_found",
                instance_uuid=new[0].uuid,
                name=new[0].name,
                host=host,
            )
        elif new:
            self._log.info(
                "{count} instances are new on {host}",
                event="instances_found",
                count=len(new),
                host=host,
            )
        for one in done.changed:
            if one.uuid in rows:
                self._log.info(
                    "instance {instance_uuid}, {name}, of {host}: {changes}",
                    event="instance_changed",
                    instance_uuid=one.uuid,
                    name=one.name,
                    host=host,
                    changes=_changes(rows[one.uuid], instances.row(one, self.driver.name)),
                )
        for uuid in done.missed:
            self._log.info(
                "instance {instance_uuid}, {name}, of {host} is gone, and its consoles and "
                "tokens with it",
                event="instance_gone",
                instance_uuid=uuid,
                name=rows[uuid]["name"],
                host=host,
            )


def _changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    """``state running -> stopped``, for an operator."""
    words = [
        f"{name} {before[name]} -> {after[name]}"
        for name in ("name", "project_id", "host", "state")
        if before[name] != after[name]
    ]
    return ", ".join(words) or "other metadata"
