"""``[ssh_proxy] proxy_command``, filled in for the node that it leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import ConsoledError, ServiceAbsent
from consoled.model import Instance
from consoled.openstack.addresses import Interfaces, Port
from consoled.reaching.behalf import Behalf
from consoled.reaching.commands import ProxyCommand
from consoled.reaching.lately import Lately
from consoled.reaching.members import ADDRESS_LIFE, Stands
from consoled.transports.ssh.values import ProxyNode

log = Logger()

NETWORK, ROUTER = "network_id", "router_id"


class Networks(Protocol):
    """What is asked of :class:`consoled.openstack.networks.Networks`."""

    def interfaces(self, instance: Instance, behalf: Behalf) -> Deferred[Interfaces]:
        """The instance's ports."""

    def router(self, instance: Instance, behalf: Behalf, port: Port) -> Deferred[str]:
        """The router by which the port's network is left, or empty."""


@frozen
class Ids:
    """Where an instance is in Neutron; empty is not known."""

    network: str = ""
    router: str = ""


@define(eq=False)
class Filler:
    """Fills the command in.

    :ivar networks: Neutron, or None.
    :ivar seconds: a clock that does not step.
    """

    networks: Networks | None
    seconds: Callable[[], float]
    stands: Stands
    _known: Lately[Ids] = field(init=False)

    @_known.default
    def _nothing(self) -> Lately[Ids]:
        return Lately(self.seconds, ADDRESS_LIFE)

    async def fill(
        self,
        command: ProxyCommand,
        node: ProxyNode,
        *,
        target: Instance,
        member: Instance | None,
        behalf: Behalf,
    ) -> tuple[str, ...]:
        """The arguments that lead to the node.

        :param target: what is to be reached in the end.
        :param member: the node, where it is an instance: its networks are asked for then.
        :raises consoled.reaching.commands.Unfilled: a place has nothing to be filled in with.
        """
        values: dict[str, str | None] = {
            "host": node.host,
            "port": str(node.port),
            "tenant_id": target.project_id,
            NETWORK: target.metadata.get(NETWORK),
            ROUTER: target.metadata.get(ROUTER),
        }
        missing = {name for name in command.names & {NETWORK, ROUTER} if not values[name]}
        if missing and self.networks is not None:
            known = await self._ids(self.networks, member or target, node, behalf, missing)
            values |= {name: known[name] or None for name in missing}
        return command.fill(values)

    async def _ids(
        self,
        networks: Networks,
        instance: Instance,
        node: ProxyNode,
        behalf: Behalf,
        missing: set[str],
    ) -> Mapping[str, str]:
        router = ROUTER in missing
        question = (instance.uuid, node.host, router)
        found = self._known.get(question)
        if found is None or behalf.anew or not self.stands(node.host, node.port):
            found = await self._asked(networks, instance, node, behalf, router=router)
            if found.network:
                self._known.put(question, found)
        return {NETWORK: found.network, ROUTER: found.router}

    async def _asked(
        self,
        networks: Networks,
        instance: Instance,
        node: ProxyNode,
        behalf: Behalf,
        *,
        router: bool,
    ) -> Ids:
        try:
            port = (await networks.interfaces(instance, behalf)).port(node.host)
            if port is None:
                return Ids()
            return Ids(
                port.network_id, await networks.router(instance, behalf, port) if router else ""
            )
        except ServiceAbsent:
            return Ids()
        except ConsoledError as error:
            log.warn(
                "Neutron does not tell the networks of {instance_uuid}: {cause}",
                event="neutron_refused",
                instance_uuid=instance.uuid,
                cause=error,
            )
            return Ids()
