"""Puts the metrics together: what the composition asks for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger, LogPublisher

from consoled.http.listen import serve
from consoled.interfaces import Database, TokenAuthority, Transport
from consoled.metrics.authority import CountedAuthority
from consoled.metrics.database import TimedDatabase
from consoled.metrics.events import EventCounts
from consoled.metrics.health import Readiness
from consoled.metrics.instruments import Instruments
from consoled.metrics.lag import LagMeter
from consoled.metrics.open_sessions import OpenSessions, Reading
from consoled.metrics.pages import Pages, make_site
from consoled.metrics.transport import TimedTransport
from consoled.service import Part
from consoled.transports.ssh.pool import NodeHealth

log = Logger()


@define(eq=False)
class Meters:
    """One daemon's metrics.

    :ivar reactor: its time, and its timers.
    :ivar read: shows an open session by its id.
    :ivar publisher: where the log's events come by.
    """

    reactor: Any
    read: Callable[[str], Reading | None]
    publisher: LogPublisher
    instruments: Instruments = field(factory=lambda: Instruments(CollectorRegistry()), init=False)
    sessions: OpenSessions = field(init=False)
    events: EventCounts = field(init=False)
    lag: LagMeter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sessions = OpenSessions(self.instruments, self.read, self.reactor)
        self.events = EventCounts(self.instruments, self.sessions, self.publisher)
        self.lag = LagMeter(self.reactor, self.instruments.reactor_lag.observe)

    @property
    def parts(self) -> list[Part]:
        """What runs while the daemon does."""
        return [
            Part(self.events.start, self.events.stop),
            Part(self.lag.start, self.lag.stop),
        ]

    def counted(self, authority: TokenAuthority) -> TokenAuthority:
        """The authority, its checks counted."""
        return CountedAuthority(authority, self.instruments.token_validations)

    def timed(self, database: Database) -> Database:
        """The database, its transactions timed."""
        return TimedDatabase(database, self.instruments.database, self.reactor.seconds)

    def timed_dials(self, transport: Transport) -> Transport:
        """The transport, its dials timed."""
        return TimedTransport(transport, self.instruments.backend_connect, self.reactor.seconds)

    def count_ports(self, host: str, free: int, used: int) -> None:
        """Shows the ports of a compute host.

        :param free: those of its range that are nobody's.
        :param used: the others of its range.
        """
        self.instruments.ports_free.labels(host).set(free)
        self.instruments.ports_used.labels(host).set(used)

    def watch_ssh(self, health: Callable[[], Iterable[NodeHealth]]) -> None:
        """Shows SSH connections, and what they carry, whenever somebody looks."""
        self.instruments.ssh_connections.set_function(
            lambda: sum(node.connections for node in health())
        )
        self.instruments.ssh_channels.set_function(lambda: sum(node.channels for node in health()))

    def site(self, readiness: Readiness) -> IProtocolFactory:
        """The pages for a monitoring system."""
        return make_site(Pages(self.instruments, self.sessions, readiness, self.reactor))


@define(eq=False)
class MonitoringListener:
    """A listener that starts as a part: it is there when the others are closed for the drain.

    :ivar socket: bound.
    """

    reactor: Any
    socket: socket.socket
    factory: IProtocolFactory
    _port: IListeningPort | None = field(default=None, init=False)

    def start(self) -> None:
        """Serves."""
        self._port = serve(self.reactor, self.socket, self.factory)
        address: Any = self._port.getHost()
        log.info(
            "{name} listens on {host} port {port}",
            event="listening",
            name="metrics",
            host=address.host,
            port=address.port,
        )

    def stop(self) -> Deferred[None] | None:
        """Closes the socket."""
        if self._port is None:
            return None
        stopped: Deferred[None] | None = self._port.stopListening()
        return stopped

    @property
    def part(self) -> Part:
        """Itself, to be the first to start and the last to stop."""
        return Part(self.start, self.stop)
