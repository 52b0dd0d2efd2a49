"""Who has a real guest's serial ports, and throwing them off, by libvirt and QEMU."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.workers import InlineWorker
from tools.lab.guest import Guest
from tools.lab.libvirtd import PrivateLibvirtd

NOBODY: frozenset[int] = frozenset()
ASKED = 200
"""How often a client that hung up may still be seen: each look is a turn of QEMU's loop."""


@pytest.fixture
def driver(libvirtd: PrivateLibvirtd) -> Iterator[LibvirtDriver]:
    """The driver, its calls made at once."""
    worker = InlineWorker()
    made = LibvirtDriver(libvirtd.uri, "lab", "127.0.0.1", None, worker, Clock(), monitors=[worker])
    made.start()
    yield made
    outcome(made.stop())


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    [result] = results
    return result


def held(driver: LibvirtDriver, guest: Guest) -> frozenset[int]:
    """What QEMU says now."""
    ports: frozenset[int] = outcome(driver.held_ports(guest.uuid))
    return ports


def free(driver: LibvirtDriver, guest: Guest, index: int = 0) -> bool:
    """Throws off whoever has the port."""
    return bool(outcome(driver.free_port(guest.uuid, index)))


def nobody_left(driver: LibvirtDriver, guest: Guest) -> bool:
    """QEMU notices that everybody hung up."""
    return any(held(driver, guest) == NOBODY for _ in range(ASKED))


@contextmanager
def paused(guest: Guest) -> Iterator[None]:
    """The guest's processor stands still meanwhile."""
    connection = libvirt.open(guest.libvirtd.uri)
    domain = connection.lookupByUUIDString(guest.uuid)
    domain.suspend()
    try:
        yield
    finally:
        domain.resume()
        connection.close()


def test_a_foreign_client_is_seen(driver: LibvirtDriver, guest: Guest) -> None:
    """On the port that it has, while it has it, also while the guest is paused."""
    assert nobody_left(driver, guest)
    for index in (0, 1):
        with guest.serial(index) as line:
            line.wait_for_shell()
            assert held(driver, guest) == {index}
            with paused(guest):
                assert held(driver, guest) == {index}
        assert nobody_left(driver, guest)


def test_a_held_port_is_freed(driver: LibvirtDriver, guest: Guest) -> None:
    """The foreign client's connection ends, the other port's goes on, the next one is served."""
    with guest.serial(0) as foreign, guest.serial(1) as other:
        foreign.wait_for_shell()
        other.wait_for_shell()
        assert free(driver, guest)
        assert held(driver, guest) == {1}
        with pytest.raises(ConnectionError):
            foreign.read_until(b"nothing more comes")
        with guest.serial(0) as ours:
            assert ours.run("echo mine $((40 + 2))") == "mine 42"
        assert other.run("tty") == "/dev/ttyS1"
    assert nobody_left(driver, guest)


def test_those_who_wait_for_the_port_go_too(driver: LibvirtDriver, guest: Guest) -> None:
    """A queued client would be served before us, and what it typed with it."""
    with guest.serial(0) as foreign, guest.serial(0) as queued:
        foreign.wait_for_shell()
        assert free(driver, guest)
        assert held(driver, guest) == NOBODY
        for line in (foreign, queued):
            with pytest.raises(ConnectionError):
                line.read_until(b"nothing more comes")
        with guest.serial(0) as ours:
            assert ours.run("echo mine $((40 + 2))") == "mine 42"
    assert nobody_left(driver, guest)


def test_a_free_port_stays_free(driver: LibvirtDriver, guest: Guest) -> None:
    """There is nobody to throw off: that is as good."""
    assert nobody_left(driver, guest)
    assert free(driver, guest)
    with guest.serial(0) as ours:
        assert ours.run("echo mine $((40 + 2))") == "mine 42"


def test_a_client_that_left_input_behind(driver: LibvirtDriver, guest: Guest) -> None:
    """A guest that does not read keeps its port for a client that has hung up, until freed."""
    assert nobody_left(driver, guest)
    with paused(guest):
        gone = socket.create_connection((guest.host, guest.serial_ports[0]))
        # Each erases the line that the shell has: harmless where some of them arrive.
        gone.sendall(b"\x15" * 4096)
        assert any(held(driver, guest) == {0} for _ in range(ASKED))
        gone.close()
        assert held(driver, guest) == {0}
        assert free(driver, guest)
        assert held(driver, guest) == NOBODY
    with guest.serial(0) as ours:
        assert ours.run("echo mine $((40 + 2))") == "mine 42"
    assert nobody_left(driver, guest)


def test_a_guest_that_does_not_run(
    driver: LibvirtDriver, libvirtd: PrivateLibvirtd, guest: Guest
) -> None:
    """Stopped, or not there at all: nobody has its ports, and nothing can be freed."""
    off = Guest(libvirtd, guest.image, "off", serial_ports=guest.serial_ports)
    with guest.serial(0) as line:
        line.wait_for_shell()
        off.define()
        try:
            assert held(driver, off) == NOBODY
            assert not free(driver, off)
        finally:
            off.undefine()
        assert held(driver, off) == NOBODY
        assert not free(driver, off)
        assert not free(driver, guest, 2)
        assert line.run("echo still $((40 + 2))") == "still 42"
