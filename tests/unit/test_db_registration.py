"""consoled.db.registration: consoles that a foreign token names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
from attrs import define, evolve, field
from cells import instance, memory_database, outcome
from sqlalchemy import Connection, func, select
from twisted.internet.defer import Deferred

from consoled.db import tables
from consoled.db.database import CellDatabase
from consoled.db.registration import ConsoleRegistrar, look, record_all
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
    console = one.consoles[0]
    return outcome(database.read(look, one, console, console.port, "static"))


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


def test_a_console_without_a_port(database: Counted, registrar: ConsoleRegistrar) -> None:
    """It has a place and a lease like any other; any number of them are on one host."""
    one, two = (evolve(instance(n), consoles=(Console(0, "kvm1", None),)) for n in (1, 2))
    assert [register(registrar, pty) for pty in (one, two, one)] == [1, 2, 1]
    assert leases(database) == 2
    assert register(registrar, evolve(one, consoles=(Console(0, "kvm2", None),))) == 1
    assert register(registrar, one) == 3


def test_a_displaced_console_is_not_one_without_a_port(
    database: Counted, registrar: ConsoleRegistrar
) -> None:
    """Even where a host's name is its address: what has lost its port is recorded anew."""
    register(registrar, instance(1))
    register(registrar, instance(2))
    host = instance(1).consoles[0].host
    pty = evolve(instance(1), consoles=(Console(0, host, None),))
    assert known(database, pty) is None
    assert register(registrar, pty) == 1
    assert known(database, pty) == 1


def test_many_at_once_are_as_one_after_another() -> None:
    """Known ones, new ones, and one that takes another's place: the generations agree."""
    second = instance(2, place=("127.0.0.1", 10001))
    taken = instance(3, place=("127.0.0.1", 10001))
    order = [instance(1), second, taken, instance(1), second]

    def together(connection: Connection) -> list[int]:
        places = [(one, one.consoles[0], one.consoles[0].port or 0) for one in order]
        return record_all(connection, places, "static")

    at_once, in_turn = Counted(), ConsoleRegistrar(Counted(), "static")
    assert outcome(at_once.run(together)) == [register(in_turn, one) for one in order]
    assert outcome(at_once.run(together))[0] == 1
    assert known(at_once, taken) is None
    assert known(at_once, second) == 5


def test_many_known_ones_are_one_look(database: Counted, registrar: ConsoleRegistrar) -> None:
    """However many tokens are issued together, one statement finds all of their consoles."""
    order = [instance(number, place=("127.0.0.1", 10000 + number)) for number in range(1, 6)]
    for one in order:
        register(registrar, one)
    statements: list[str] = []
    places = [(one, one.consoles[0], one.consoles[0].port or 0) for one in order]

    def watched(connection: Connection) -> list[int]:
        cast(Any, connection.connection).set_trace_callback(statements.append)
        try:
            return record_all(connection, places, "static")
        finally:
            cast(Any, connection.connection).set_trace_callback(None)

    assert outcome(database.read(watched)) == [1] * 5
    assert sum(statement.startswith("SELECT") for statement in statements) == 1
