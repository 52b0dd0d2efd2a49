"""consoled.compute.instance_keeper: the rows follow the domains, and tokens go with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from attrs import Factory, define, evolve, field
from cells import ALICE, instance, memory_database, outcome
from sqlalchemy import Connection, func, select
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, capturedLogs, formatEvent

from consoled.compute.following import Differences
from consoled.compute.instance_keeper import TOGETHER, InstanceKeeper
from consoled.db import instances
from consoled.db.database import CellDatabase
from consoled.db.tables import console_auth_tokens, console_ports
from consoled.errors import NotFound, Unavailable
from consoled.model import Instance, InstanceState
from consoled.tokens.database import DatabaseAuthority

WEB, SHOP = instance(1), instance(2, name="shop", place=("127.0.0.1", 10001))


@define(eq=False)
class Hypervisor:
    """Implements :class:`consoled.interfaces.DomainDriver` as far as it is asked.

    :ivar unreadable: uuids of domains whose XML cannot be read.
    """

    found: list[Instance] = Factory(list)
    unreadable: set[str] = Factory(set)
    away: bool = False
    name: str = "libvirt"

    def compute_host(self) -> Deferred[str]:
        """Its name."""
        return fail(Unavailable("away")) if self.away else succeed("rack1")

    def instances(self) -> Deferred[Sequence[Instance]]:
        """Those that can be read."""
        return succeed([one for one in self.found if one.uuid not in self.unreadable])

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One of them."""
        for one in self.found:
            if one.uuid == uuid and uuid not in self.unreadable:
                return succeed(one)
        return fail(NotFound("gone"))

    def gone(self, uuids: Sequence[str]) -> Deferred[tuple[str, ...]]:
        """Those that are not there at all."""
        there = {one.uuid for one in self.found}
        return succeed(tuple(uuid for uuid in uuids if uuid not in there))

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Nothing to read again."""
        return succeed(None)


@define(eq=False)
class World:
    """A keeper with its two sides."""

    hypervisor: Hypervisor = Factory(Hypervisor)
    database: CellDatabase = Factory(memory_database)
    keeper: InstanceKeeper = field(init=False)

    @keeper.default
    def _keeper(self) -> InstanceKeeper:
        return InstanceKeeper(self.hypervisor, self.database)

    def reconcile(self, uuid: str | None = None) -> Differences:
        """One look."""
        return outcome(self.keeper.reconcile(uuid))

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the cell has."""
        return outcome(self.database.read(instances.rows))

    def states(self) -> dict[str, str]:
        """The states in the rows, by name."""
        return {row["name"]: row["state"] for row in self.rows().values()}


@pytest.fixture
def world() -> World:
    """An empty host and an empty cell."""
    return World()


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What is logged in the test."""
    with capturedLogs() as captured:
        yield captured


def told(events: list[LogEvent]) -> list[str | None]:
    """The lines for operators."""
    return [formatEvent(event) for event in events if "event" in event]


def count(connection: Connection) -> tuple[int, int]:
    """How many consoles and tokens the cell knows."""
    consoles, tokens = (
        connection.scalar(select(func.count()).select_from(table)) or 0
        for table in (console_ports, console_auth_tokens)
    )
    return consoles, tokens


def test_rows_come_change_and_go(world: World, events: list[LogEvent]) -> None:
    """With one line each that says what changed; nothing is said or written twice."""
    world.hypervisor.found = [WEB]
    world.reconcile()
    assert world.rows() == {WEB.uuid: instances.row(WEB, "libvirt")}
    stopped = evolve(WEB, name="www", state=InstanceState.STOPPED, consoles=())
    world.hypervisor.found = [stopped]
    for _ in range(2):
        world.reconcile(WEB.uuid.upper())
    assert world.rows() == {WEB.uuid: instances.row(stopped, "libvirt")}
    world.hypervisor.found = []
    assert world.reconcile() == Differences(missed=(WEB.uuid,))
    assert world.rows() == {}
    assert told(events) == [
        f"instance {WEB.uuid}, web, is new on rack1",
        f"instance {WEB.uuid}, www, of rack1: name web -> www, state running -> stopped",
        f"instance {WEB.uuid}, www, of rack1 is gone, and its consoles and tokens with it",
    ]


def test_consoles_and_tokens_go_with_their_domain(world: World) -> None:
    """Those of other domains stay."""
    world.hypervisor.found = [WEB, SHOP]
    authority = DatabaseAuthority(world.database, 600, "libvirt", single_use=False)
    for one in (WEB, SHOP):
        outcome(authority.issue(one, one.consoles[0], ALICE, "http://console.example.org/"))
    assert outcome(world.database.read(count)) == (2, 2)
    world.hypervisor.found = [SHOP]
    world.reconcile(WEB.uuid)
    assert outcome(world.database.read(count)) == (1, 1)


def test_a_look_at_one_domain_leaves_the_others(world: World) -> None:
    """Whatever has become of them: their own events tell."""
    world.hypervisor.found = [WEB, SHOP]
    world.reconcile()
    world.hypervisor.found = [evolve(WEB, state=InstanceState.PAUSED)]
    world.reconcile(WEB.uuid)
    assert world.states() == {"web": "paused", "shop": "running"}


def test_a_domain_that_cannot_be_read_is_not_gone(world: World) -> None:
    """Its row stays as it was, tokens included."""
    world.hypervisor.found = [WEB]
    world.reconcile()
    world.hypervisor.unreadable = {WEB.uuid}
    for uuid in (None, WEB.uuid):
        assert world.reconcile(uuid) == Differences()
    assert world.states() == {"web": "running"}


def test_many_at_once(world: World, events: list[LogEvent]) -> None:
    """In several transactions, with one line in the log."""
    world.hypervisor.found = [instance(n, name=f"vm-{n}") for n in range(2 * TOGETHER + 1)]
    world.reconcile()
    assert len(world.rows()) == 2 * TOGETHER + 1
    assert told(events) == [f"{2 * TOGETHER + 1} instances are new on rack1"]
    world.hypervisor.found = []
    world.reconcile()
    assert world.rows() == {}


def test_a_hypervisor_that_is_away_takes_nothing_away(world: World) -> None:
    """No answer is no news."""
    world.hypervisor.found = [WEB]
    world.reconcile()
    world.hypervisor.away = True
    with pytest.raises(Unavailable):
        world.reconcile()
    assert world.states() == {"web": "running"}
