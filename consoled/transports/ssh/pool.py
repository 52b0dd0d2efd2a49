"""Streams and shells through SSH servers: one connection to each, whatever it carries."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from twisted.conch.ssh.connection import (
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_UNKNOWN_CHANNEL_TYPE,
)
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from consoled.interfaces import Worker
from consoled.transports.ssh.carrier import Carrier, ChannelRefused
from consoled.transports.ssh.channel import DirectStream, Stream
from consoled.transports.ssh.dialling import Dialler
from consoled.transports.ssh.errors import (
    NoForwarding,
    SSHError,
    TargetFailed,
    TargetRefused,
    quoted,
)
from consoled.transports.ssh.hop import Hop
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.session import NcStream, ShellStream, UnknownOption, target_failed
from consoled.transports.ssh.values import Method, ProxyNode, Route, Terminal, place_of

log = Logger()

MOST_HOPS = 1000
"""Servers that are remembered without being in use."""

_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?"
_HOST = re.compile(f"{_NAME}|{_IPV6}", re.ASCII)
_FORBIDDEN = frozenset({OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_UNKNOWN_CHANNEL_TYPE})


@frozen
class NodeHealth:
    """What is known of one server in one way.

    :ivar connections: to it.
    :ivar channels: that they carry.
    :ivar dead: whether it has failed a short while ago.
    :ivar reason: why, where it is dead; else empty.
    """

    route: Route
    connections: int
    channels: int
    dead: bool
    reason: str


@define(eq=False)
class SSHPool:
    """The connections of one daemon, or of one program.

    :ivar reactor: does everything; its clock counts time-outs.
    :ivar worker: reads and decrypts keys, and signs with them.
    :ivar environment: of this process, for commands that lead to servers.
    """

    reactor: Any
    worker: Worker
    limits: PoolLimits = field(factory=PoolLimits)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ))
    _hops: dict[Route, Hop] = field(factory=dict, init=False)
    _dialler: Dialler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dialler = Dialler(self.reactor, self.worker, self.limits, self.environment)

    def start(self) -> None:
        """Nothing is opened before it is needed."""

    def stop(self) -> Deferred[None]:
        """Closes all connections; fires when they are closed."""
        for hop in list(self._hops.values()):
            hop.close(SSHError("The SSH connections are being closed: the server stops."))
        return self._dialler.closed()

    def endpoint(self, route: Route, host: str, port: int) -> IStreamClientEndpoint:
        """A TCP stream to host and port from the last server of a route.

        :param route: () dials TCP from here.
        :param host: a name or address, as the last server knows it.
        """
        endpoint: IStreamClientEndpoint = StreamEndpoint(self, route, host, port)
        return endpoint

    def shell(self, route: Route, target: ProxyNode, terminal: Terminal) -> IStreamClientEndpoint:
        """A login shell on a server; the connected protocol's transport is a
        :class:`consoled.transports.ssh.session.ShellStream`, which can be resized.

        :param route: leads to the server.
        """
        endpoint: IStreamClientEndpoint = ShellEndpoint(self, (*route, target), terminal)
        return endpoint

    def health(self) -> list[NodeHealth]:
        """What is known of the servers that are in use, or have failed."""
        return [_health(hop) for hop in self._hops.values() if hop.in_use]

    def is_dead(self, route: Route) -> bool:
        """Whether a server of the route has failed a short while ago."""
        prefixes = (route[: length + 1] for length in range(len(route)))
        return any(hop.is_dead for hop in map(self._hops.get, prefixes) if hop is not None)

    def load(self, route: Route) -> int:
        """How many channels the last server of the route carries."""
        hop = self._hops.get(route)
        return 0 if hop is None else hop.channels

    def stands(self, host: str, port: int) -> bool:
        """Whether a connection to a server at that place stands, in whichever way."""
        return any(
            hop.carriers and (hop.route[-1].host, hop.route[-1].port) == (host, port)
            for hop in self._hops.values()
        )

    # What endpoints do.

    async def open_stream(self, route: Route, host: str, port: int, deadline: float) -> Stream:
        """An open stream without a protocol."""
        hop = self._hop(route)
        node = route[-1]
        if not _HOST.fullmatch(host):
            raise TargetFailed(
                f"Port {port} cannot be reached: its host is not a name or address.", repr(host)
            )
        if node.method is not Method.NC and not hop.forbids_forwarding:
            try:
                return await hop.open(lambda: DirectStream(host, port), deadline)
            except ChannelRefused as error:
                if error.code not in _FORBIDDEN or node.method is Method.DIRECT:
                    raise _refused(node, port, error) from None
        stream = await self._open_nc(hop, host, port, deadline)
        if node.method is Method.AUTO:
            hop.forbids_forwarding = True
        return stream

    async def open_shell(self, route: Route, terminal: Terminal, deadline: float) -> Stream:
        """An open shell without a protocol."""
        node = route[-1]
        try:
            return await self._hop(route).open(
                lambda: ShellStream(node.host, node.port, terminal), deadline
            )
        except ChannelRefused as error:
            raise _refused(node, node.port, error) from None

    async def _open_nc(self, hop: Hop, host: str, port: int, deadline: float) -> Stream:
        try:
            for options in hop.nc_options[:-1]:
                try:
                    return await self._nc(hop, host, port, options, deadline)
                except UnknownOption:
                    hop.nc_options = tuple(known for known in hop.nc_options if known != options)
            return await self._nc(hop, host, port, hop.nc_options[-1], deadline)
        except ChannelRefused as error:
            raise _refused(hop.route[-1], port, error) from None

    async def _nc(self, hop: Hop, host: str, port: int, options: str, deadline: float) -> Stream:
        return await hop.open(lambda: NcStream(host, port, options), deadline)

    def deadline(self) -> float:
        """When what begins now is given up."""
        now: float = self.reactor.seconds()
        return now + self.limits.connect_timeout

    def _hop(self, route: Route) -> Hop:
        hop = self._hops.get(route)
        if hop is None:
            if len(self._hops) >= MOST_HOPS:
                self._hops = {key: hop for key, hop in self._hops.items() if hop.in_use}
            hop = self._hops[route] = Hop(route, self.reactor, self.limits, self._dial)
        return hop

    def _dial(self, route: Route, deadline: float) -> Deferred[Carrier]:
        node, before = route[-1], route[:-1]
        way = StreamEndpoint(self, before, node.host, node.port, deadline) if before else None
        return Deferred.fromCoroutine(self._dialler.dial(self._hop(route), way, deadline))


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class StreamEndpoint:
    """Host and port, from the last server of a route.

    :ivar until: when to give up, in the clock's seconds; None is the time-out from the call on.
    """

    pool: SSHPool
    route: Route
    host: str
    port: int
    until: float | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected. Cancelling leaves nothing behind.

        :raises consoled.transports.ssh.errors.SSHError: why it is not.
        """
        deadline = self.pool.deadline() if self.until is None else self.until
        if not self.route:
            return Deferred.fromCoroutine(self._directly(protocolFactory))
        return _connect(
            protocolFactory,
            lambda: self.pool.open_stream(self.route, self.host, self.port, deadline),
            f"{place_of(self.host, self.port)} through {_labels(self.route)}",
            quiet=self.until is not None,
        )

    async def _directly(self, factory: IProtocolFactory) -> IProtocol:
        timeout = self.pool.limits.connect_timeout
        endpoint = HostnameEndpoint(self.pool.reactor, self.host, self.port, timeout=timeout)
        try:
            connected: IProtocol = await endpoint.connect(factory)
        except (ConnectError, OSError) as error:
            refused = isinstance(error, ConnectionRefusedError)
            what = "the connection was refused" if refused else "there was no answer"
            raise (TargetRefused if refused else TargetFailed)(
                f"Port {self.port} cannot be reached: {what}.",
                f"{place_of(self.host, self.port)}: {error}",
            ) from None
        return connected


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class ShellEndpoint:
    """A shell on the last server of a route."""

    pool: SSHPool
    route: Route
    terminal: Terminal

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected to the shell. Cancelling leaves nothing behind.

        :raises consoled.transports.ssh.errors.SSHError: why it is not.
        """
        deadline = self.pool.deadline()
        return _connect(
            protocolFactory,
            lambda: self.pool.open_shell(self.route, self.terminal, deadline),
            f"a shell on {_labels(self.route)}",
        )


def _connect(
    factory: IProtocolFactory, open_: Callable[[], Any], what: str, quiet: bool = False
) -> Deferred[IProtocol]:
    async def connect() -> IProtocol:
        try:
            stream: Stream = await open_()
        except SSHError as error:
            if not quiet:
                log.warn(
                    "SSH: no connection to {what}: {error} ({detail})",
                    what=what,
                    error=error,
                    detail=error.detail,
                )
            raise
        return stream.attach(factory)

    return Deferred.fromCoroutine(connect())


def _refused(node: ProxyNode, port: int, error: ChannelRefused) -> SSHError:
    """The error for a channel that a server does not open."""
    said = quoted(error.words)
    if error.code in _FORBIDDEN:
        return NoForwarding(
            f"The SSH server {node.label} does not allow a connection to port {port}.",
            f"AllowTcpForwarding, PermitOpen or the key's restrictions: {said}",
        )
    return target_failed(node.label, port, error.words, said)


def _labels(route: Route) -> str:
    return ", ".join(node.label for node in route)


def _health(hop: Hop) -> NodeHealth:
    dead = hop.is_dead
    reason = str(hop.failure) if dead else ""
    return NodeHealth(hop.route, len(hop.carriers), hop.channels, dead, reason)
