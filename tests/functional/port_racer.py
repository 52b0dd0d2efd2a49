"""One allocator in a process of its own: takes a port for each line of its standard input.

``python port_racer.py URL RANGE NAME``. It writes ``ready``, and for each line the port that it
was given, 0 where the range was exhausted.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
import uuid
from typing import Any

from twisted.internet.defer import Deferred, succeed

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_range import parse
from consoled.compute.ports import PortAllocator
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import SocketPortRangeExhausted
from consoled.workers import InlineWorker

PR_SET_PDEATHSIG = 1
HOST = "rack1"


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def main(url: str, ports: str, name: str) -> None:
    """Runs until standard input ends."""
    # Also when it is stopped at that moment.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    allocator = PortAllocator(
        database=CellDatabase(make_engine(url), InlineWorker()),
        settled=lambda: succeed(HOST),
        address="192.0.2.7",
        ports=parse(ports),
        worker=InlineWorker(),
        # The database is what is tested here.
        is_free=lambda port: True,
        foreign=ForeignPorts(time.monotonic),
    )
    space = uuid.UUID(int=ord(name))
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        try:
            instance = str(uuid.uuid5(space, str(number)))
            [port] = outcome(allocator.allocate(instance, [0]))
        except SocketPortRangeExhausted:
            port = 0
        print(port, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
