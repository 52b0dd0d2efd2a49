"""Ports through the life of real domains: real libvirt, QEMU, sockets, and the daemon."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_range import PortRange
from consoled.compute.port_tests import ConnectTest, PortTest, bind_test, port_test
from consoled.compute.ports import PortAllocator
from consoled.db import port_rows, schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import SocketPortRangeExhausted
from consoled.workers import InlineWorker
from tools.lab.daemon import Daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_range

ADDRESS = "127.0.0.1"


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds, or its error raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture
def ports() -> PortRange:
    """Six ports in a row that nobody listens on."""
    start = free_range().start
    return PortRange(((start, start + 6),))


class Host:
    """What the daemon has of a hypervisor's ports, its calls made at once."""

    def __init__(self, uri: str, database: Path, ports: PortRange, test: PortTest) -> None:
        engine = make_engine(f"sqlite:///{database}")
        schema.prepare(engine)
        worker, clock = InlineWorker(), Clock()
        self.database = CellDatabase(engine, worker)
        self.driver = LibvirtDriver(uri, None, ADDRESS, None, worker, clock)
        self.keeper = PortKeeper(self.driver, self.database, ports)
        self.foreign = ForeignPorts(clock.seconds)
        self.allocator = PortAllocator(
            self.database, self.keeper.settled, ADDRESS, ports, worker, test, self.foreign
        )

    def allocate(self, guest: Guest, count: int = 2) -> list[int]:
        """Ports for a guest's serial ports."""
        found: list[int] = outcome(self.allocator.allocate(guest.uuid, range(count)))
        return found

    def books(self) -> dict[int, tuple[str, int]]:
        """port -> uuid, index, after a look at the domains."""
        outcome(self.keeper.reconcile())
        rows = outcome(self.database.read(port_rows.rows, outcome(self.driver.compute_host())))
        return {row.port: (row.instance_uuid, row.index) for row in rows}

    def close(self) -> None:
        """Ends its connections."""
        self.driver.client.close()
        self.database.stop()


@pytest.fixture
def host(
    libvirtd: PrivateLibvirtd, tmp_path: Path, ports: PortRange
) -> Iterator[Callable[..., Host]]:
    """Makes such a host; one after another they are a daemon that is started again."""
    made: list[Host] = []

    def make(test: PortTest = bind_test) -> Host:
        made.append(Host(libvirtd.uri, tmp_path / "cell.sqlite", ports, test))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def other(libvirtd: PrivateLibvirtd, guest_image: Image) -> Iterator[Guest]:
    """A guest that does not exist yet."""
    made = Guest(libvirtd, guest_image, "ports-1", serial_ports=())
    yield made
    made.remove()


def test_from_allocation_to_deletion(host: Callable[..., Host], other: Guest) -> None:
    """A port is a guest's from before its definition until after its end, over restarts."""
    first = host()
    before = first.books()
    other.serial_ports = tuple(first.allocate(other))
    other.start()
    with other.serial(1) as line:
        line.wait_for_shell()
        assert line.run("tty") == "/dev/ttyS1"
    own = {port: (other.uuid, index) for index, port in enumerate(other.serial_ports)}
    assert first.books() == before | own
    again = host()
    assert again.allocate(other) == list(other.serial_ports)
    other.destroy()
    assert again.books() == before | own
    other.undefine()
    assert again.books() == before


def test_a_change_of_a_running_domain(host: Callable[..., Host], other: Guest) -> None:
    """The port that it has and the one of its next start are both its own until it restarts."""
    hypervisor = host()
    one, two = hypervisor.allocate(other)
    other.serial_ports = (one,)
    other.start()
    other.serial_ports = (two,)
    other.define()
    assert {port for port, (uuid, _) in hypervisor.books().items() if uuid == other.uuid} == {
        one,
        two,
    }
    other.destroy()
    other.start()
    assert {port for port, (uuid, _) in hypervisor.books().items() if uuid == other.uuid} == {two}


def test_ports_in_use_are_found(
    host: Callable[..., Host], guest: Guest, other: Guest, ports: PortRange
) -> None:
    """Guests of before are in the books before the first port is given out, stopped ones too."""
    start = ports.segments[0][0]
    other.serial_ports = (start, start + 2)
    other.define()
    hypervisor = host()
    new = Guest(other.libvirtd, other.image, "new")
    assert hypervisor.allocate(new, 3) == [start + 1, start + 3, start + 4]
    books = hypervisor.books()
    assert books[start + 2] == (other.uuid, 1)
    assert [books[port] for port in guest.serial_ports] == [(guest.uuid, 0), (guest.uuid, 1)]


@pytest.mark.parametrize(("test", "address"), [(bind_test, "::1"), (ConnectTest(ADDRESS), ADDRESS)])
def test_foreign_listeners_are_passed_over(
    host: Callable[..., Host], other: Guest, ports: PortRange, test: PortTest, address: str
) -> None:
    """Binding sees those on IPv4 only and on IPv6 only, connecting those where it is dialled."""
    start = ports.segments[0][0]
    hypervisor = host(test)
    with ExitStack() as stack:
        for family, place in (
            (socket.AF_INET, (ADDRESS, start)),
            (socket.AF_INET6 if ":" in address else socket.AF_INET, (address, start + 2)),
        ):
            foreign = stack.enter_context(socket.socket(family))
            foreign.bind(place)
            foreign.listen(5)
        found = hypervisor.allocate(other, 4)
        assert sorted(found) == [start + 1, start + 3, start + 4, start + 5]
        assert hypervisor.foreign.now() == {start, start + 2}
        with pytest.raises(SocketPortRangeExhausted):
            hypervisor.allocate(other, 5)


def test_the_daemon_keeps_books(libvirtd: PrivateLibvirtd, guest: Guest, tmp_path: Path) -> None:
    """It starts with a look at the domains, and at the next start there is nothing new."""
    config = {"DEFAULT": {"driver": "libvirt"}, "libvirt": {"uri": libvirtd.uri}}
    with Daemon(tmp_path, config) as daemon:
        event = daemon.wait_for_event("ports_adopted", instance_uuid=guest.uuid)
        assert all(str(port) in event["message"] for port in guest.serial_ports)
        assert daemon.request("GET", f"/v1/servers/{guest.uuid}/consoles").status == 200
        daemon.stop()
        engine = make_engine(f"sqlite:///{tmp_path}/state/consoled.sqlite")
        with engine.connect() as connection:
            [name] = connection.exec_driver_sql("SELECT host FROM port_turns").scalars()
            rows = port_rows.rows(connection, name)
        engine.dispose()
        assert sorted((row.instance_uuid, row.index, row.port) for row in rows) == [
            (guest.uuid, index, port) for index, port in enumerate(guest.serial_ports)
        ]
        assert port_test(libvirtd.uri, ADDRESS) is bind_test
