"""consoled.db.replicas: the conditional statements of a replica's life."""

from __future__ import annotations

from cells import memory_database, outcome
from lease_world import WEB, make_consoles
from sqlalchemy import Connection, select

from consoled.db import leases, replicas, tables
from consoled.db.database import CellDatabase
from consoled.leasing.values import Claim, ConsoleKey, Holder, Peer

KEY = ConsoleKey(WEB, 0)


def register(cell: CellDatabase, replica_id: str, former: str | None = None) -> bool:
    return outcome(cell.run(replicas.register, replica_id, "lab", "http://a/", former))


def known(cell: CellDatabase) -> dict[str, tuple[int, bool]]:
    def read(connection: Connection) -> dict[str, tuple[int, bool]]:
        table = tables.replicas
        rows = connection.execute(select(table.c.id, table.c.beat, table.c.dead))
        return {row.id: (row.beat, row.dead) for row in rows}

    return outcome(cell.read(read))


def test_a_life() -> None:
    """Registered, beating, ended: and nothing brings it back."""
    cell = memory_database()
    assert register(cell, "a")
    assert outcome(cell.run(replicas.beat, "a")) is True
    assert known(cell) == {"a": (1, False)}
    outcome(cell.run(replicas.end, "a"))
    assert outcome(cell.run(replicas.beat, "a")) is False
    assert register(cell, "a") is False
    assert known(cell) == {"a": (1, True)}


def test_an_unknown_replica_does_not_beat() -> None:
    """A row that is gone means dead."""
    assert outcome(memory_database().run(replicas.beat, "a")) is False


def test_registering_again_after_an_unknown_commit() -> None:
    """The first one had landed: it counts as a beat, and there is one row."""
    cell = memory_database()
    assert register(cell, "a")
    assert register(cell, "a")
    assert known(cell) == {"a": (1, False)}


def test_death_is_declared_on_the_beat_that_was_seen() -> None:
    """A beat in between saves it; a second declaration does nothing."""
    cell = memory_database()
    register(cell, "a")
    (seen,) = outcome(cell.read(replicas.peers))
    assert seen == Peer("a", 0)
    outcome(cell.run(replicas.beat, "a"))
    assert outcome(cell.run(replicas.declare_dead, seen)) is False
    assert outcome(cell.run(replicas.declare_dead, Peer("a", 1))) is True
    assert outcome(cell.run(replicas.declare_dead, Peer("a", 1))) is False
    assert outcome(cell.read(replicas.peers)) == ()


def test_a_new_incarnation_ends_the_former() -> None:
    """What the former still holds stays its own, for whoever takes it from the dead."""
    cell = memory_database()
    outcome(cell.run(make_consoles, 1))
    register(cell, "a-1")
    outcome(cell.run(leases.take, Claim(KEY, "a-1", "s", 1), None, Holder()))
    register(cell, "a-2", former="a-1")
    assert known(cell) == {"a-1": (0, True), "a-2": (0, False)}


def test_the_dead_that_hold_nothing_are_forgotten() -> None:
    """The table does not grow with each start."""
    cell = memory_database()
    for number in range(1, 5):
        register(cell, f"a-{number}", former=f"a-{number - 1}")
    assert known(cell) == {"a-4": (0, False)}
