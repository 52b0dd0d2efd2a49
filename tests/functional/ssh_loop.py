"""A reactor in a thread of its own, and what SSH's tests connect with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.keys import KeyText
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.ssh.values import Keys, Login, Method, ProxyNode
from consoled.workers import ThreadWorker
from tools.lab.sshd import Sshd, SshKey

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which whatever is waited for does not come any more."""


class Loop:
    """One reactor, not the process's own, and one pool on it."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.worker = ThreadWorker(self.reactor, "keys")
        self._thread = threading.Thread(
            target=self.reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
        )

    def __enter__(self) -> Loop:
        started = threading.Event()
        self.reactor.callWhenRunning(started.set)
        self._thread.start()
        started.wait(PATIENCE)
        self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(PATIENCE)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """What the call gives, or its Deferred."""

        def call() -> Any:
            found = fn(*args)
            if isinstance(found, Deferred):
                found.addTimeout(PATIENCE, self.reactor)
            return found

        return blockingCallFromThread(self.reactor, call)

    @contextmanager
    def pool(self, **limits: Any) -> Iterator[SSHPool]:
        """A pool; closed at the end."""
        pool = SSHPool(self.reactor, self.worker, PoolLimits(**limits))
        try:
            yield pool
        finally:
            self.run(pool.stop)

    def connect(self, endpoint: IStreamClientEndpoint) -> Client:
        """A client of what the endpoint leads to."""
        client: Client = self.run(endpoint.connect, _factory(Client))
        client.loop = self
        return client

    @contextmanager
    def server(self, protocol: type[Protocol], address: str = "127.0.0.1") -> Iterator[Any]:
        """A TCP server; gives (port, the protocols of its connections)."""
        factory = _factory(protocol)
        made: list[Any] = []
        build = factory.buildProtocol

        def remember(addr: Any) -> Any:
            made.append(build(addr))
            return made[-1]

        factory.buildProtocol = remember  # type: ignore[method-assign]  # a list beside it
        port = self.run(lambda: self.reactor.listenTCP(0, factory, interface=address))
        try:
            yield port.getHost().port, made
        finally:
            self.run(port.stopListening)
            for each in made:
                if each.transport is not None:
                    self.run(each.transport.abortConnection)


def _factory(protocol: type[Protocol]) -> Factory:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory


class Client(Protocol):
    """Keeps what it gets."""

    loop: Loop

    def __init__(self) -> None:
        self.got = bytearray()
        self.reason: Failure | None = None
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        """Kept."""
        self.got += data
        self._look()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default
        """The end."""
        self.reason = reason
        self._look()

    def send(self, data: bytes) -> None:
        """Sends from another thread."""
        self.loop.run(self.transport.write, data)

    def call(self, name: str, *args: Any) -> None:
        """A method of its transport."""
        self.loop.run(getattr(self.transport, name), *args)

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for it."""

        def wait() -> Deferred[None]:
            done: Deferred[None] = Deferred()
            self._waits.append((condition, done))
            self._look()
            return done

        self.loop.run(wait)

    def until_got(self, count: int) -> bytes:
        """Waits for so many bytes; gives all."""
        self.until(lambda: len(self.got) >= count or self.reason is not None)
        return bytes(self.got)

    def until_lost(self) -> Failure:
        """Waits for the end."""
        self.until(lambda: self.reason is not None)
        assert self.reason is not None
        return self.reason

    def _look(self) -> None:
        for wait in list(self._waits):
            condition, done = wait
            if condition():
                self._waits.remove(wait)
                if not done.called:
                    done.callback(None)


class Echo(Protocol):
    """Sends back what it gets, at the pace at which it is taken."""

    def connectionMade(self) -> None:
        """Its own output pauses its input."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Back."""
        self.transport.write(data)


class Flood(Protocol):
    """Sends without end, at the pace at which it is taken."""

    def connectionMade(self) -> None:
        """Begins."""
        self.sent = 0
        self.going = True
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """More."""
        self.sent += 65536
        self.transport.write(b"\x00" * 65536)

    def stopProducing(self) -> None:
        """The end."""


class Silent(Protocol):
    """Says nothing, and counts what it gets."""

    def connectionMade(self) -> None:
        """Nothing yet."""
        self.count = 0

    def dataReceived(self, data: bytes) -> None:
        """Counted."""
        self.count += len(data)


def node(
    sshd: Sshd,
    key: SshKey | Keys,
    *,
    method: Method = Method.AUTO,
    known: str | None = None,
    **further: Any,
) -> ProxyNode:
    """A lab's server as a node.

    :param known: the host keys that are accepted; its own by default.
    """
    keys = KeyText(key.text) if isinstance(key, SshKey) else key
    user = further.pop("user", sshd.user)
    agent = further.pop("agent", "")
    accepted = HostKeys.parse(sshd.known_lines if known is None else known)
    login = Login(user, keys, accepted, agent)
    host = further.pop("host", sshd.address)
    port = further.pop("port", sshd.port)
    return ProxyNode(host, port, login, method, **further)
