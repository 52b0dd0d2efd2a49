"""Where a node is that is an instance."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.logger import Logger

from consoled.errors import ConsoledError, NotFound
from consoled.interfaces import Addresses, Driver
from consoled.model import Instance
from consoled.reaching.behalf import Behalf
from consoled.reaching.lately import Lately
from consoled.reaching.wishes import Networks, reachable

log = Logger()

ADDRESS_LIFE = 30.0
"""Seconds that the address of a proxy which is an instance is taken to stay."""

Stands = Callable[[str, int], bool]
"""Whether an SSH connection to that host and port stands."""


def always(_host: str, _port: int) -> bool:
    """Where nobody can tell, what was found out counts for its time."""
    return True


@frozen
class Found:
    """An instance that runs, and where to dial it."""

    instance: Instance
    address: str


@define(eq=False)
class InstanceMembers:
    """Finds them.

    An address counts for :data:`ADDRESS_LIFE` where a connection to it stands; whoever has to
    dial it looks it up first.

    :ivar networks: ``[ssh_proxy] allowed_networks``.
    :ivar seconds: a clock that does not step.
    """

    driver: Driver
    addresses: Addresses
    networks: Networks
    seconds: Callable[[], float]
    stands: Stands
    _known: Lately[Found] = field(init=False)

    @_known.default
    def _nothing(self) -> Lately[Found]:
        return Lately(self.seconds, ADDRESS_LIFE)

    async def find(self, uuid: str, port: int, behalf: Behalf, *, outside: bool) -> Found | None:
        """The instance and the likeliest of its addresses; None where it does not run, has none,
        or nobody can tell.

        :param port: where it is dialled.
        :param outside: whether it is dialled from outside of its networks.
        """
        known = self._known.get((uuid, outside))
        if known is not None and not behalf.anew and self.stands(known.address, port):
            return known
        try:
            instance = await self.driver.instance(uuid)
            if not instance.state.live:
                return None
            found = await self.reachable(instance, behalf, outside=outside)
        except NotFound:
            return None
        except ConsoledError as error:
            # Its host does not answer; the other members may do.
            log.warn(
                "the address of {instance_uuid} is not known: {cause}",
                event="proxy_address_unknown",
                instance_uuid=uuid,
                cause=str(error),
            )
            return None
        if not found:
            return None
        self._known.put((uuid, outside), place := Found(instance, found[0]))
        return place

    async def reachable(self, instance: Instance, behalf: Behalf, *, outside: bool) -> list[str]:
        """The addresses of an instance that may be dialled, the likeliest first.

        :raises consoled.errors.ConsoledError: as of :meth:`consoled.interfaces.Addresses.of`.
        """
        found = await self.addresses.of(instance, behalf, outside=outside)
        return [address for address in found if reachable(address, self.networks)]
