"""Types through a stream of :mod:`consoled.transports.ssh`, within this process.

``python -m bench.ssh_typist ORDER`` prints the nanoseconds of each key and its echo, as JSON. The
order is that of :mod:`bench.ssh_forward` with ``target``, ``count`` and ``seconds``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from bench.sockets import HOST
from bench.ssh_forward import make_pool
from consoled.service import settle_memory


class Typist(Protocol):
    """Types a byte, waits for its echo, and types the next."""

    transport: Any

    def __init__(self) -> None:
        self.times: list[int] = []
        self.done: Deferred[None] = Deferred()
        self.left = 0
        self.end = self.start = 0

    def begin(self, count: int, seconds: float) -> Deferred[None]:
        """Types so many keys, in so many seconds at the most."""
        self.times, self.left, self.done = [], count, Deferred()
        self.end = time.perf_counter_ns() + int(seconds * 1e9)
        self._type()
        return self.done

    def dataReceived(self, data: bytes) -> None:
        """The greeting, or an echo."""
        if not self.left:
            return
        now = time.perf_counter_ns()
        self.times.append(now - self.start)
        self.left = 0 if now > self.end else self.left - 1
        if self.left:
            self._type()
        else:
            self.done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Too early."""
        if self.left:
            self.done.errback(reason)

    def _type(self) -> None:
        self.start = time.perf_counter_ns()
        self.transport.write(b"k")


async def main(reactor: Any, order: dict[str, Any]) -> None:
    """One connection, some keys that do not count, then those that do."""
    worker, pool, route = make_pool(reactor, order)
    worker.start()
    endpoint = pool.endpoint(route, HOST, order["target"])
    typist: Any = await endpoint.connect(Factory.forProtocol(Typist))
    settle_memory()
    await typist.begin(order["count"] // 4 + 1, order["seconds"])
    await typist.begin(order["count"], order["seconds"])
    print(json.dumps(typist.times), flush=True)
    await pool.stop()
    worker.stop()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, json.loads(sys.argv[1]))))
