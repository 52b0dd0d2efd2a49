"""Making one connection to one server: the way there, the handshake, the login."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from consoled.errors import ConfigError
from consoled.interfaces import Worker
from consoled.transports.ssh.agent import Agent, open_agent
from consoled.transports.ssh.carrier import Carrier
from consoled.transports.ssh.command import CommandEndpoint
from consoled.transports.ssh.connection import Connection
from consoled.transports.ssh.errors import NodeFailed, SSHError, TargetFailed
from consoled.transports.ssh.hop import Hop
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.link import Link
from consoled.transports.ssh.login import KeyLogin
from consoled.transports.ssh.offers import Offer, offer_of
from consoled.transports.ssh.values import ProxyNode, place_of

log = Logger()

DEFAULT_SECONDS = 0.05
"""The least that a step is given where a deadline is as good as over."""


@implementer(IProtocolFactory)
@define(eq=False)
class OneProtocol:
    """A factory of one protocol that is there already."""

    protocol: Any

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: IAddress) -> IProtocol:
        """The protocol."""
        built: IProtocol = self.protocol
        return built


@define(eq=False)
class Dialler:
    """Makes connections.

    :ivar environment: what commands that lead to servers may see a few variables of.
    """

    reactor: Any
    worker: Worker
    limits: PoolLimits
    environment: Mapping[str, str]
    _links: set[Link] = field(factory=set, init=False)
    _closing: list[Deferred[None]] = field(factory=list, init=False)

    def closed(self) -> Deferred[None]:
        """Fires when no connection is open or on its way."""
        closed: Deferred[None] = Deferred()
        self._closing.append(closed)
        self._forget(None)
        return closed

    async def dial(self, hop: Hop, way: IStreamClientEndpoint | None, deadline: float) -> Carrier:
        """A connection to the last server of a hop's route, logged in.

        :param way: leads to it; None is TCP from here, or the node's command.
        :param deadline: when to give up, in the clock's seconds.
        :raises consoled.transports.ssh.errors.NodeFailed: why there is none.
        """
        node = hop.route[-1]
        agent, offers = await self._offers(node)
        try:
            return await self._connect(hop, way, offers, deadline)
        finally:
            if agent is not None:
                agent.close()

    async def _connect(
        self, hop: Hop, way: IStreamClientEndpoint | None, offers: list[Offer], deadline: float
    ) -> Carrier:
        node, clock, limits = hop.route[-1], self.reactor, self.limits
        carriers: list[Carrier] = []
        ready: Deferred[None] = Deferred()

        def on_lost(error: SSHError) -> None:
            self._forget(link)
            hop.lost(carriers[0], error)
            if not ready.called:
                ready.errback(error)

        connection = Connection(
            clock,
            limits.keepalive,
            limits.patience,
            lambda: ready.callback(None),
            lambda stream: hop.freed(carriers[0], stream),
        )
        link = Link(node, KeyLogin(node.login.user, offers, connection), clock, on_lost)
        carriers.append(Carrier(link, connection, clock, limits.channels))
        await self._reach(node, way, link, deadline)
        timer = clock.callLater(self._left(deadline), link.abort, self._slow(node))
        try:
            await ready
        except CancelledError:
            link.abort(SSHError("nobody waits for this connection any more"))
            raise
        finally:
            if timer.active():
                timer.cancel()
        return carriers[0]

    async def _reach(
        self, node: ProxyNode, way: IStreamClientEndpoint | None, link: Link, deadline: float
    ) -> None:
        seconds = self._left(deadline)
        if way is None and node.command is not None:
            environment = dict(self.environment)
            way = CommandEndpoint(self.reactor, node.command, node.label, environment)
        elif way is None:
            way = HostnameEndpoint(self.reactor, node.host, node.port, timeout=seconds)
        dial = way.connect(OneProtocol(link))
        self._links.add(link)
        late: list[bool] = []

        def give_up() -> None:
            late.append(True)
            dial.cancel()

        # Looking up a name has no end of its own.
        timer = self.reactor.callLater(seconds, give_up)
        try:
            await dial
        except BaseException as error:
            self._forget(link)
            if isinstance(error, CancelledError | ConnectingCancelledError) and not late:
                raise CancelledError() from None
            reason = TimeoutError() if late else error
            raise unreachable(node, reason, self.limits.connect_timeout) from None
        finally:
            if timer.active():
                timer.cancel()

    def _forget(self, link: Link | None) -> None:
        if link is not None:
            self._links.discard(link)
        if not self._links:
            waiting, self._closing = self._closing, []
            for closed in waiting:
                closed.callback(None)

    def _left(self, deadline: float) -> float:
        left: float = deadline - self.reactor.seconds()
        return max(DEFAULT_SECONDS, left)

    def _slow(self, node: ProxyNode) -> NodeFailed:
        return NodeFailed(
            f"The SSH server {node.label} did not answer within "
            f"{self.limits.connect_timeout:g} seconds.",
            f"{place_of(node.host, node.port)}: connected, and no login within that time",
        )

    async def _offers(self, node: ProxyNode) -> tuple[Agent | None, list[Offer]]:
        login = node.login
        try:
            keys = await self.worker.run(login.keys.load)
        except ConfigError as error:
            raise NodeFailed(
                f"The key for the SSH server {node.label} cannot be used.", str(error)
            ) from None
        offers = [offer_of(key, self.worker) for key in keys]
        if not login.agent:
            return None, offers
        try:
            agent = await open_agent(self.reactor, login.agent)
        except CancelledError:
            raise
        except Exception as error:
            log.warn(
                "SSH to {label}: the agent at {agent} cannot be asked: {reason}",
                label=node.label,
                agent=login.agent,
                reason=str(error) or type(error).__name__,
            )
            return None, offers
        return agent, [*offers, *agent.offers]


def unreachable(node: ProxyNode, error: BaseException, timeout: float) -> SSHError:
    """The error for a server to which there is no connection.

    :param error: what the dial raised.
    :param timeout: seconds that it was given.
    """
    if isinstance(error, SSHError) and not isinstance(error, TargetFailed):
        return error
    label, place = node.label, place_of(node.host, node.port)
    detail = f"{place}: {error}"
    if isinstance(error, TargetFailed):
        # To the server before it, this one is a target.
        what, detail = f"cannot be reached: {str(error).rstrip('.')}", error.detail
    elif isinstance(error, TimeoutError):
        what = f"did not answer within {timeout:g} seconds"
        detail = f"{place}: no connection"
    elif isinstance(error, ConnectionRefusedError):
        what = "refused the connection"
    elif isinstance(error, DNSLookupError):
        what = "has a name that cannot be looked up"
    else:
        what = "cannot be reached"
    return NodeFailed(f"The SSH server {label} {what}.", detail)
