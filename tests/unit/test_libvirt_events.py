"""consoled.compute.libvirt.events: libvirt's own event loop and in-process test hypervisor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import libvirt
import pytest

from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.events import EventConnection, EventLoop

URI = "test:///default"
PATIENCE = 60.0
DOMAIN = """
<domain type='test'>
  <name>told-of</name><uuid>2F9E1B6E-3C43-4F6E-9B0A-1D1F6F6B0001</uuid>
  <memory>1048576</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type></os>
</domain>"""
UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"


@pytest.fixture(scope="module", autouse=True)
def loop() -> EventLoop:
    """libvirt's event loop, from now to the end of the process; a second start begins no other."""
    made = EventLoop()
    made.start()
    made.start()
    return made


@pytest.fixture
def told() -> SimpleQueue[str]:
    """What the events tell."""
    return SimpleQueue()


@pytest.fixture
def operator() -> Iterator[libvirt.virConnect]:
    """Somebody else's connection."""
    with closing(libvirt.open(URI)) as connection:
        yield connection


def test_the_life_of_a_domain_is_told(told: SimpleQueue[str], operator: libvirt.virConnect) -> None:
    """Definition, start, pause, stop, undefinition: each by the domain's uuid, in lower case."""
    listening = EventConnection(URI)
    listening.open(told.put, told.put)
    try:
        domain = operator.defineXML(DOMAIN)
        assert told.get(timeout=PATIENCE) == UUID
        for act in ("create", "suspend", "resume", "destroy", "undefine"):
            getattr(domain, act)()
            assert told.get(timeout=PATIENCE) == UUID
    finally:
        listening.close()


def test_a_closed_connection_tells_nothing(
    told: SimpleQueue[str], operator: libvirt.virConnect
) -> None:
    """Another one does; it may be closed twice, and opened again."""
    silent, other = EventConnection(URI), EventConnection(URI)
    heard: SimpleQueue[str] = SimpleQueue()
    silent.open(told.put, told.put)
    silent.close()
    silent.close()
    other.open(heard.put, heard.put)
    try:
        operator.defineXML(DOMAIN).undefine()
        assert [heard.get(timeout=PATIENCE) for _ in range(2)] == [UUID, UUID]
        assert told.empty()
    finally:
        other.close()


def test_a_hypervisor_that_is_not_there(told: SimpleQueue[str], tmp_path: Path) -> None:
    """libvirt's own word why, for the log."""
    absent = EventConnection(f"qemu+unix:///system?socket={tmp_path}/absent")
    with pytest.raises(ClientError, match="absent"):
        absent.open(told.put, told.put)
    absent.close()
