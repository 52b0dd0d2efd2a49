"""Addresses of domains: libvirt's test driver, and agents that are played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells import outcome
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.libvirt.addresses import HostAddresses, KnownAddresses, usable
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.ports import Lane
from consoled.compute.libvirt.xml import has_agent
from consoled.errors import Unavailable
from consoled.model import Instance, InstanceState
from consoled.workers import InlineWorker

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
DOMAIN = """
<domain type='test'><name>web</name><uuid>{uuid}</uuid><memory>1024</memory>
<os><type>hvm</type></os><devices>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
</devices></domain>"""
AGENT = (
    "<domain id='1'><devices><channel type='unix'>"
    "<target type='virtio' name='org.qemu.guest_agent.0' state='{state}'/>"
    "</channel></devices></domain>"
)
NETWORK = """
<network><name>default</name><bridge name='virbr0'/><forward/>
<ip address='192.168.122.1' netmask='255.255.255.0'/></network>"""


def instance(**facts: Any) -> Instance:
    """The one that is asked about."""
    known = {"uuid": UUID, "name": "web", "project_id": None, "host": "kvm1"}
    return Instance(**(known | {"state": InstanceState.RUNNING} | facts))


class Never:
    """A worker whose thread hangs."""

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def run(self, fn: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """No answer."""
        return Deferred()


class Client:
    """What libvirt answers."""

    def __init__(self, state: str = "connected", **known: list[str]) -> None:
        self.known = known
        self.state = state
        self.asked: list[str] = []

    def domain(self, uuid: str) -> Any:
        """Its XML."""
        from consoled.compute.libvirt.client import DomainRecord

        return DomainRecord(1, AGENT.format(state=self.state))

    def addresses(self, uuid: str, sources: tuple[str, ...]) -> list[list[str]]:
        """Of each source."""
        self.asked += sources
        return [self.known.get(source, []) for source in sources]

    def close(self) -> None:
        """Nothing is open."""


def host(client: Any, clock: Clock, agent: Any = None, worker: Any = None) -> HostAddresses:
    """A compute host."""
    lanes = [
        Lane(Asker("libvirt", hands or InlineWorker(), clock, 4.0), client)
        for hands in (worker, agent)
    ]
    return HostAddresses(lanes[0], lanes[1:])


def test_lease_then_agent_then_arp() -> None:
    """Each address once, the likeliest first; what nobody else can reach is left out."""
    client = Client(
        lease=["10.0.0.5"],
        agent=["127.0.0.1", "10.0.0.5", "fe80::1", "2001:db8::5", "nonsense"],
        arp=["10.0.0.5", "10.0.0.9"],
    )
    found = outcome(host(client, Clock()).of(UUID))
    assert found == ("10.0.0.5", "2001:db8::5", "10.0.0.9")


def test_an_agent_that_is_not_there_is_not_asked() -> None:
    """The question would only cost time."""
    client = Client("disconnected", arp=["10.0.0.9"])
    assert outcome(host(client, Clock()).of(UUID)) == ("10.0.0.9",)
    assert client.asked == ["lease", "arp"]


def test_an_agent_that_hangs() -> None:
    """It costs its time-out, and what the host knows is told."""
    clock = Clock()
    asked = host(Client(lease=["10.0.0.5"]), clock, agent=Never()).of(UUID)
    clock.advance(3.9)
    assert not asked.called
    clock.advance(0.2)
    assert outcome(asked) == ("10.0.0.5",)


def test_a_host_that_is_away() -> None:
    """Whoever asks hears of it, unless the agent has an answer."""
    clock = Clock()
    asked = host(Client(), clock, worker=Never()).of(UUID)
    other = host(Client(agent=["10.0.0.5"]), clock, worker=Never()).of(UUID)
    clock.advance(5)
    with pytest.raises(Unavailable):
        outcome(asked)
    assert outcome(other) == ("10.0.0.5",)


def test_the_instance_s_own_host_is_asked() -> None:
    """Not where the instance says it already, nor where it does not run."""
    client = Client(lease=["10.0.0.5"])
    known = KnownAddresses(
        {"qemu:///system": host(client, Clock())}, {"kvm1": "qemu:///system"}.get
    )
    assert outcome(known.of(instance())) == ("10.0.0.5",)
    client.asked.clear()
    assert outcome(known.of(instance(addresses=("192.0.2.1",)))) == ("192.0.2.1",)
    assert outcome(known.of(instance(state=InstanceState.STOPPED))) == ()
    assert client.asked == []
    with pytest.raises(Unavailable, match="compute host kvm2"):
        outcome(known.of(instance(host="kvm2")))


def test_libvirt_s_own_answers(tmp_path: Path) -> None:
    """The test driver has leases; a domain that is gone has nothing, and no error."""
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{DOMAIN.format(uuid=UUID)}{NETWORK}</node>")
    client = LibvirtClient(f"test://{node}")
    [lease, agent, arp] = client.addresses(UUID, ("lease", "agent", "arp"))
    assert usable(lease + agent + arp)
    assert all(address.startswith("192.168.122.") for address in usable(lease))
    assert client.addresses(UUID[:-1] + "f", ("lease",)) == [[]]
    client.close()


def test_agents() -> None:
    """Only one that is connected counts."""
    assert has_agent(AGENT.format(state="connected"))
    assert not has_agent(AGENT.format(state="disconnected"))
    assert not has_agent("<domain/>")
