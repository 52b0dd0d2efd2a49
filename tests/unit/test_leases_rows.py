"""consoled.db.leases: the conditional statements, and what the lists say."""

from __future__ import annotations

import pytest
from cells import memory_database, outcome
from lease_world import WEB, make_consoles

from consoled.db import instances, leases, replicas
from consoled.db.database import CellDatabase
from consoled.leasing.values import Claim, ConsoleKey, Holder, LeaseRow, Peer, Taking, Wish

KEY = ConsoleKey(WEB, 0)
ALICE = Holder("alice", "demo")


@pytest.fixture
def cell() -> CellDatabase:
    """A cell with two consoles and the replicas a and b."""
    made = memory_database()
    outcome(made.run(make_consoles, 2))
    for name in ("a", "b"):
        outcome(made.run(replicas.register, name, "lab", f"http://{name}/"))
    return made


def look(cell: CellDatabase, key: ConsoleKey = KEY) -> LeaseRow:
    row = outcome(cell.read(leases.look, key))
    assert row is not None
    return row


def take(
    cell: CellDatabase, replica: str, session: str, epoch: int, previous: str | None = None
) -> bool:
    claim = Claim(KEY, replica, session, epoch)
    return outcome(cell.run(leases.take, claim, previous, ALICE))


def test_a_console_is_made_free_at_epoch_0(cell: CellDatabase) -> None:
    """Its lease row comes with it."""
    assert look(cell) == LeaseRow(KEY, 0, None, owner_dead=False)
    assert outcome(cell.read(leases.look, ConsoleKey(WEB, 7))) is None


def test_taking_a_free_console(cell: CellDatabase) -> None:
    """The epoch grows by one, and the row says who, for whom, since when and where."""
    assert take(cell, "a", "s1", 1)
    row = look(cell)
    assert row.claim == Claim(KEY, "a", "s1", 1)
    assert (row.holder, row.url, row.free, row.wanted) == (ALICE, "http://a/", False, None)
    assert row.since is not None


@pytest.mark.parametrize(
    ("epoch", "previous"), [(1, None), (2, None), (2, "b"), (1, "a"), (3, "a")]
)
def test_a_console_that_changed_since_the_look_is_not_taken(
    cell: CellDatabase, epoch: int, previous: str | None
) -> None:
    """Another epoch or another owner than the one that was seen: nothing happens."""
    take(cell, "a", "s1", 1)
    assert not take(cell, "b", "s2", epoch, previous)
    assert look(cell).claim == Claim(KEY, "a", "s1", 1)


def test_wishes_that_come_together(cell: CellDatabase) -> None:
    """Each is answered as if it came alone: taken, gone, or whoever was faster."""
    second, gone = ConsoleKey(WEB, 1), ConsoleKey(WEB, 7)
    wishes = [
        Wish(second, "a", "s1", ALICE),
        Wish(KEY, "a", "s2", ALICE),
        Wish(gone, "a", "s3", ALICE),
        Wish(KEY, "a", "s4", Holder("bob", "demo")),
    ]
    first, other, missing, late = outcome(cell.run(leases.obtain.many, wishes))
    assert first == Taking(Claim(second, "a", "s1", 1))
    assert other == Taking(Claim(KEY, "a", "s2", 1))
    assert missing == Taking(None)
    assert (late.claim, late.row) == (None, look(cell))
    assert look(cell).holder == ALICE
    assert outcome(cell.read(leases.granted, wishes[1])) == other.claim
    assert outcome(cell.read(leases.granted, wishes[3])) is None


def test_a_wish_for_what_a_dead_replica_holds(cell: CellDatabase) -> None:
    """It is taken from that one as soon as it is dead, and says so."""
    take(cell, "a", "s1", 1)
    wish = Wish(KEY, "b", "s2", ALICE)
    assert outcome(cell.run(leases.obtain, wish)) == Taking(None, row=look(cell))
    assert outcome(cell.run(replicas.declare_dead, Peer("a", 0)))
    assert outcome(cell.run(leases.obtain, wish)) == Taking(Claim(KEY, "b", "s2", 2), "a")
    assert look(cell).claim == Claim(KEY, "b", "s2", 2)


def test_taking_from_a_dead_replica(cell: CellDatabase) -> None:
    """First it is ended, then what it held may be taken, and is free in every list."""
    take(cell, "a", "s1", 1)
    assert outcome(cell.run(replicas.declare_dead, Peer("a", 0)))
    assert look(cell).free
    assert outcome(cell.read(leases.held)) == []
    assert take(cell, "b", "s2", 2, "a")
    assert look(cell).claim == Claim(KEY, "b", "s2", 2)


def test_a_forgotten_replica_is_a_dead_one(cell: CellDatabase) -> None:
    """A COMMIT of a replica that is gone for good, row and all, holds nobody up."""
    take(cell, "gone", "s1", 1)
    assert look(cell).free
    assert take(cell, "b", "s2", 2, "gone")


@pytest.mark.parametrize(
    "other",
    [
        Claim(KEY, "b", "s1", 1),
        Claim(KEY, "a", "s1", 2),
        Claim(ConsoleKey(WEB, 1), "a", "s1", 1),
    ],
)
def test_only_the_very_claim_releases(cell: CellDatabase, other: Claim) -> None:
    """Replica and epoch must be the row's; then the epoch stays."""
    take(cell, "a", "s1", 1)
    assert not outcome(cell.run(leases.release, other))
    assert not outcome(cell.read(leases.holds, other))
    mine = Claim(KEY, "a", "s1", 1)
    assert outcome(cell.read(leases.holds, mine))
    assert outcome(cell.run(leases.release, mine))
    assert look(cell) == LeaseRow(KEY, 1, None, owner_dead=False)
    assert take(cell, "b", "s2", 2)


def test_the_session_on_a_lease_changes(cell: CellDatabase) -> None:
    """Who has the console is noted with the taking; what was asked of the one before is not."""
    take(cell, "a", "s1", 1)
    outcome(cell.run(leases.want, "ada", "out", "s1"))
    now = Claim(KEY, "a", "s2", 1)
    assert not outcome(cell.run(leases.note, Claim(KEY, "b", "s2", 1), Holder(), True))
    assert outcome(cell.run(leases.note, Claim(KEY, "a", "s1", 1), Holder("alice"), True))
    row = look(cell)
    assert (row.session_id, row.wanted, row.lingers) == ("s1", "out", True)
    assert outcome(cell.run(leases.note, now, Holder("bob", "demo"), False))
    row = look(cell)
    assert (row.session_id, row.holder, row.lingers) == ("s2", Holder("bob", "demo"), False)
    assert row.wanted is row.wanted_by is None
    assert outcome(cell.run(leases.release, Claim(KEY, "a", "s1", 1)))
    assert look(cell).free


def test_a_disconnect_is_asked_of_the_owner(cell: CellDatabase) -> None:
    """The poll of the owner has it, that of others not; whoever takes next is not asked."""
    take(cell, "a", "s1", 1)
    (row,) = outcome(cell.run(leases.want, "ada", "x" * 300, "s1"))
    assert row.claim == Claim(KEY, "a", "s1", 1)
    news = outcome(cell.read(leases.news, "a"))
    assert [(one.wanted, one.wanted_by) for one in news.wanted] == [("x" * 255, "ada")]
    assert news.held == 1
    assert set(news.peers) == {Peer("a", 0), Peer("b", 0)}
    other = outcome(cell.read(leases.news, "b"))
    assert (other.wanted, other.held) == ((), 0)
    outcome(cell.run(leases.release, Claim(KEY, "a", "s1", 1)))
    take(cell, "a", "s2", 2)
    assert look(cell).wanted is None


def test_a_disconnect_of_an_instance_or_of_nobody(cell: CellDatabase) -> None:
    """All sessions of one instance are asked; unknown names and dead owners are none."""
    take(cell, "a", "s1", 1)
    second = Claim(ConsoleKey(WEB, 1), "b", "s2", 1)
    outcome(cell.run(leases.take, second, None, ALICE))
    asked = outcome(cell.run(leases.want, "ada", "maintenance", None, WEB))
    assert [row.session_id for row in asked] == ["s1", "s2"]
    assert outcome(cell.run(leases.want, "ada", "maintenance", "s3")) == []
    assert outcome(cell.run(leases.want, "ada", "maintenance", None, "unknown")) == []
    outcome(cell.run(replicas.end, "a"))
    assert outcome(cell.run(leases.want, "ada", "maintenance", "s1")) == []


def test_what_a_replica_holds(cell: CellDatabase) -> None:
    """As claims, to compare with what the process knows."""
    take(cell, "a", "s1", 1)
    assert outcome(cell.read(leases.held_by, "a")) == {Claim(KEY, "a", "s1", 1)}
    assert outcome(cell.read(leases.held_by, "b")) == frozenset()


def test_a_lease_ends_with_its_instance(cell: CellDatabase) -> None:
    """The foreign key takes the row."""
    take(cell, "a", "s1", 1)
    outcome(cell.run(instances.remove, WEB))
    assert outcome(cell.read(leases.look, KEY)) is None
    assert outcome(cell.read(leases.held)) == []
