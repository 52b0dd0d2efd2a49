"""Ways over proxy nodes, found from the node groups and from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.errors import BackendUnreachable
from consoled.interfaces import Addresses, Driver
from consoled.model import SHELL, ConsoleAuthToken, Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.reaching.book import GroupBook
from consoled.reaching.commands import ProxyCommand, Unfilled
from consoled.reaching.filling import NETWORK, ROUTER, Filler, Networks
from consoled.reaching.logins import Logins
from consoled.reaching.members import InstanceMembers, Stands, always
from consoled.reaching.routes import Chain, NoWay, alternatives, chain, to_host, to_instance
from consoled.reaching.values import SSH_PORT, Groups, Member, NodeGroup
from consoled.reaching.wishes import allowed
from consoled.transports.ssh.values import Login, Method, ProxyNode, Route, place_of

log = Logger()

DIRECTLY: Sequence[Route] = ((),)


@frozen
class Hop:
    """A node on the way.

    :ivar member: the instance that it is, or None.
    """

    node: ProxyNode
    member: Instance | None = None


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

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The instance's own ``addresses``."""
        return succeed(instance.addresses)


@define(eq=False)
class RouteFinder:
    """Implements :class:`consoled.interfaces.Routes`.

    :ivar cell: what the configuration says; SIGHUP puts a new one here.
    :ivar seconds: a clock that does not step.
    :ivar networks: Neutron, or None.
    :ivar stands: whether an SSH connection to a place stands: what was found out of it counts
        for a while then.
    """

    book: GroupBook
    driver: Driver
    addresses: Addresses
    logins: Logins
    rules: Rules
    cell: CellWay
    seconds: Callable[[], float]
    networks: Networks | None = None
    stands: Stands = always
    _members: InstanceMembers = field(init=False)
    _filler: Filler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._members = InstanceMembers(
            self.driver, self.addresses, self.rules.networks, self.seconds, self.stands
        )
        self._filler = Filler(self.networks, self.seconds, self.stands)

    def to(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """Ways to the network of the instance's own addresses."""
        if self._nothing_to_find:
            return succeed(DIRECTLY)
        return Deferred.fromCoroutine(self._to(instance, behalf))

    def to_host(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """Ways to the serial ports of the instance's compute host."""
        if self._nothing_to_find:
            return succeed(DIRECTLY)
        return Deferred.fromCoroutine(self._to_host(instance, behalf))

    def shells(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[ProxyNode]]:
        """Where to log in for a shell on the instance itself."""
        return Deferred.fromCoroutine(self._shells(instance, behalf))

    def addresses_of(self, instance: Instance, behalf: Behalf) -> Deferred[tuple[str, ...]]:
        """The instance's addresses in the order in which to dial them over :meth:`to`.

        :raises consoled.errors.ConsoledError: as of :meth:`consoled.interfaces.Addresses.of`, or
            as the groups cannot be read.
        """
        return Deferred.fromCoroutine(self._addresses_of(instance, behalf))

    def needs_user(self, token: ConsoleAuthToken) -> bool:
        """Whether the way to the token's console may have to be asked of Neutron, with the rights
        of the token's user.
        """
        if self.networks is None:
            return False
        if token.console_type == SHELL:
            return True
        if self._nothing_to_find:
            return False
        command = self.rules.command
        if command is not None and command.names & {NETWORK, ROUTER}:
            return True
        known = self.book.known
        return known is None or bool(known.by_instance)

    @property
    def _nothing_to_find(self) -> bool:
        """Whether this is a cell without any proxy: it shall pay nothing."""
        known = self.book.known
        return known is not None and not known.by_id and self.cell == CellWay()

    async def _to(self, instance: Instance, behalf: Behalf) -> Sequence[Route]:
        groups = await self.book.groups()
        return await self._routes(
            instance, behalf, groups, lambda: to_instance(groups, instance.uuid, instance.host)
        )

    async def _to_host(self, instance: Instance, behalf: Behalf) -> Sequence[Route]:
        groups = await self.book.groups()
        return await self._routes(instance, behalf, groups, lambda: to_host(groups, instance.host))

    async def _routes(
        self,
        instance: Instance,
        behalf: Behalf,
        groups: Groups,
        way: Callable[[], Chain | None],
    ) -> Sequence[Route]:
        try:
            found = self._whole(groups, way())
        except NoWay as error:
            raise _unreachable(instance, str(error)) from None
        if found is None:
            hops = [[Hop(node) for node in self.cell.nodes]] if self.cell.nodes else []
        else:
            # The first node is dialled from here, each other one from the one before.
            direct = self.rules.command is None
            hops = [
                await self._hops(instance, group, behalf, outside=direct and at == 0)
                for at, group in enumerate(found)
            ]
        if not hops:
            return DIRECTLY
        first = [await self._commanded(instance, hop, behalf) for hop in hops[0]]
        return alternatives([first, *([hop.node for hop in each] for each in hops[1:])])

    def _whole(self, groups: Groups, way: Chain | None) -> Chain | None:
        """The way with the cell's in the place of none; None is over the cell's own nodes."""
        if way is None and self.cell.group is not None:
            return self._chain_of_cell(groups)
        return way

    def _chain_of_cell(self, groups: Groups) -> Chain:
        name = str(self.cell.group)
        group = groups.named(name)
        if group is None:
            raise NoWay(f"[ssh_proxy] group names {name}, and there is no such node group")
        return chain(groups.by_id, group.id)

    async def _hops(
        self, instance: Instance, group: NodeGroup, behalf: Behalf, *, outside: bool
    ) -> list[Hop]:
        """The members of a proxy group that can be reached, in their order."""
        login = self.logins.of(group.traits)
        if login is None:
            raise _unreachable(instance, f"node group {group.name} has no user name to log in with")
        reasons: list[str] = []
        hops: list[Hop] = []
        for member in group.members:
            hop = await self._hop(group, login, member, reasons, behalf, outside=outside)
            if hop is not None:
                hops.append(hop)
        if not hops:
            why = "; ".join(reasons) or "it has no members"
            raise _unreachable(instance, f"no node of group {group.name} can be used: {why}")
        return hops

    async def _hop(
        self,
        group: NodeGroup,
        login: Login,
        member: Member,
        reasons: list[str],
        behalf: Behalf,
        *,
        outside: bool,
    ) -> Hop | None:
        address, found = member.address, None
        if address is None:
            assert member.instance_uuid is not None
            uuid = member.instance_uuid
            found = await self._members.find(uuid, member.port, behalf, outside=outside)
            if found is None:
                reasons.append(f"instance {uuid} does not run or has no address")
                return None
            address = found.address
        elif not allowed(address, self.rules.networks):
            reasons.append(f"{address} is not in [ssh_proxy] allowed_networks")
            return None
        node = ProxyNode(
            address,
            member.port,
            login,
            self.rules.method,
            name=f"{group.name} ({place_of(address, member.port)})",
        )
        return Hop(node, None if found is None else found.instance)

    async def _commanded(self, instance: Instance, hop: Hop, behalf: Behalf) -> ProxyNode:
        command = self.rules.command
        if command is None:
            return hop.node
        try:
            filled = await self._filler.fill(
                command, hop.node, target=instance, member=hop.member, behalf=behalf
            )
        except Unfilled as error:
            raise _unreachable(instance, f"of [ssh_proxy] proxy_command, {error}") from None
        return evolve(hop.node, command=filled)

    async def _shells(self, instance: Instance, behalf: Behalf) -> Sequence[ProxyNode]:
        groups = await self.book.groups()
        own = groups.by_instance.get(instance.uuid)
        login = None if own is None else self.logins.of(own.traits)
        try:
            way = self._whole(groups, to_instance(groups, instance.uuid, instance.host))
        except NoWay as error:
            raise _unreachable(instance, str(error)) from None
        if login is None and way:
            login = self.logins.of(way[-1].traits)
        if login is None:
            return ()
        port = _port_of(own, instance.uuid)
        outside = self._is_direct(way)
        # It is a proxy itself then, and so the first node of every way to it.
        commanded = way == () and self.rules.command is not None
        found = await self._members.reachable(instance, behalf, outside=outside and not commanded)
        nodes = [
            ProxyNode(address, port, login, name=f"{instance.name} ({place_of(address, port)})")
            for address in found
        ]
        if commanded:
            return [await self._commanded(instance, Hop(node, instance), behalf) for node in nodes]
        return nodes

    async def _addresses_of(self, instance: Instance, behalf: Behalf) -> tuple[str, ...]:
        groups = await self.book.groups()
        try:
            way = self._whole(groups, to_instance(groups, instance.uuid, instance.host))
        except NoWay:
            way = None  # The dial says so.
        return await self.addresses.of(instance, behalf, outside=self._is_direct(way))

    def _is_direct(self, way: Chain | None) -> bool:
        """Whether nothing is on the way."""
        return not self.cell.nodes if way is None else not way


@frozen
class Destinations:
    """Implements :class:`consoled.interfaces.Addresses` for dials over :meth:`RouteFinder.to`."""

    finder: RouteFinder

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The instance's addresses; how they are reached decides which of them come first."""
        return self.finder.addresses_of(instance, behalf)


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
