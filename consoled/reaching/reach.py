"""Connections over the ways that lead to an instance, best first.

The ways come from :class:`consoled.interfaces.Routes`: over proxy nodes, or directly. A node that
is known to be dead is tried last, and of those that are well the one with the fewest open
channels first. A way that fails before the connection stands gives way to the next; all of it
within one time limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectingCancelledError, UserError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from consoled.errors import BackendTimeout, BackendUnreachable
from consoled.interfaces import Routes
from consoled.model import Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.transports.ssh.errors import TargetRefused
from consoled.transports.ssh.values import ProxyNode, Route, Terminal, place_of

log = Logger()

SHARE = 0.9
"""Of the time limit: so there is time left to say what went wrong."""

LEAST = 2.0
"""Seconds that a way is given, however many come after it."""

MOST_TRIES = 6
"""Ways that are tried for one connection: a wrong key is not shown to a server again and again."""


class Pool(Protocol):
    """What is asked of :class:`consoled.transports.ssh.pool.SSHPool`."""

    def endpoint(self, route: Route, host: str, port: int) -> IStreamClientEndpoint:
        """A stream to host and port from the last node of the route."""

    def shell(self, route: Route, target: ProxyNode, terminal: Terminal) -> IStreamClientEndpoint:
        """A shell on the target, which is reached from the last node of the route."""

    def is_dead(self, route: Route) -> bool:
        """Whether a node of the route has failed lately."""

    def load(self, route: Route) -> int:
        """How many channels the last node of the route carries now."""


@frozen
class Way:
    """One way to a place.

    :ivar route: the proxy nodes on it; () is directly.
    :ivar target: the place, in words.
    :ivar endpoint: what dials it.
    """

    route: Route
    target: str
    endpoint: IStreamClientEndpoint

    @property
    def words(self) -> str:
        """What logs and people are told of it."""
        over = " and ".join(node.label for node in self.route)
        return f"{self.target} over {over}" if over else self.target


def spread(routes: Sequence[Route], pool: Pool) -> list[Route]:
    """The routes in the order in which to try them.

    Those without a dead node come first, and of them the one whose last node carries the fewest
    channels; what is equal stays in its order.
    """

    def reluctance(route: Route) -> tuple[bool, int]:
        return pool.is_dead(route), pool.load(route)

    return sorted(routes, key=reluctance)


@frozen
class Reach:
    """Connections to instances and to their serial ports, over whatever ways lead there.

    :ivar direct: dials a host and port without a proxy node.
    :ivar timeout: seconds to a connection in all (``[proxy] connect_timeout``).
    """

    routes: Routes
    pool: Pool
    direct: Callable[[str, int], IStreamClientEndpoint]
    clock: IReactorTime
    timeout: float

    def endpoint(
        self, instance: Instance, host: str, port: int, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """A TCP stream to one of the instance's own addresses.

        Its ``connect`` fails in time: over a proxy node with a sentence of
        :class:`consoled.errors.BackendUnreachable`, else as the direct dial does; with
        ``Unavailable`` while the database is away. Cancelling it leaves nothing behind.

        :param host: the address, without brackets.
        :param behalf: who wants to connect.
        """
        return self._endpoint(self.routes.to, instance, host, port, behalf)

    def host_endpoint(
        self, instance: Instance, host: str, port: int, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """As :meth:`endpoint`, to a port of the instance's compute host."""
        return self._endpoint(self.routes.to_host, instance, host, port, behalf)

    def shell(
        self, instance: Instance, terminal: Terminal, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """A shell on the instance; the connection's transport has ``resize(columns, rows)``."""
        return Ways(lambda: self._shells(instance, terminal, behalf), self.clock, self.timeout)

    def _endpoint(
        self,
        routes: Callable[[Instance, Behalf], Deferred[Sequence[Route]]],
        instance: Instance,
        host: str,
        port: int,
        behalf: Behalf,
    ) -> IStreamClientEndpoint:
        target = place_of(host, port)

        def way(route: Route) -> Way:
            if route:
                return Way(route, target, self.pool.endpoint(route, host, port))
            return Way(route, target, self.direct(host, port))

        async def ways() -> list[Way]:
            found = await routes(instance, behalf)
            return [way(route) for route in spread(found, self.pool)]

        return Ways(ways, self.clock, self.timeout)

    async def _shells(self, instance: Instance, terminal: Terminal, behalf: Behalf) -> list[Way]:
        targets = await self.routes.shells(instance, behalf)
        routes = spread(await self.routes.to(instance, behalf), self.pool)
        return [
            Way(
                route,
                place_of(target.host, target.port),
                self.pool.shell(route, target, terminal),
            )
            for target in targets
            for route in routes
        ]


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class Ways:
    """Dials one way after the other.

    :ivar find: the ways, in the order in which to try them.
    :ivar timeout: seconds until the last one is given up.
    """

    find: Callable[[], Awaitable[Sequence[Way]]]
    clock: IReactorTime
    timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected over the first way that leads there.

        :raises consoled.errors.BackendUnreachable: none does, and why not.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        ways = list(await self.find())[:MOST_TRIES]
        until = self.clock.seconds() + self.timeout * SHARE
        failed: Exception = BackendUnreachable("Nothing says how to get there.")
        while ways:
            way, left = ways.pop(0), until - self.clock.seconds()
            if left <= 0:
                break
            share = max(left / (len(ways) + 1), min(LEAST, left))
            try:
                return await self._dial(way, factory, share)
            except (BackendUnreachable, ConnectError, TimedOut, UserError, OSError) as error:
                failed = self._told(way, error, share)
            if isinstance(failed, TargetRefused):
                # The node is well: others would find the same.
                ways = [other for other in ways if other.target != way.target]
            if ways:
                log.warn(
                    "no connection to {way}, the next way is tried: {reason}",
                    event="way_failed",
                    way=way.words,
                    reason=str(failed) or type(failed).__name__,
                )
        raise failed

    async def _dial(self, way: Way, factory: IProtocolFactory, share: float) -> IProtocol:
        dial: Deferred[Any] = way.endpoint.connect(factory)
        dial.addTimeout(share, self.clock, _timed_out)
        try:
            protocol: IProtocol = await dial
        except ConnectingCancelledError as error:
            # The endpoints' own word for a cancelled dial.
            raise CancelledError from error
        return protocol

    def _told(self, way: Way, error: Exception, share: float) -> Exception:
        """The error as people are told it."""
        if isinstance(error, BackendUnreachable) or not way.route:
            return error
        if isinstance(error, TimedOut | UserError):
            return BackendTimeout(f"No answer from {way.words} within {share:.3g} s.")
        return BackendUnreachable(f"The connection to {way.words} was refused.")


def _timed_out(_outcome: object, timeout: float) -> NoReturn:
    raise TimedOut(timeout)
