"""What the rows of instances should say, given what the hypervisor says. Pure.

An instance has one row in the cell, whichever of its hosts tell of it. While a domain is
defined on two hosts (it is being migrated, or was copied), the row is that of the host where
it was first; one where it runs takes the row over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from consoled.model import Instance, InstanceState

Row = Mapping[str, Any]


@frozen
class Differences:
    """What has to be done.

    :ivar changed: instances whose row is missing or says something else.
    :ivar missed: uuids of this host's rows whose domain was not found: it is gone, or could
        not be read.
    """

    changed: tuple[Instance, ...] = ()
    missed: tuple[str, ...] = ()


def differences(
    found: Sequence[tuple[Instance, Row]], rows: Mapping[str, Row], *, host: str, driver: str
) -> Differences:
    """What makes the rows agree with the domains.

    :param found: the instances that were looked for, each with the row that it should have.
    :param rows: those that there are of what was looked for, of whatever host, by uuid.
    :param host: the compute host that was asked.
    :param driver: the word of ``[DEFAULT] driver``.
    """
    here = {instance.uuid for instance, _ in found}
    return Differences(
        changed=tuple(
            instance
            for instance, wanted in found
            if rows.get(instance.uuid) != wanted and _is_ours(instance, rows.get(instance.uuid))
        ),
        missed=tuple(
            uuid
            for uuid, row in rows.items()
            if uuid not in here and (row["host"], row["driver"]) == (host, driver)
        ),
    )


def foremost(found: Sequence[Instance], home: str | None) -> Instance:
    """The one that counts of an instance that several hosts tell of.

    :param found: at least one.
    :param home: the host that the row names.
    """
    return max(found, key=lambda one: (_LIFE.index(one.state), one.host == home))


_LIFE = (InstanceState.STOPPED, InstanceState.PAUSED, InstanceState.RUNNING)


def _is_ours(instance: Instance, row: Row | None) -> bool:
    return row is None or row["host"] == instance.host or instance.state is InstanceState.RUNNING
