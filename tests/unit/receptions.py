"""A reception over fakes: everything between a judged request and a guest's socket."""

from __future__ import annotations

from typing import Any

from fakes import FakeDriver
from memory_leases import MemoryLeases
from twisted.internet.defer import Deferred, succeed

from consoled.model import Console, ConsoleAuthToken, Instance
from consoled.proxy.book import SessionBook
from consoled.proxy.limits import SessionLimits
from consoled.proxy.opening import Opener
from consoled.proxy.reception import Reception
from consoled.replicas.hops import Hops
from consoled.transports.tcp import TCPTransport

NOW = 1_767_225_600
"""The time of day in these tests: 2026-01-01T00:00:00Z."""


class FakeSpender:
    """The part of a token authority that an opening asks.

    :ivar spent: the tokens that were spent.
    :ivar error: when set, spending fails with it.
    """

    def __init__(self) -> None:
        self.spent: list[ConsoleAuthToken] = []
        self.error: Exception | None = None

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """Remembers it, or fails."""
        if self.error is not None:
            raise self.error
        self.spent.append(token)
        return succeed(None)


class FakePorts:
    """A driver's hand on its guests' ports.

    :ivar can: whether it can free a port.
    :ivar freed: which it has freed.
    :ivar held: the consoles that have a client.
    """

    def __init__(self) -> None:
        self.can = False
        self.freed: list[tuple[str, int]] = []
        self.held: frozenset[int] = frozenset()

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Remembers it."""
        if self.can:
            self.freed.append((instance_uuid, index))
        return succeed(self.can)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """As it was set."""
        return succeed(self.held)


class FakeRegistrar:
    """Remembers the consoles that were recorded."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, int]] = []

    def register(self, instance: Instance, console: Console) -> Deferred[int]:
        """Remembers it."""
        self.recorded.append((instance.uuid, console.index))
        return succeed(1)


class House:
    """The parts, to be looked at."""

    def __init__(
        self,
        reactor: Any,
        driver: FakeDriver | None = None,
        *,
        limits: SessionLimits = SessionLimits(),  # noqa: B008  # frozen
        max_sessions: int = 10,
        stall_timeout: float = 15.0,
        linger: float = 30.0,
    ) -> None:
        self.reactor = reactor
        self.driver = driver or FakeDriver()
        self.leases = MemoryLeases()
        self.spender: Any = FakeSpender()
        self.ports = FakePorts()
        self.registrar = FakeRegistrar()
        self.sessions = SessionBook()
        self.reception = Reception(
            opener=Opener(
                driver=self.driver,
                leases=self.leases,
                registrar=self.registrar,
                ports=self.ports,
                transport=TCPTransport(reactor, 10),
                clock=reactor,
                connect_timeout=10,
            ),
            driver=self.driver,
            authority=self.spender,
            clock=reactor,
            sessions=self.sessions,
            limits=limits,
            max_sessions=max_sessions,
            stall_timeout=stall_timeout,
            linger=linger,
            wall=lambda: NOW,
        )
        self.hops = Hops(
            leases=self.leases,
            tickets=None,  # type: ignore[arg-type]  # alone in its cell
            own_url="",
            endpoint=lambda url: None,  # type: ignore[arg-type,return-value]  # alone in its cell
            clock=reactor,
        )
