"""The books of ports on real databases, over libvirt's own in-process hypervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import ALL, new_database
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_range import parse
from consoled.compute.ports import PortAllocator
from consoled.compute.reconciling import Plan
from consoled.db import instances, port_rows, ports, schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.model import Console, Instance, InstanceState
from consoled.workers import InlineWorker

HOST = "rack1"
ADDRESS = "192.0.2.7"
RANGE = parse("10000:10400")


def uuid(number: int) -> str:
    """The uuid of the domain of that number."""
    return f"2f9e1b6e-3c43-4f6e-9b0a-{number:012d}"


def xml(number: int, *given: int) -> str:
    """A domain with these ports."""
    serials = "".join(
        f"<serial type='tcp'><source mode='bind' host='{ADDRESS}' service='{port}'/>"
        f"<protocol type='raw'/><target port='{index}'/></serial>"
        for index, port in enumerate(given)
    )
    return (
        f"<domain type='test'><name>d{number}</name><uuid>{uuid(number)}</uuid>"
        "<memory>1024</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type></os>"
        f"<devices>{serials}</devices></domain>"
    )


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds, or its error raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


class Replica:
    """One daemon's books over a database, its calls made at once."""

    def __init__(self, engine: Any, driver: LibvirtDriver) -> None:
        worker, clock = InlineWorker(), Clock()
        self.driver = driver
        self.database = CellDatabase(engine, worker)
        self.keeper = PortKeeper(driver, self.database, RANGE)
        self.allocator = PortAllocator(
            self.database,
            self.keeper.settled,
            ADDRESS,
            RANGE,
            worker,
            lambda port: True,
            ForeignPorts(clock.seconds),
        )

    def reconcile(self, of: int | None = None) -> Plan:
        """A look at the domains."""
        plan: Plan = outcome(self.keeper.reconcile(None if of is None else uuid(of)))
        return plan

    def books(self) -> dict[int, tuple[str, int, bool]]:
        """port -> uuid, index, whether an XML was seen to name it."""
        rows = outcome(self.database.read(port_rows.rows, HOST))
        return {row.port: (row.instance_uuid, row.index, row.named) for row in rows}

    def hypervisor(self) -> Any:
        """libvirt's own connection, to play the operator."""
        outcome(self.driver.ports_named())
        return self.driver.client._connection


@pytest.fixture
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas over one database of the kind that the test names, and 120 domains."""
    engine = make_engine(new_database(request.session, request.param, tmp_path), None)
    schema.upgrade(engine)
    node = tmp_path / "node.xml"
    domains = "".join(xml(number, 10000 + 2 * number, 10001 + 2 * number) for number in range(120))
    node.write_text(f"<node>{domains}</node>")
    driver = LibvirtDriver(f"test://{node}", HOST, ADDRESS, None, InlineWorker(), Clock())
    yield Replica(engine, driver), Replica(engine, driver)
    driver.client.close()
    engine.dispose()


@pytest.mark.parametrize("both", ALL, indirect=True)
def test_books_follow_the_domains(both: tuple[Replica, Replica]) -> None:
    """What one replica has done the other one finds done, through a domain's whole life."""
    one, other = both
    assert len(one.reconcile().adopted) == 240
    assert other.reconcile() == Plan()
    assert one.books() == {
        10000 + 2 * number + index: (uuid(number), index, True)
        for number in range(120)
        for index in (0, 1)
    }
    # The next one, before its definition and after it.
    given = outcome(other.allocator.allocate(uuid(200), [0, 1]))
    assert given == [10240, 10241]
    assert one.reconcile() == Plan()
    hypervisor = one.hypervisor()
    hypervisor.defineXML(xml(200, *given))
    assert [row.port for row in one.reconcile(200).confirmed] == given
    # Changed, stopped, gone; and a reservation that a hand-written XML was faster than.
    assert outcome(one.allocator.allocate(uuid(201), [0])) == [10242]
    hypervisor.defineXML(xml(202, 10242))
    hypervisor.defineXML(xml(200, given[1]))
    gone = hypervisor.lookupByUUIDString(uuid(7))
    gone.destroy()
    plan = other.reconcile()
    assert {port.row.port for port in plan.released} == {given[0]}
    assert {port.named.port for port in plan.adopted} == {given[1], 10242}
    gone.undefine()
    assert {port.row.port for port in one.reconcile().released} == {10014, 10015}
    books = other.books()
    assert books[given[1]] == (uuid(200), 0, True)
    assert books[10242] == (uuid(202), 0, True)
    assert not {given[0], 10014, 10015} & set(books)
    assert one.reconcile() == other.reconcile() == Plan()


@pytest.mark.parametrize("both", ALL, indirect=True)
def test_a_port_that_changes_hands_ends_what_was_there(both: tuple[Replica, Replica]) -> None:
    """The old console loses the place, and the place's generation grows."""
    one, _ = both
    old = Instance(uuid(300), "old", None, HOST, InstanceState.RUNNING)

    def claim(connection: Any) -> int:
        instances.upsert(connection, old, "libvirt")
        return ports.claim(connection, old.uuid, Console(0, ADDRESS, 10240), 10240)

    assert outcome(one.database.run(claim)) == 1
    assert outcome(one.allocator.allocate(uuid(301), [0])) == [10240]
    assert outcome(one.database.read(ports.generation_of, ADDRESS, 10240)) == 2
    assert outcome(one.database.run(claim)) == 3
