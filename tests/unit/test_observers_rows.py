"""consoled.db.observers: who watches, as other replicas see it."""

from __future__ import annotations

import pytest
from attrs import evolve
from cells import memory_database, outcome
from lease_world import WEB, make_consoles

from consoled.db import instances, leases, observers, replicas
from consoled.db.database import CellDatabase
from consoled.leasing.values import Claim, ConsoleKey, Holder, LeaseRow, Watcher
from consoled.model import ASKER, OBSERVER, WRITER

KEY, OTHER = ConsoleKey(WEB, 0), ConsoleKey(WEB, 1)
MINE = Claim(KEY, "a", "writer", 1)
NOA = Watcher("w1", Holder("noa", "demo"), lingers=False)
EVA = Watcher("w2", Holder("eva", None), lingers=True)


@pytest.fixture
def cell() -> CellDatabase:
    """A cell with two consoles, of which the replica a has the first."""
    made = memory_database()
    outcome(made.run(make_consoles, 2))
    for name in ("a", "b"):
        outcome(made.run(replicas.register, name, "lab", f"http://{name}/"))
    assert outcome(made.run(leases.take, MINE, None, Holder("mia", "demo")))
    return made


def note(cell: CellDatabase, *watchers: Watcher, claim: Claim = MINE) -> None:
    """That those watch, and nobody else."""
    outcome(cell.run(observers.note, claim, watchers))


def company(cell: CellDatabase, **which: str) -> list[LeaseRow]:
    """Every session."""
    return outcome(cell.read(lambda connection: observers.company(connection, **which)))


def roles(cell: CellDatabase) -> dict[str | None, str]:
    """Every session with its role."""
    return {row.session_id: row.role for row in company(cell)}


def test_everybody_is_listed(cell: CellDatabase) -> None:
    """Whoever writes and whoever watches, each with a name, a state and a place."""
    note(cell, NOA, EVA)
    assert roles(cell) == {"writer": WRITER, "w1": OBSERVER, "w2": OBSERVER}
    [eva] = company(cell, session_id="w2")
    assert (eva.holder, eva.lingers, eva.url) == (Holder("eva", None), True, "http://a/")
    assert eva.since is not None
    assert {row.session_id for row in company(cell, instance_uuid=WEB)} == set(roles(cell))
    assert company(cell, instance_uuid="another") == []
    # What a lease is judged by has one row a console, as ever.
    assert len(outcome(cell.read(leases.held))) == 1


def test_who_asks_is_listed(cell: CellDatabase) -> None:
    """Whoever waits for the console is a session with a role of its own, until it is a writer."""
    ivo = Watcher("w3", Holder("ivo", "demo"), lingers=False, role=ASKER)
    note(cell, NOA, ivo)
    assert roles(cell) == {"writer": WRITER, "w1": OBSERVER, "w3": ASKER}
    note(cell, NOA, evolve(ivo, role=OBSERVER))
    assert roles(cell)["w3"] == OBSERVER
    note(cell, NOA)
    assert "w3" not in roles(cell)


def test_who_waits_ends_before_the_holder(cell: CellDatabase) -> None:
    """So nobody gets the console in the moment between, when an instance is cleared."""
    note(cell, Watcher("w3", Holder("ivo", "demo"), lingers=False, role=ASKER))
    asked = outcome(cell.run(observers.want, "ada", "out", None, WEB))
    assert {row.session_id for row in asked} == {"writer", "w3"}
    news = outcome(cell.read(observers.news, "a"))
    assert [row.session_id for row in news.wanted] == ["w3", "writer"]


def test_who_comes_and_goes(cell: CellDatabase) -> None:
    """A note replaces the one before; who stays keeps what was noted of them."""
    note(cell, NOA)
    outcome(cell.run(observers.want, "ada", "out", "w1"))
    note(cell, Watcher("w1", NOA.holder, lingers=True), EVA)
    [noa] = company(cell, session_id="w1")
    assert (noa.lingers, noa.wanted, noa.wanted_by) == (True, "out", "ada")
    note(cell, EVA)
    assert roles(cell) == {"writer": WRITER, "w2": OBSERVER}
    note(cell)
    assert roles(cell) == {"writer": WRITER}


def test_a_line_without_a_writer(cell: CellDatabase) -> None:
    """The lease names the first who watches; the list has that session once, and as what it is."""
    outcome(cell.run(leases.note, Claim(KEY, "a", "w1", 1), NOA.holder, True))
    note(cell, NOA, EVA)
    assert roles(cell) == {"w1": OBSERVER, "w2": OBSERVER}
    [noa] = company(cell, session_id="w1")
    assert not noa.lingers


@pytest.mark.parametrize("which", [{"session_id": "w1"}, {"instance_uuid": WEB}])
def test_a_disconnect(cell: CellDatabase, which: dict[str, str]) -> None:
    """One who watches can be asked to end, alone or with the instance; the owner hears of it."""
    note(cell, NOA)
    asked = outcome(
        cell.run(lambda connection: observers.want(connection, "ada", "maintenance", **which))
    )
    names = {"w1"} if "session_id" in which else {"writer", "w1"}
    assert {row.session_id for row in asked} == names
    news = outcome(cell.read(observers.news, "a"))
    assert {row.session_id for row in news.wanted} == names
    assert {(row.wanted, row.wanted_by) for row in news.wanted} == {("maintenance", "ada")}
    assert [row.claim for row in news.wanted if row.session_id == "w1"] == [
        Claim(KEY, "a", "w1", 1)
    ]
    assert outcome(cell.read(observers.news, "b")).wanted == ()


def test_what_was_is_not_shown(cell: CellDatabase) -> None:
    """After the console changed hands, or its replica died, nobody sees who watched before."""
    note(cell, NOA)
    outcome(cell.run(leases.release, MINE))
    assert roles(cell) == {}
    again = Claim(KEY, "b", "second", 2)
    assert outcome(cell.run(leases.take, again, None, Holder()))
    assert roles(cell) == {"second": WRITER}
    # A late note of who had it before changes nothing; one of who has it cleans up.
    note(cell, EVA)
    assert roles(cell) == {"second": WRITER}
    note(cell, EVA, claim=again)
    assert roles(cell) == {"second": WRITER, "w2": OBSERVER}
    peer = next(p for p in outcome(cell.read(observers.news, "b")).peers if p.replica_id == "b")
    outcome(cell.run(replicas.declare_dead, peer))
    assert roles(cell) == {}


def test_a_deleted_instance(cell: CellDatabase) -> None:
    """Its rows go with it."""
    note(cell, NOA)
    outcome(cell.run(instances.remove, WEB))
    assert roles(cell) == {}
