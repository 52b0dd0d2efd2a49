"""What Neutron knows of an instance's network interfaces, and which address to dial first. Pure.

A port is an instance's by its ``device_id``, which whoever makes the port may choose. So the
ports of another project than the instance's are nobody's here: they would lead to a stranger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from attrs import evolve, field, frozen

PORT_FIELDS = ("id", "project_id", "network_id", "admin_state_up", "fixed_ips", "device_id")
FLOATING_FIELDS = ("port_id", "floating_ip_address")
SUBNET_FIELDS = ("id", "gateway_ip")


class BadAnswer(ValueError):
    """What came is not what Neutron answers."""


@frozen
class Fixed:
    """An address that a port has in its network."""

    address: str
    subnet_id: str


@frozen
class Port:
    """A network interface.

    :ivar device_id: whose it is: an instance's uuid, or a router's id.
    :ivar up: whether it is meant to carry anything (``admin_state_up``).
    """

    id: str
    project_id: str
    network_id: str
    device_id: str
    up: bool = True
    fixed: tuple[Fixed, ...] = ()

    def has(self, address: str) -> bool:
        """Whether that is one of its addresses."""
        return any(one.address == address for one in self.fixed)


@frozen
class Interfaces:
    """The ports of one instance.

    :ivar floating: the floating addresses of each port, by the port's id.
    """

    ports: tuple[Port, ...] = ()
    floating: Mapping[str, tuple[str, ...]] = field(factory=dict)

    def of_project(self, project_id: str) -> Interfaces:
        """Those that belong to a project."""
        return evolve(self, ports=tuple(p for p in self.ports if p.project_id == project_id))

    def addresses(self, *, outside: bool) -> tuple[str, ...]:
        """Its addresses, each once, the likeliest first.

        From within its networks, and so through a proxy node, fixed addresses are dialled, IPv4
        first as every guest has that set up; floating ones only where there is no other. From
        outside floating addresses come first, then what is fixed and has the whole Internet for
        its scope, as IPv6 mostly has, and only then the others.

        :param outside: whether the dial comes from outside of its networks.
        """
        ports = sorted(self.ports, key=lambda port: not port.up)
        fixed = [one for port in ports for one in _by_version(port)]
        floating = [one for port in ports for one in self.floating.get(port.id, ())]
        if not outside:
            return _once([str(one) for one in fixed] or floating)
        fixed.sort(key=lambda one: not one.is_global)
        return _once([*floating, *(str(one) for one in fixed)])

    def port(self, address: str) -> Port | None:
        """The port with that address, fixed or floating; the first one where none has it."""
        for port in self.ports:
            if port.has(address) or address in self.floating.get(port.id, ()):
                return port
        return next(iter(self.ports), None)


def ports_of(answer: Any) -> tuple[Port, ...]:
    """The ports of Neutron's answer to ``GET /ports``.

    :raises BadAnswer: it is none.
    """
    try:
        return tuple(
            Port(
                id=str(one["id"]),
                project_id=str(one["project_id"]),
                network_id=str(one["network_id"]),
                device_id=str(one["device_id"]),
                up=bool(one["admin_state_up"]),
                fixed=tuple(
                    Fixed(str(ip_address(ip["ip_address"])), str(ip["subnet_id"]))
                    for ip in one["fixed_ips"]
                ),
            )
            for one in answer["ports"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"of ports: {error}") from error


def floating_of(answer: Any) -> dict[str, tuple[str, ...]]:
    """The addresses of Neutron's answer to ``GET /floatingips``, by the id of their port.

    :raises BadAnswer: it is none.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        for one in answer["floatingips"]:
            if one["port_id"] is not None:
                address = str(ip_address(one["floating_ip_address"]))
                found[one["port_id"]] = (*found.get(one["port_id"], ()), address)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"of floating addresses: {error}") from error
    return found


def gateways_of(answer: Any) -> dict[str, str | None]:
    """The gateways of Neutron's answer to ``GET /subnets``, by the id of their subnet.

    :raises BadAnswer: it is none.
    """
    try:
        return {str(one["id"]): one["gateway_ip"] for one in answer["subnets"]}
    except (KeyError, TypeError) as error:
        raise BadAnswer(f"of subnets: {error}") from error


def router_of(port: Port, interfaces: Iterable[Port], gateways: Mapping[str, str | None]) -> str:
    """The id of the router by which a port's network is left; empty where there is none.

    Of several it is the one that has the gateway's address of one of the port's subnets.

    :param interfaces: the ports that routers have in its network.
    :param gateways: by subnet.
    """
    subnets = {one.subnet_id for one in port.fixed}
    doors = {gateway for subnet, gateway in gateways.items() if subnet in subnets}
    near = [p for p in interfaces if any(one.subnet_id in subnets for one in p.fixed)]
    near.sort(key=lambda p: (not any(one.address in doors for one in p.fixed), p.device_id))
    return near[0].device_id if near else ""


def _by_version(port: Port) -> list[IPv4Address | IPv6Address]:
    return sorted((ip_address(one.address) for one in port.fixed), key=lambda one: one.version)


def _once(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))
