"""consoled.compute.occupancy: whose client is in a guest's port, and the moments in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from attrs import define, evolve, field
from cells import instance, memory_database, outcome
from lease_world import WEB, make_consoles
from twisted.internet.defer import Deferred, succeed

from consoled.compute.occupancy import Occupancy
from consoled.db import leases, replicas
from consoled.db.claimed import claimed_ports
from consoled.db.database import CellDatabase
from consoled.leasing.values import Claim, ConsoleKey, Holder
from consoled.model import Console, Instance, InstanceState

NOBODY: frozenset[int] = frozenset()
GUEST: Instance = evolve(
    instance(),
    uuid=WEB,
    consoles=(Console(0, "127.0.0.1", 10000), Console(1, "127.0.0.1", 10001)),
)


@pytest.fixture
def cell() -> CellDatabase:
    """A cell with two consoles and one replica."""
    made = memory_database()
    outcome(made.run(make_consoles, 2))
    outcome(made.run(replicas.register, "a", "lab", "http://a/"))
    return made


def take(cell: CellDatabase, index: int = 0, epoch: int = 1) -> Claim:
    claim = Claim(ConsoleKey(WEB, index), "a", f"s{index}-{epoch}", epoch)
    assert outcome(cell.run(leases.take, claim, None, Holder("alice")))
    return claim


def release(cell: CellDatabase, claim: Claim) -> None:
    assert outcome(cell.run(leases.release, claim))


@define
class Ports:
    """What QEMU says at each look, and what happens right after it was asked.

    :ivar looks: the answers, in order.
    :ivar after: called after each.
    """

    looks: Iterator[set[int]]
    after: Iterator[Callable[[], object]] = field(factory=lambda: iter(()))
    asked: int = 0

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        self.asked += 1
        answer = frozenset(next(self.looks))
        next(self.after, lambda: None)()
        return succeed(answer)

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        raise AssertionError("nobody is thrown out by a look")


def found(cell: CellDatabase, ports: Ports, guest: Instance = GUEST) -> frozenset[int]:
    return outcome(Occupancy(ports, cell).held_elsewhere(guest))


def test_a_client_without_a_lease_is_an_outsider(cell: CellDatabase) -> None:
    """In both looks; the console beside it is free."""
    assert found(cell, Ports(iter([{0}, {0}]))) == {0}


def test_a_session_of_the_cell_is_none(cell: CellDatabase) -> None:
    """Its lease accounts for the client, and one look is enough."""
    take(cell, 0)
    ports = Ports(iter([{0}]))
    assert found(cell, ports) == NOBODY
    assert ports.asked == 1


def test_an_outsider_beside_a_session(cell: CellDatabase) -> None:
    """Each console is judged for itself."""
    take(cell, 1)
    assert found(cell, Ports(iter([{0, 1}, {0, 1}]))) == {0}


def test_nobody_is_connected(cell: CellDatabase) -> None:
    """A lease without a client (it is about to dial) makes no outsider either."""
    take(cell, 0)
    assert found(cell, Ports(iter([set()]))) == NOBODY


def test_a_client_that_qemu_has_not_missed_yet(cell: CellDatabase) -> None:
    """A session closed its socket and gave its lease back; QEMU hears of it a moment later."""
    release(cell, take(cell, 0))
    assert found(cell, Ports(iter([{0}, set()]))) == NOBODY


def test_a_lease_given_back_between_the_readings(cell: CellDatabase) -> None:
    """QEMU still saw the client, the lease is gone: the second look settles it."""
    claim = take(cell, 0)
    ports = Ports(iter([{0}, set()]), iter([lambda: release(cell, claim)]))
    assert found(cell, ports) == NOBODY


def test_a_lease_taken_at_that_moment(cell: CellDatabase) -> None:
    """A session takes its lease before it dials, so whoever QEMU saw has one when it is read."""
    ports = Ports(iter([{0}]), iter([lambda: take(cell, 0)]))
    assert found(cell, ports) == NOBODY


def test_one_session_after_the_other(cell: CellDatabase) -> None:
    """One ends between the readings, and the next one's client is seen by the second look."""
    claim = take(cell, 0)

    def ends() -> None:
        release(cell, claim)

    def begins() -> None:
        take(cell, 0, epoch=2)

    assert found(cell, Ports(iter([{0}, {0}]), iter([ends, begins]))) == NOBODY


def test_an_outsider_that_leaves(cell: CellDatabase) -> None:
    """Between the looks: the console is free."""
    assert found(cell, Ports(iter([{0, 1}, {1}]))) == {1}


def test_a_dead_replicas_client_is_no_outsider(cell: CellDatabase) -> None:
    """Its console may be taken from it, and whoever does throws the client out."""
    take(cell, 0)
    [peer] = outcome(cell.read(replicas.peers))
    assert outcome(cell.run(replicas.declare_dead, peer))
    assert outcome(cell.read(leases.held)) == []
    assert outcome(cell.read(claimed_ports, WEB)) == {0}
    assert found(cell, Ports(iter([{0}]))) == NOBODY


def test_claimed_ports_are_this_instances(cell: CellDatabase) -> None:
    """Another instance's leases say nothing."""
    take(cell, 0)
    assert outcome(cell.read(claimed_ports, GUEST.uuid[:-1] + "f")) == NOBODY


def test_a_stopped_guest_is_not_asked_about(cell: CellDatabase) -> None:
    """Nor one without consoles."""
    for guest in (evolve(GUEST, state=InstanceState.STOPPED), evolve(GUEST, consoles=())):
        assert found(cell, Ports(iter(())), guest) == NOBODY
