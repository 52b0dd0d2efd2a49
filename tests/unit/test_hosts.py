"""consoled.compute.hosts: every compute host has parts of its own, found by its name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from cells import instance, memory_database
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from consoled.compute.hosts import ComputeHost, ComputeHosts, host_drivers, over_all
from consoled.compute.many_hosts import ManyHosts
from consoled.compute.port_range import parse
from consoled.errors import Unavailable
from consoled.service import Part
from consoled.settings import Libvirt, LibvirtHost, Settings

TWO = tuple(
    LibvirtHost(f"kvm{number}", f"test:///{number}", f"192.0.2.{number}", parse("10000:10100"))
    for number in (1, 2)
)


def hosts(*configured: LibvirtHost) -> ComputeHosts:
    """The hosts of such a configuration; nothing runs."""
    settings, reactor = Settings("lab", libvirt=Libvirt(hosts=configured)), MemoryReactorClock()
    return ComputeHosts.of(
        settings,
        reactor,
        host_drivers(settings, reactor),
        memory_database(),
        count=lambda host, free, used: None,
        scout=lambda driver: lambda uuid: succeed(None),
    )


def test_each_has_its_own() -> None:
    """Address, ports and name are those of its section; another daemon's host is not found."""
    found = hosts(*TWO)
    assert [(host.name, host.uri, host.address) for host in found] == [
        ("kvm1", "test:///1", "192.0.2.1"),
        ("kvm2", "test:///2", "192.0.2.2"),
    ]
    second = found.named("kvm2")
    assert second is not None
    assert second.ports.allocator.address == second.domains.configurator.address == "192.0.2.2"
    assert second.driver.proxyclient_address == "192.0.2.2"
    assert found.named("kvm3") is None


def test_an_instance_s_domain_is_configured_on_its_host() -> None:
    """Of a host that another daemon serves, nothing can be."""
    found = hosts(*TWO)
    for host in found:
        there = evolve(instance(), host=host.name)
        assert found.configurator(there) is host.domains.configurator
    with pytest.raises(Unavailable, match="compute host rack1, which another daemon serves"):
        found.configurator(evolve(instance(), host="rack1"))


def test_a_single_host_by_libvirt_s_own_name() -> None:
    """It is anybody's until libvirt has said its name."""
    found = hosts()
    [only] = found
    assert only.name is None
    assert found.named("rack1") is only
    only.driver.host = "rack1"
    assert (only.name, found.named("rack1"), found.named("rack2")) == ("rack1", only, None)


def test_the_ends_of_several_hosts_overlap() -> None:
    """One that hangs, or fails, costs the others no time; each ends in the order of its parts."""
    stuck: Deferred[None] = Deferred()
    ended: list[str] = []

    def part(name: str, outcome: Callable[[], object] = lambda: None) -> Part:
        def end() -> object:
            ended.append(name)
            return outcome()

        return Part(lambda: ended.append(f"start {name}"), end)

    def failing() -> object:
        raise ZeroDivisionError

    def watched(host: ComputeHost, *parts: Part) -> ComputeHost:
        ports, domains = evolve(host.ports, parts=()), evolve(host.domains, part=part("domains"))
        return evolve(host, ports=ports, domains=domains, watch=evolve(host.watch, parts=parts))

    first, second = hosts(*TWO)
    several = ComputeHosts(
        [
            watched(first, part("stuck", lambda: stuck)),
            watched(second, part("failing", failing)),
        ]
    )
    several.parts[1].start()
    assert ended == ["start domains", "start stuck", "start domains", "start failing"]
    ended.clear()
    with capturedLogs() as events:
        stopped = several.parts[1].stop()
    assert ended == ["stuck", "failing", "domains"]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    assert isinstance(stopped, Deferred)
    assert not stopped.called
    stuck.callback(None)
    assert (stopped.called, ended[-1]) == (True, "domains")


def test_one_driver_for_all() -> None:
    """A single host is asked as it is, without a look at the rows."""
    one, many = (
        host_drivers(Settings("lab", libvirt=Libvirt(hosts=some)), MemoryReactorClock())
        for some in ((), TWO)
    )
    assert over_all(one, lambda _: succeed({})) is one[0]
    assert isinstance(over_all(many, lambda _: succeed({})), ManyHosts)
    assert [driver.host for driver in many] == ["kvm1", "kvm2"]
