"""Which ports and addresses of instances consoled connects to. Pure.

The address is the inventory's or the hypervisor's, never the request's. A guest may have had
its say in it, though (its agent and its ARP packets name addresses), so what is not a place
of guests is refused: this machine itself, loopback, link-local addresses (the metadata
service of many clouds is one), multicast and what is not in use.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence

from attrs import field, frozen

from consoled.compute.port_range import PortRange
from consoled.errors import Conflict, Forbidden, NotFound

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_LAST = 65535


def _networks(entries: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(entry) for entry in entries)


@frozen
class Targets:
    """What one group of options lets through.

    :ivar group: its name, for people: ``http_proxy`` or ``forward``.
    :ivar ports: ``allowed_ports``; None is none at all.
    :ivar networks: ``allowed_networks``: where addresses may be; none is everywhere but where
        no guest is.
    :ivar own: whether an address is one of the machine that consoled runs on.
    """

    group: str
    ports: PortRange | None
    networks: tuple[Network, ...] = field(default=(), converter=_networks)
    own: Callable[[str], bool] = lambda _address: False

    def port(self, text: str) -> int:
        """The port in a path.

        :raises consoled.errors.NotFound: it is none.
        :raises consoled.errors.Forbidden: it may not be reached.
        """
        if not _PORT.fullmatch(text) or int(text) > _LAST:
            raise NotFound(f"There is no such port; a port is a number from 1 to {_LAST}.")
        if self.ports is None:
            raise Forbidden(
                "Nothing of instances is reachable by this route in this cell; its operator can "
                f"allow ports with [{self.group}] allowed_ports."
            )
        if int(text) not in self.ports:
            raise Forbidden(
                f"Port {text} is not among those that may be reached; the cell's operator can "
                f"allow it with [{self.group}] allowed_ports."
            )
        return int(text)

    def lets(self, port: int) -> bool:
        """Whether the port may be reached."""
        return self.ports is not None and port in self.ports

    def addresses(self, instance_uuid: str, known: Iterable[str]) -> tuple[str, ...]:
        """Those of the instance's addresses that may be dialled, in their order.

        :param known: what inventory or hypervisor say.
        :raises consoled.errors.Conflict: there is none.
        """
        known = tuple(known)
        found = tuple(dict.fromkeys(str(a) for text in known if (a := self._allowed(text))))
        if found:
            return found
        if known:
            raise Conflict(
                f"None of the addresses of instance {instance_uuid} may be reached; the cell's "
                f"operator says where they may be with [{self.group}] allowed_networks."
            )
        raise Conflict(
            f"No address of instance {instance_uuid} is known, so nothing of it can be reached; "
            "it has one when its network is up, or in the inventory."
        )

    def _allowed(self, text: str) -> Address | None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        if self.networks:
            return address if any(address in network for network in self.networks) else None
        return None if _nobody(address) or self.own(str(address)) else address


def _nobody(address: Address) -> bool:
    """Whether no guest is at such an address."""
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or (address.version == 4 and (int(address) >> 24 == 0 or int(address) == 2**32 - 1))
    )
