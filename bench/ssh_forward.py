"""What ``ssh -L`` does, with :mod:`consoled.transports.ssh`: ``python -m bench.ssh_forward ORDER``.

The order is JSON: ``user``, ``port``, ``key`` and ``known`` (files) of an SSH server on loopback,
and ``forwards``, pairs of a local port and the port behind the server that it leads to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from bench.sockets import HOST
from consoled.http.sending import write_now
from consoled.service import settle_memory
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.keys import KeyFiles
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.ssh.values import Login, Method, ProxyNode, Route
from consoled.workers import ThreadWorker


class End(Protocol):
    """One end of a forward; what it gets, the other one sends."""

    transport: Any
    other: End | None = None

    def connectionMade(self) -> None:
        """Nothing is read before there is somebody to take it."""
        self.transport.setTcpNoDelay(True)
        self.transport.pauseProducing()

    def join(self, other: End) -> None:
        """The two ends are connected."""
        self.other = other
        self.transport.registerProducer(other.transport, True)
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """On."""
        assert self.other is not None
        write_now(self.other.transport, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """So is the other one."""
        other, self.other = self.other, None
        if other is not None:
            other.transport.unregisterProducer()
            other.transport.loseConnection()


class Near(End):
    """The local end, which dials the other one."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self.endpoint = endpoint

    def connectionMade(self) -> None:
        """Somebody wants a stream."""
        super().connectionMade()
        dial = self.endpoint.connect(Factory.forProtocol(End))
        dial.addCallbacks(self._join, lambda _: self.transport.abortConnection())

    def _join(self, far: Any) -> None:
        if not self.transport.connected:
            far.transport.abortConnection()
            return
        self.join(far)
        far.join(self)


class Forward(Factory):
    """One local port."""

    noisy = False

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self.endpoint = endpoint

    def buildProtocol(self, addr: IAddress | None) -> Near:
        """One connection."""
        return Near(self.endpoint)


def make_pool(clock: Any, order: dict[str, Any]) -> tuple[ThreadWorker, SSHPool, Route]:
    """A pool, its worker, and the route of an order."""
    worker = ThreadWorker(clock, "ssh-keys")
    pool = SSHPool(clock, worker, PoolLimits(channels=1000))
    keys = KeyFiles((Path(order["key"]),))
    login = Login(order["user"], keys, HostKeys.parse(Path(order["known"]).read_text()))
    return worker, pool, (ProxyNode(HOST, order["port"], login, Method.DIRECT),)


def main(order: dict[str, Any]) -> None:
    """Forwards until it is ended."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    worker, pool, route = make_pool(reactor, order)
    for local, target in order["forwards"]:
        endpoint = pool.endpoint(route, HOST, target)
        reactor.listenTCP(local, Forward(endpoint), backlog=4096, interface=HOST)
    reactor.callWhenRunning(worker.start)
    reactor.callWhenRunning(settle_memory)
    reactor.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
