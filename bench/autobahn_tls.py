"""A plain autobahn relay: ``python -m bench.autobahn_tls PORT BACKEND CERT KEY``.

What one writes with autobahn and Twisted as their documents show it: Twisted's own TLS
(``ssl:``), autobahn's message callbacks, a producer each way. No token, no lease, no
subprotocol but the one that is asked for.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, serverFromString
from twisted.internet.protocol import Protocol

HOST = "127.0.0.1"


class Relay(WebSocketServerProtocol):
    """One viewer."""

    backend: Any = None

    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target
        self._early: list[bytes] = []

    def onConnect(self, request: Any) -> str | None:
        """The first subprotocol that is asked for."""
        return next(iter(request.protocols), None)

    def onOpen(self) -> None:
        """Dials."""
        endpoint = HostnameEndpoint(reactor, HOST, self._target)
        connectProtocol(endpoint, Backend(self)).addErrback(lambda _: self.sendClose(1011))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Input."""
        if self.backend is None:
            self._early.append(payload)
        else:
            self.backend.transport.write(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The viewer is gone."""
        if self.backend is not None:
            self.backend.transport.loseConnection()

    def join(self, backend: Backend) -> None:
        """The console is there."""
        self.backend = backend
        for payload in self._early:
            backend.transport.write(payload)


class Backend(Protocol):
    """The connection to the console."""

    transport: Any

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer

    def connectionMade(self) -> None:
        """Joins the two."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self._viewer.transport, True)
        self._viewer.transport.unregisterProducer()
        self._viewer.transport.registerProducer(self.transport, True)
        self._viewer.join(self)

    def dataReceived(self, data: bytes) -> None:
        """Output."""
        self._viewer.sendMessage(data, isBinary=True)

    def connectionLost(self, reason: Any = None) -> None:
        """The console is gone."""
        self._viewer.transport.unregisterProducer()
        self._viewer.sendClose(1000)


class RelayFactory(WebSocketServerFactory):
    """Makes relays to one console.

    :param target: its port.
    """

    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target

    def buildProtocol(self, addr: Any) -> Relay:
        """One more viewer."""
        relay = Relay(self._target)
        relay.factory = self
        return relay


def main(port: int, target: int, cert: str, key: str) -> None:
    """Serves until it is ended."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where = f"ssl:{port}:interface={HOST}:certKey={cert}:privateKey={key}"
    serverFromString(reactor, where).listen(RelayFactory(target))
    running: Any = reactor
    running.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
