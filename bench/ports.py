"""The measurements of the books of ports: a start over many domains, a port of a full range."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import insert
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bench.bars import Bar
from bench.cells import KEYS
from bench.figures import Kind, percentiles
from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_range import PortRange
from consoled.compute.port_tests import bind_test
from consoled.compute.ports import PortAllocator
from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import port_allocations
from consoled.workers import InlineWorker
from tools.lab.daemon import Daemon

RECONCILED = Kind(
    "ports_reconciled",
    "start over 1,000 domains: instances and ports in the books",
    "s",
    False,
    bars=(Bar(5.0),),
    plotted=False,
)
ALLOCATED = Kind(
    "ports_allocated",
    "port allocated, 99% of 10,000 used",
    "ms",
    False,
    "p99",
    bars=(Bar(20.0, "p99"),),
    plotted=False,
)

FIRST = 20000
"""The first port of the range, below those that Linux takes for outgoing connections."""

NODE = "bench"
ADDRESS = "127.0.0.1"


@frozen
class PortScale:
    """How long these measurements are.

    :ivar domains: of the hypervisor, each with a serial port.
    :ivar ports: of the range.
    :ivar allocations: that are timed in a round.
    """

    domains: int = 1000
    ports: int = 10_000
    allocations: int = 200


FULL = PortScale()
QUICK = PortScale(domains=30, ports=300, allocations=20)


def uuid(number: int) -> str:
    """The uuid of the domain of that number."""
    return f"2f9e1b6e-3c43-4f6e-9b0a-{number:012d}"


def reconciled(scale: PortScale) -> Mapping[str, float]:
    """Seconds from a daemon's start over a new SQLite database until its books are whole.

    The hypervisor is libvirt's test driver; the times are the log's own.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        node = folder / "node.xml"
        node.write_text(f"<node>{''.join(map(_domain, range(scale.domains)))}</node>")
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {"driver": "libvirt"},
            "libvirt": {"uri": f"test://{node}"},
        }
        with Daemon(folder, config, keys=KEYS) as daemon:
            # They are told in the order of the domains' names.
            last = uuid(scale.domains - 1)
            done = daemon.wait_for_event("ports_adopted", instance_uuid=last, timeout=120)
            began = daemon.wait_for_event("started")
    moments = [datetime.fromisoformat(str(event["ts"])) for event in (began, done)]
    return {"value": (moments[1] - moments[0]).total_seconds()}


def allocated(scale: PortScale) -> Mapping[str, float]:
    """Milliseconds of single allocations where one port of a hundred is free, each given back.

    With a real bind test, in one process and its thread.
    """
    samples = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        _nearly_full(Path(name), scale.ports) as allocator,
    ):
        for number in range(scale.ports, scale.ports + scale.allocations):
            began = time.perf_counter()
            ports = _outcome(allocator.allocate(uuid(number), [0]))
            samples.append(1000 * (time.perf_counter() - began))
            _outcome(allocator.give_back(uuid(number), ports))
    return percentiles(samples)


@contextmanager
def _nearly_full(folder: Path, count: int) -> Iterator[PortAllocator]:
    """An allocator of that many ports, all but every hundredth of them named by domains."""
    ports = PortRange(((FIRST, FIRST + count),))
    node = folder / "node.xml"
    node.write_text("<node/>")
    worker, clock = InlineWorker(), Clock()
    engine = make_engine(f"sqlite:///{folder}/cell.sqlite")
    schema.prepare(engine)
    database = CellDatabase(engine, worker)
    driver = LibvirtDriver(f"test://{node}", NODE, ADDRESS, None, worker, clock)
    keeper = PortKeeper(driver, database, ports)
    allocator = PortAllocator(
        database=database,
        settled=keeper.settled,
        address=ADDRESS,
        ports=ports,
        worker=worker,
        is_free=bind_test,
        foreign=ForeignPorts(time.monotonic),
    )
    # Before the rows, which no domain of that hypervisor names.
    _outcome(keeper.settled())
    used = list(range(count))
    random.Random(count).shuffle(used)
    with engine.begin() as connection:
        rows = [_row(number) for number in used[count // 100 :]]
        connection.execute(insert(port_allocations), rows)
    try:
        yield allocator
    finally:
        driver.client.close()
        database.stop()
        engine.dispose()


def _row(number: int) -> dict[str, Any]:
    return {
        "host": NODE,
        "port": FIRST + number,
        "instance_uuid": uuid(number),
        "port_index": 0,
        "turn": 0,
        "named": True,
        "since": None,
    }


def _domain(number: int) -> str:
    return (
        f"<domain type='test'><name>d{number:05d}</name><uuid>{uuid(number)}</uuid>"
        "<memory>1024</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type></os><devices>"
        f"<serial type='tcp'><source mode='bind' host='{ADDRESS}' service='{FIRST + number}'/>"
        "<protocol type='raw'/><target port='0'/></serial></devices></domain>"
    )


def _outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred has fired with: everything here works at once."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    [result] = found
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result
