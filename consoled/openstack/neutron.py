"""Questions to Neutron. They block: :class:`consoled.interfaces.Calls` asks them in a worker.

A user sees the ports of the own project; consoled's own user, an administrator, sees all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consoled.openstack.addresses import (
    FLOATING_FIELDS,
    PORT_FIELDS,
    SUBNET_FIELDS,
    BadAnswer,
    Interfaces,
    Port,
    floating_of,
    gateways_of,
    ports_of,
    router_of,
)

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter  # It takes a while to load, and few need it.

SERVICE = "network"
"""Its type in Keystone's catalog."""

ROUTERS = (
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
)
"""The ``device_owner`` of the ports that routers of each kind have in the networks they join."""


def interfaces(adapter: Adapter, device_id: str) -> Interfaces:
    """The ports of an instance, with their addresses.

    :param device_id: the instance's uuid.
    :raises consoled.openstack.addresses.BadAnswer: the answer is none of Neutron's.
    """
    ports = ports_of(_get(adapter, "/ports", fields=PORT_FIELDS, device_id=device_id))
    return Interfaces(ports, _floating(adapter, ports) if ports else {})


def router(adapter: Adapter, port: Port) -> str:
    """The id of the router by which the port's network is left; empty where there is none.

    :raises consoled.openstack.addresses.BadAnswer: the answer is none of Neutron's.
    """
    network = port.network_id
    doors = ports_of(
        _get(adapter, "/ports", fields=PORT_FIELDS, network_id=network, device_owner=ROUTERS)
    )
    if len({one.device_id for one in doors}) < 2:
        return router_of(port, doors, {})
    answer = _get(adapter, "/subnets", fields=SUBNET_FIELDS, network_id=network)
    return router_of(port, doors, gateways_of(answer))


def _floating(adapter: Adapter, ports: tuple[Port, ...]) -> dict[str, tuple[str, ...]]:
    from keystoneauth1.exceptions import NotFound

    try:
        answer = _get(
            adapter, "/floatingips", fields=FLOATING_FIELDS, port_id=[port.id for port in ports]
        )
    except NotFound:
        return {}  # A Neutron without routers has none.
    return floating_of(answer)


def _get(adapter: Adapter, path: str, **query: Any) -> Any:
    try:
        return adapter.get(path, params=query).json()
    except ValueError as error:
        raise BadAnswer("no JSON") from error
