"""The rows of instances in real databases, over libvirt's own test hypervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import ALL, new_database
from test_port_books import ADDRESS, HOST, outcome, uuid, xml
from twisted.internet.task import Clock

from consoled.compute.following import Differences
from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.db import instances, schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.workers import InlineWorker

COUNT = 120


class Replica:
    """One daemon's view of the rows, its calls made at once."""

    def __init__(self, engine: Any, driver: LibvirtDriver) -> None:
        self.database = CellDatabase(engine, InlineWorker())
        self.keeper = InstanceKeeper(driver, self.database)

    def reconcile(self, of: int | None = None) -> Differences:
        """A look at the domains."""
        done: Differences = outcome(self.keeper.reconcile(None if of is None else uuid(of)))
        return done

    def row(self, number: int) -> dict[str, Any] | None:
        """What the cell has of a domain."""
        rows: dict[str, dict[str, Any]] = outcome(self.database.read(instances.rows, uuid(number)))
        return rows.get(uuid(number))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LibvirtDriver]:
    """A hypervisor with many running domains."""
    node = tmp_path / "node.xml"
    domains = "".join(xml(number, 10000 + number) for number in range(COUNT))
    node.write_text(f"<node>{domains}</node>")
    made = LibvirtDriver(f"test://{node}", HOST, ADDRESS, "demo", InlineWorker(), Clock())
    yield made
    made.client.close()


@pytest.mark.parametrize("kind", ALL)
def test_two_replicas_follow_the_domains(
    request: pytest.FixtureRequest, tmp_path: Path, driver: LibvirtDriver, kind: str
) -> None:
    """What one has written the other finds written, through a domain's whole life."""
    engine = make_engine(new_database(request.session, kind, tmp_path), None)
    schema.upgrade(engine)
    one, other = Replica(engine, driver), Replica(engine, driver)
    assert len(one.reconcile().changed) == COUNT
    assert other.reconcile() == Differences()
    found = one.row(7)
    assert found is not None
    assert (found["host"], found["state"], found["project_id"]) == (HOST, "running", "demo")
    domain = driver.client._connection.lookupByUUIDString(uuid(7))
    domain.destroy()
    assert [changed.uuid for changed in other.reconcile(7).changed] == [uuid(7)]
    assert one.reconcile() == Differences()
    found = one.row(7)
    assert found is not None
    assert found["state"] == "stopped"
    domain.undefine()
    assert one.reconcile(7) == Differences(missed=(uuid(7),))
    assert other.reconcile() == Differences()
    assert other.row(7) is None
    engine.dispose()
