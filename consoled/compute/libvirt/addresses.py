"""The addresses of domains' own network interfaces, as libvirt can find them out.

libvirt knows what its own DHCP server has given (lease), what the agent in the guest says, and
what the host's neighbour table has (ARP). An agent that hangs keeps such a question for as long
as it likes, so it has threads and connections of its own, and costs nobody more than its
time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from zlib import crc32

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.ports import Lane
from consoled.compute.libvirt.xml import DomainXMLError, has_agent
from consoled.errors import Unavailable
from consoled.model import Instance
from consoled.reaching.behalf import NOBODY, Behalf


@define(eq=False)
class HostAddresses:
    """The addresses of one compute host's domains.

    :ivar host: asks the host itself.
    :ivar agents: ask the guests' agents; a guest has always the same one, so that one that hangs
        costs the others of its lane their answers, and nobody else.
    """

    host: Lane
    agents: Sequence[Lane]
    _log: Logger = field(factory=Logger, init=False)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All of them: what starts and stops."""
        return (self.host, *self.agents)

    def of(self, uuid: str) -> Deferred[tuple[str, ...]]:
        """As :meth:`consoled.interfaces.Addresses.of`: lease, agent, ARP."""
        agent = self.agents[crc32(uuid.lower().encode()) % len(self.agents)]
        asked = [
            self.host.asker.ask(lambda: self.host.client.addresses(uuid, ("lease", "arp"))),
            agent.asker.ask(lambda: _said_by_agent(agent.client, uuid)),
        ]
        return DeferredList(asked, consumeErrors=True).addCallback(self._merged)

    def _merged(self, answers: list[tuple[bool, list[list[str]]]]) -> tuple[str, ...]:
        (host_answers, host), (agent_answers, agent) = answers
        for answered, failure in ((host_answers, host), (agent_answers, agent)):
            if not answered and isinstance(failure, Failure) and not failure.check(Unavailable):
                self._log.failure("asking for addresses", failure)
        said = agent if agent_answers else [[]]
        if host_answers:
            lease, arp = host
            return usable([*lease, *said[0], *arp])
        found = usable(said[0])
        if not found:
            raise Unavailable("The hypervisor does not answer now; try again in a moment.")
        return found


@frozen
class KnownAddresses:
    """Implements :class:`consoled.interfaces.Addresses` over several compute hosts.

    :ivar hosts: by libvirt's URI.
    :ivar uri_of: libvirt's URI of a compute host; None where this daemon has none of it.
    """

    hosts: Mapping[str, HostAddresses]
    uri_of: Callable[[str], str | None]

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The instance's addresses.

        :raises consoled.errors.Unavailable: its host does not answer, or is another daemon's.
        """
        return Deferred.fromCoroutine(self._of(instance))

    async def _of(self, instance: Instance) -> tuple[str, ...]:
        if instance.addresses or not instance.state.live:
            return instance.addresses
        host = self.hosts.get(self.uri_of(instance.host) or "")
        if host is None:
            raise Unavailable(
                f"The instance is on compute host {instance.host}, whose libvirt this server does "
                "not reach."
            )
        return await host.of(instance.uuid)


def usable(found: Iterable[str]) -> tuple[str, ...]:
    """Those that can be reached from elsewhere, each once, in their order."""
    kept: dict[str, None] = {}
    for text in found:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if not (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
        ):
            kept[str(address)] = None
    return tuple(kept)


def _said_by_agent(client: LibvirtClient, uuid: str) -> list[list[str]]:
    record = client.domain(uuid)
    try:
        if record is None or not has_agent(record.xml):
            return [[]]
    except DomainXMLError:
        return [[]]
    return client.addresses(uuid, ("agent",))
