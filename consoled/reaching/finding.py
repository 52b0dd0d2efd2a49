"""Ways over proxy nodes, found from the node groups and from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.errors import BackendUnreachable, ConsoledError, NotFound
from consoled.interfaces import Addresses, Driver
from consoled.model import Instance
from consoled.reaching.book import GroupBook
from consoled.reaching.commands import ProxyCommand, Unfilled
from consoled.reaching.logins import Logins
from consoled.reaching.routes import Chain, NoWay, alternatives, chain, to_host, to_instance
from consoled.reaching.values import SSH_PORT, Groups, Member, NodeGroup
from consoled.reaching.wishes import allowed, reachable
from consoled.transports.ssh.values import Login, Method, ProxyNode, Route, place_of

log = Logger()

DIRECTLY: Sequence[Route] = ((),)

ADDRESS_LIFE = 30.0
"""Seconds that the address of a proxy which is an instance is taken to stay."""

FORGET_AT = 1000
"""Such addresses that are remembered at most."""


@frozen
class CellWay:
    """How the configuration reaches what no node group leads to.

    :ivar nodes: ``[ssh_proxy] nodes``; the first is the proxy.
    :ivar group: the name of a node group instead, or None.
    """

    nodes: tuple[ProxyNode, ...] = ()
    group: str | None = None


@frozen
class Rules:
    """What ``[ssh_proxy]`` says of all ways.

    :ivar method: how nodes are asked for connections.
    :ivar command: the way to the first node, or None for TCP.
    :ivar networks: where hosts may be that are members of groups.
    """

    method: Method = Method.AUTO
    command: ProxyCommand | None = None
    networks: tuple[str, ...] = ()


class ListedAddresses:
    """Implements :class:`consoled.interfaces.Addresses`: what the driver itself lists."""

    def of(self, instance: Instance) -> Deferred[tuple[str, ...]]:
        """The instance's own ``addresses``."""
        return succeed(instance.addresses)


@define(eq=False)
class RouteFinder:
    """Implements :class:`consoled.interfaces.Routes`.

    :ivar cell: what the configuration says; SIGHUP puts a new one here.
    :ivar seconds: a clock that does not step.
    """

    book: GroupBook
    driver: Driver
    addresses: Addresses
    logins: Logins
    rules: Rules
    cell: CellWay
    seconds: Callable[[], float]
    _known: dict[str, tuple[float, str | None]] = field(factory=dict, init=False)

    def to(self, instance: Instance) -> Deferred[Sequence[Route]]:
        """Ways to the network of the instance's own addresses."""
        if self._nothing_to_find:
            return succeed(DIRECTLY)
        return Deferred.fromCoroutine(self._to(instance))

    def to_host(self, instance: Instance) -> Deferred[Sequence[Route]]:
        """Ways to the serial ports of the instance's compute host."""
        if self._nothing_to_find:
            return succeed(DIRECTLY)
        return Deferred.fromCoroutine(self._to_host(instance))

    def shells(self, instance: Instance) -> Deferred[Sequence[ProxyNode]]:
        """Where to log in for a shell on the instance itself."""
        return Deferred.fromCoroutine(self._shells(instance))

    @property
    def _nothing_to_find(self) -> bool:
        """Whether this is a cell without any proxy: it shall pay nothing."""
        known = self.book.known
        return known is not None and not known.by_id and self.cell == CellWay()

    async def _to(self, instance: Instance) -> Sequence[Route]:
        groups = await self.book.groups()
        return await self._routes(
            instance, groups, lambda: to_instance(groups, instance.uuid, instance.host)
        )

    async def _to_host(self, instance: Instance) -> Sequence[Route]:
        groups = await self.book.groups()
        return await self._routes(instance, groups, lambda: to_host(groups, instance.host))

    async def _routes(
        self, instance: Instance, groups: Groups, way: Callable[[], Chain | None]
    ) -> Sequence[Route]:
        try:
            found = way()
            if found is None:
                if self.cell.group is None:
                    return self._filled(instance, [(node,) for node in self.cell.nodes])
                found = self._chain_of_cell(groups)
        except NoWay as error:
            raise _unreachable(instance, str(error)) from None
        hops = [await self._nodes(instance, group) for group in found]
        return self._filled(instance, alternatives(hops)) if hops else DIRECTLY

    def _chain_of_cell(self, groups: Groups) -> Chain:
        name = str(self.cell.group)
        group = groups.named(name)
        if group is None:
            raise NoWay(f"[ssh_proxy] group names {name}, and there is no such node group")
        return chain(groups.by_id, group.id)

    async def _nodes(self, instance: Instance, group: NodeGroup) -> list[ProxyNode]:
        """The members of a proxy group that can be reached, in their order."""
        login = self.logins.of(group.traits)
        if login is None:
            raise _unreachable(instance, f"node group {group.name} has no user name to log in with")
        reasons: list[str] = []
        nodes: list[ProxyNode] = []
        for member in group.members:
            node = await self._node(group, login, member, reasons)
            if node is not None:
                nodes.append(node)
        if not nodes:
            why = "; ".join(reasons) or "it has no members"
            raise _unreachable(instance, f"no node of group {group.name} can be used: {why}")
        return nodes

    async def _node(
        self, group: NodeGroup, login: Login, member: Member, reasons: list[str]
    ) -> ProxyNode | None:
        address = member.address
        if address is None:
            assert member.instance_uuid is not None
            address = await self._address(member.instance_uuid)
            if address is None:
                reasons.append(f"instance {member.instance_uuid} does not run or has no address")
                return None
        elif not allowed(address, self.rules.networks):
            reasons.append(f"{address} is not in [ssh_proxy] allowed_networks")
            return None
        return ProxyNode(
            address,
            member.port,
            login,
            self.rules.method,
            name=f"{group.name} ({place_of(address, member.port)})",
        )

    async def _address(self, uuid: str) -> str | None:
        """An address of an instance that runs, if it has one."""
        until, address = self._known.get(uuid, (0.0, None))
        if self.seconds() < until:
            return address
        address = None
        try:
            instance = await self.driver.instance(uuid)
            found = await self._addresses(instance) if instance.state.live else ()
            address = next(iter(found), None)
        except NotFound:
            pass
        except ConsoledError as error:
            # Its host does not answer; the other members may do.
            log.warn(
                "the address of {instance_uuid} is not known: {cause}",
                event="proxy_address_unknown",
                instance_uuid=uuid,
                cause=str(error),
            )
            return None
        if address is not None:
            if len(self._known) >= FORGET_AT:
                self._known.clear()
            self._known[uuid] = (self.seconds() + ADDRESS_LIFE, address)
        return address

    async def _addresses(self, instance: Instance) -> list[str]:
        found = await self.addresses.of(instance)
        return [address for address in found if reachable(address, self.rules.networks)]

    def _filled(self, instance: Instance, routes: Sequence[Route]) -> Sequence[Route]:
        """The routes, with the command that reaches their first node."""
        if self.rules.command is None or not routes:
            return routes or DIRECTLY
        return [(self._commanded(instance, route[0]), *route[1:]) for route in routes]

    def _commanded(self, instance: Instance, node: ProxyNode) -> ProxyNode:
        assert self.rules.command is not None
        values: Mapping[str, str | None] = {
            "host": node.host,
            "port": str(node.port),
            "tenant_id": instance.project_id,
            "network_id": instance.metadata.get("network_id"),
            "router_id": instance.metadata.get("router_id"),
        }
        try:
            return evolve(node, command=self.rules.command.fill(values))
        except Unfilled as error:
            raise _unreachable(instance, f"of [ssh_proxy] proxy_command, {error}") from None

    async def _shells(self, instance: Instance) -> Sequence[ProxyNode]:
        groups = await self.book.groups()
        own = groups.by_instance.get(instance.uuid)
        login = None if own is None else self.logins.of(own.traits)
        try:
            way = to_instance(groups, instance.uuid, instance.host)
            if way is None and self.cell.group is not None:
                way = self._chain_of_cell(groups)
        except NoWay as error:
            raise _unreachable(instance, str(error)) from None
        if login is None and way:
            login = self.logins.of(way[-1].traits)
        if login is None:
            return ()
        port = _port_of(own, instance.uuid)
        nodes = [
            ProxyNode(address, port, login, name=f"{instance.name} ({place_of(address, port)})")
            for address in await self._addresses(instance)
        ]
        if way == () and self.rules.command is not None:
            # It is a proxy itself, and so the first node of every way to it.
            return [self._commanded(instance, node) for node in nodes]
        return nodes


def _port_of(group: NodeGroup | None, uuid: str) -> int:
    members = () if group is None else group.members
    return next((one.port for one in members if one.instance_uuid == uuid), SSH_PORT)


def _unreachable(instance: Instance, why: str) -> BackendUnreachable:
    """For the user in plain words; why, for the operator."""
    log.warn(
        "no way to {instance_uuid}: {reason}",
        event="no_proxy_route",
        instance_uuid=instance.uuid,
        reason=why,
    )
    return BackendUnreachable(
        f"There is no way to instance {instance.uuid} now: its proxy nodes cannot be used. "
        "An administrator finds the reason in the log of the console server."
    )
