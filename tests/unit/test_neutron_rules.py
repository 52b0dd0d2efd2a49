"""Which address of an instance is dialled first, and by which router its network is left."""

from __future__ import annotations

from typing import Any

import pytest
from fake_neutron import NET, SUBNET, FakeNeutron, port

from consoled.openstack import neutron
from consoled.openstack.addresses import (
    BadAnswer,
    Interfaces,
    floating_of,
    gateways_of,
    ports_of,
)

VM = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
ROUTER_PORT = "network:router_interface"


def known(asked: FakeNeutron) -> Interfaces:
    """What Neutron tells of the instance."""
    adapter: Any = asked
    return neutron.interfaces(adapter, VM)


def test_fixed_addresses_from_inside() -> None:
    """IPv4 before IPv6 of each port, ports that are switched off last, floating ones not at all."""
    asked = FakeNeutron(
        [
            port(1, VM, "10.1.0.5", admin_state_up=False),
            port(2, VM, "fd00:0::5", "10.0.0.5"),
            port(3, "somebody else", "10.0.0.9"),
        ]
    )
    asked.float(2, "203.0.113.7")
    assert known(asked).addresses(outside=False) == ("10.0.0.5", "fd00::5", "10.1.0.5")


def test_floating_addresses_from_outside() -> None:
    """They come first, then what the whole Internet reaches, then the rest."""
    asked = FakeNeutron([port(1, VM, "10.0.0.5", "2a00:1::5", "8.8.8.8"), port(2, VM, "10.1.0.5")])
    asked.float(2, "203.0.113.7")
    asked.float(1, "203.0.113.6")
    assert known(asked).addresses(outside=True) == (
        *("203.0.113.6", "203.0.113.7"),
        *("8.8.8.8", "2a00:1::5", "10.0.0.5", "10.1.0.5"),
    )


def test_a_port_that_has_nothing_but_a_floating_address() -> None:
    """It is used from inside, too."""
    asked = FakeNeutron([port(1, VM)])
    asked.float(1, "203.0.113.6")
    assert known(asked).addresses(outside=False) == ("203.0.113.6",)


def test_without_routers() -> None:
    """A Neutron without floating addresses has fixed ones; an instance without ports has none."""
    asked = FakeNeutron([port(1, VM, "10.0.0.5")], routers=False)
    assert known(asked).addresses(outside=True) == ("10.0.0.5",)
    asked.ports.clear()
    assert known(asked) == Interfaces()
    assert asked.asked == ["/ports", "/floatingips", "/ports"]


def test_another_project_s_ports() -> None:
    """Whoever makes a port may say whose it is: a stranger's leads to a stranger."""
    asked = FakeNeutron([port(1, VM, "10.0.0.66", project="evil"), port(2, VM, "10.0.0.5")])
    found = known(asked)
    assert found.of_project("demo").addresses(outside=True) == ("10.0.0.5",)
    assert found.of_project("evil").addresses(outside=False) == ("10.0.0.66",)


def test_the_port_of_an_address() -> None:
    """By a fixed or a floating address; the first one where no port has it."""
    asked = FakeNeutron([port(1, VM, "10.0.0.5"), port(2, VM, "10.1.0.5")])
    asked.float(2, "203.0.113.7")
    found = known(asked)
    ids = [getattr(found.port(a), "id", None) for a in ("10.1.0.5", "203.0.113.7", "192.0.2.1")]
    assert ids == ["port-2", "port-2", "port-1"]
    assert Interfaces().port("10.0.0.5") is None


def router(asked: FakeNeutron) -> str:
    """The router of the instance's first port."""
    adapter: Any = asked
    found = known(asked).port("10.0.0.5")
    assert found is not None
    return neutron.router(adapter, found)


def test_the_router() -> None:
    """The network's only one is it; of several, the one that is the subnet's gateway."""
    asked = FakeNeutron([port(1, VM, "10.0.0.5")])
    assert router(asked) == ""
    asked.ports.append(port(2, "router-a", "10.0.0.2", device_owner=ROUTER_PORT))
    assert router(asked) == "router-a"
    assert "/subnets" not in asked.asked
    owner = "network:ha_router_replicated_interface"
    asked.ports.append(port(3, "router-b", "10.0.0.1", device_owner=owner))
    asked.subnets.append({"id": SUBNET, "network_id": NET, "gateway_ip": "10.0.0.1"})
    assert router(asked) == "router-b"
    asked.subnets[0]["gateway_ip"] = None
    assert router(asked) == "router-a"


def test_a_router_of_another_subnet() -> None:
    """Networks have several subnets: a router of another one leads nowhere from here."""
    asked = FakeNeutron([port(1, VM, "10.0.0.5")])
    elsewhere = [{"ip_address": "10.9.0.1", "subnet_id": "subnet-9"}]
    asked.ports.append(port(2, "router-a", device_owner=ROUTER_PORT, fixed_ips=elsewhere))
    assert router(asked) == ""


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        (ports_of, {}),
        (ports_of, {"ports": [{"id": "1"}]}),
        (ports_of, {"ports": [port(1, VM, "somewhere")]}),
        (floating_of, None),
        (floating_of, {"floatingips": [{"port_id": "1", "floating_ip_address": "x"}]}),
        (gateways_of, {"subnets": [{}]}),
    ],
)
def test_answers_that_are_none(parse: Any, answer: Any) -> None:
    """What Neutron would not say is said to be so, and nothing else breaks."""
    with pytest.raises(BadAnswer):
        parse(answer)


def test_floating_addresses_that_are_free() -> None:
    """One without a port is nobody's."""
    rows = [{"port_id": None, "floating_ip_address": "203.0.113.9"}]
    assert floating_of({"floatingips": rows}) == {}
