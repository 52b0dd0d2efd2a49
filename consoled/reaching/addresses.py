"""The addresses of instances, of all who know any, by how far they are trusted.

1. The inventory: the operator's own word.
2. Neutron, which also lets no guest take another one's address.
3. The hypervisor, in its own order: the lease that it gave, what the guest's agent says, what
   its neighbour table has. A guest has a say in the last two.

The first that knows an address is the one: what is less trusted is neither added nor asked.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import BackendUnreachable, ConsoledError, ServiceAbsent, Unavailable
from consoled.interfaces import Addresses
from consoled.model import Instance
from consoled.openstack.addresses import Interfaces
from consoled.reaching.behalf import NOBODY, Behalf

log = Logger()


class Ports(Protocol):
    """What is asked of :class:`consoled.openstack.networks.Networks`."""

    @property
    def rests(self) -> bool:
        """Whether others should be asked first."""

    def interfaces(self, instance: Instance, behalf: Behalf) -> Deferred[Interfaces]:
        """The instance's ports."""


@frozen
class AllAddresses:
    """Implements :class:`consoled.interfaces.Addresses`.

    :ivar listed: what the driver knows: the inventory's addresses, else the hypervisor's.
    :ivar networks: Neutron, or None where there is no Keystone.
    """

    listed: Addresses
    networks: Ports | None

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The instance's addresses, the likeliest first; none where nobody knows any.

        :raises consoled.errors.Unavailable: who should know does not answer.
        :raises consoled.errors.BackendUnreachable: Neutron refuses, and nobody else knows.
        """
        if self.networks is None or instance.addresses or not instance.state.live:
            return self.listed.of(instance, behalf, outside=outside)
        return Deferred.fromCoroutine(self._of(self.networks, instance, behalf, outside=outside))

    async def _of(
        self, networks: Ports, instance: Instance, behalf: Behalf, *, outside: bool
    ) -> tuple[str, ...]:
        first = not networks.rests
        error: ConsoledError | None = None
        if first:
            found, error = await _said(networks, instance, behalf, outside=outside)
            if found:
                return found
        try:
            known = await self.listed.of(instance)
        except Unavailable as silent:
            known, error = (), error or silent
        if known:
            return known
        if not first:
            found, error = await _said(networks, instance, behalf, outside=outside)
            if found:
                return found
        if error is None:
            return ()
        if isinstance(error, Unavailable):
            raise error
        raise BackendUnreachable(
            f"No address of instance {instance.uuid} is known: {error}"
        ) from error


async def _said(
    networks: Ports, instance: Instance, behalf: Behalf, *, outside: bool
) -> tuple[tuple[str, ...], ConsoledError | None]:
    """What Neutron says, or why it says nothing."""
    try:
        found = await networks.interfaces(instance, behalf)
    except (ServiceAbsent, Unavailable) as error:
        # Said once already, by those who noticed it.
        return (), None if isinstance(error, ServiceAbsent) else error
    except ConsoledError as error:
        log.warn(
            "Neutron does not tell the addresses of {instance_uuid}: {cause}",
            event="neutron_refused",
            instance_uuid=instance.uuid,
            cause=error,
        )
        return (), error
    return found.addresses(outside=outside), None
