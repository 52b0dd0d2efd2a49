"""consoled.db.registration: consoles that a foreign token names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from attrs import define, evolve, field
from cells import PLACE, instance, memory_database, outcome
from sqlalchemy import func, select
from twisted.internet.defer import Deferred

from consoled.db import tables
from consoled.db.database import CellDatabase
from consoled.db.registration import ConsoleRegistrar, look
from consoled.errors import Conflict
from consoled.model import Console, Instance, InstanceState

T = TypeVar("T")


@define
class Counted:
    """A cell database that counts the transactions which may write."""

    cell: CellDatabase = field(factory=memory_database)
    writes: int = 0

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """Counts it, and runs it."""
        self.writes += 1
        return self.cell.run(fn, *args)

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """Only runs it."""
        return self.cell.read(fn, *args)


@pytest.fixture
def database() -> Counted:
    return Counted()


@pytest.fixture
def registrar(database: Counted) -> ConsoleRegistrar:
    return ConsoleRegistrar(database, "static")


def register(registrar: ConsoleRegistrar, one: Instance) -> int:
    return outcome(registrar.register(one, one.consoles[0]))


def known(database: Counted, one: Instance) -> int | None:
    return outcome(database.read(look, one, one.consoles[0], PLACE[1], "static"))


def leases(database: Counted) -> int:
    statement = select(func.count()).select_from(tables.console_leases)
    return outcome(database.read(lambda connection: connection.scalar(statement)))


def test_a_console_is_written_once(database: Counted, registrar: ConsoleRegistrar) -> None:
    """The first time makes instance, console and lease; then a look is enough."""
    assert [register(registrar, instance()) for _ in range(3)] == [1, 1, 1]
    assert (database.writes, leases(database)) == (1, 1)


def test_what_changed_is_written(database: Counted, registrar: ConsoleRegistrar) -> None:
    """A new state of the instance is kept without a new generation, a new place gets one."""
    register(registrar, instance())
    paused = evolve(instance(), state=InstanceState.PAUSED)
    assert (register(registrar, paused), database.writes) == (1, 2)
    assert known(database, paused) == 1
    assert known(database, instance()) is None
    moved = instance(place=("127.0.0.1", 10001))
    assert (register(registrar, moved), database.writes) == (1, 3)
    assert (register(registrar, instance()), leases(database)) == (2, 1)


def test_the_next_owner_of_a_place(database: Counted, registrar: ConsoleRegistrar) -> None:
    """A console takes the place from another one, whose own tokens then open nothing."""
    register(registrar, instance(1))
    assert register(registrar, instance(2)) == 2
    assert known(database, instance(1)) is None
    assert known(database, instance(2)) == 2
    assert leases(database) == 2


def test_a_console_without_a_port(registrar: ConsoleRegistrar) -> None:
    """There is nothing to lease."""
    bare = evolve(instance(), consoles=(Console(0, "127.0.0.1", None),))
    with pytest.raises(Conflict, match="has no port now"):
        register(registrar, bare)
