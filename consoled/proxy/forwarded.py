"""X-Forwarded-* headers, believed only from the operator's own load balancers."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from attrs import field, frozen

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, an IPv4 one taken out of its IPv6 mapping.

    :raises ValueError: it is none.
    """
    address = ipaddress.ip_address(text.strip().removeprefix("[").removesuffix("]"))
    return getattr(address, "ipv4_mapped", None) or address


def _networks(entries: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in entries)


@frozen
class TrustedProxies:
    """``[proxy] trusted_proxies``.

    :ivar networks: addresses or networks; from anyone else the headers are ignored.
    """

    networks: tuple[Network, ...] = field(default=(), converter=_networks)

    def trusts(self, peer: str) -> bool:
        """Whether that address is a load balancer of the operator's."""
        try:
            address = _address(peer)
        except ValueError:
            return False
        return any(address in network for network in self.networks)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client's address: the last one that a trusted proxy did not add itself.

        :param peer: who is connected to us.
        :param forwarded_for: the X-Forwarded-For values, oldest first.
        """
        client = peer
        hops = [hop for value in forwarded_for for hop in value.split(",")]
        while hops and self.trusts(client):
            try:
                client = str(_address(hops.pop()))
            except ValueError:
                return client
        return client

    def host(self, peer: str, host: str, forwarded_host: Sequence[str]) -> str:
        """The Host that the client asked for.

        :param host: the Host header.
        :param forwarded_host: the X-Forwarded-Host values.
        """
        if forwarded_host and self.trusts(peer):
            return forwarded_host[-1].split(",")[-1].strip()
        return host

    def secure(self, peer: str, secure: bool, forwarded_proto: Sequence[str]) -> bool:
        """Whether the client asked over TLS.

        :param secure: whether the connection to us is.
        :param forwarded_proto: the X-Forwarded-Proto values.
        """
        if forwarded_proto and self.trusts(peer):
            return forwarded_proto[-1].split(",")[-1].strip().lower() == "https"
        return secure
