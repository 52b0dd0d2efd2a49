"""Domains that cannot be used, beside one that can, and a libvirt that hangs: each is said.

The domains are in libvirt's own test driver, which takes those of any hypervisor.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Answer, Daemon, Event
from tools.lab.ports import free_range

TEST = "http://libvirt.org/schemas/domain/test/1.0"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
GOOD, BARE, LXC, TRANSIENT, OUTSIDE, CLASH, ODD = (
    f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{number}" for number in range(1, 8)
)
FIRST = free_range().start


def domain(name: str, uuid: str, *ports: int, kind: str = "test", more: str = "") -> str:
    """A running domain with these ports."""
    serials = "".join(
        f"<serial type='tcp'><source mode='bind' host='127.0.0.1' service='{port}'/>"
        f"<protocol type='raw'/><target port='{index}'/></serial>"
        for index, port in enumerate(ports)
    )
    return (
        f"<domain type='{kind}'>{more}<name>{name}</name><uuid>{uuid}</uuid>"
        "<memory>1024</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type></os>"
        f"<devices>{serials}</devices></domain>"
    )


DOMAINS = [
    domain("good", GOOD, FIRST),
    domain("bare", BARE),
    domain("box", LXC, kind="lxc"),
    domain(
        "brief",
        TRANSIENT,
        more=f"<test:transient xmlns:test='{TEST}'>1</test:transient>",
    ),
    domain("outside", OUTSIDE, 9999),
    domain("second", CLASH, FIRST),
    domain(
        "odd",
        ODD,
        FIRST + 1,
        more=f"<metadata><n:instance xmlns:n='{NOVA}'><n:owner><n:project/></n:owner>"
        "<n:flavor>?</n:flavor></n:instance></metadata>",
    ),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over these domains, and over a libvirt that takes connections and says nothing."""
    folder = tmp_path_factory.mktemp("consoled")
    node = folder / "node.xml"
    node.write_text(f"<node>{''.join(DOMAINS)}</node>")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "silent"))
        silent.listen(64)
        hosts = {"lab": f"test://{node}", "stuck": f"qemu+unix:///system?socket={folder}/silent"}
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {"driver": "libvirt"},
            "libvirt": {"hosts": ", ".join(hosts), "default_project": "demo"},
        }
        for number, (name, uri) in enumerate(hosts.items()):
            config[f"libvirt:{name}"] = {
                "uri": uri,
                "proxyclient_address": "127.0.0.1",
                "port_range": f"{FIRST + 10 * number}:{FIRST + 10 * number + 10}",
            }
        with Daemon(folder, config) as running:
            running.wait_for_event("ports_adopted", instance_uuid=OUTSIDE)
            yield running


def listed(daemon: Daemon, key: str) -> set[str]:
    """The names that the API lists."""
    return {one["name"] for one in daemon.request("GET", "/v1/servers", key=key).body["servers"]}


def configure(daemon: Daemon, uuid: str, **wishes: Any) -> Answer:
    """Asks for serial ports."""
    route = f"/v1/servers/{uuid}/consoles"
    return daemon.request("POST", route, body={"consoles": wishes})


def message(answer: Answer) -> str:
    """What an error says."""
    [fault] = answer.body.values()
    return str(fault["message"])


def lines(daemon: Daemon, words: str) -> list[Event]:
    """What the log says with these words."""
    return [event for event in daemon.events() if words in event["message"]]


def test_the_rest_goes_on(daemon: Daemon) -> None:
    """A good domain beside them has its port and gets its URL."""
    assert listed(daemon, MEMBER_KEY) >= {"good", "bare", "box", "brief", "outside", "second"}
    assert daemon.console_url(GOOD, 0, MEMBER_KEY)
    assert configure(daemon, GOOD, ports=2).status == 200


def test_a_domain_without_serial_ports(daemon: Daemon) -> None:
    """It has no console, and who asks for one is told so; it can be given one."""
    assert daemon.request("GET", f"/v1/servers/{BARE}/consoles").body == {"consoles": []}
    refused = daemon.request("POST", f"/v1/servers/{BARE}/tokens")
    assert refused.status == 400, refused.body
    assert "serial" in message(refused)
    assert configure(daemon, BARE, dry_run=True).status == 200


def test_a_domain_of_another_hypervisor(daemon: Daemon) -> None:
    """It is not configured, by its type."""
    refused = configure(daemon, LXC)
    assert (refused.status, "box is a domain of type lxc" in message(refused)) == (400, True)


def test_a_transient_domain(daemon: Daemon) -> None:
    """Nothing of it is kept, so it is not configured."""
    refused = configure(daemon, TRANSIENT)
    assert (refused.status, "brief is transient" in message(refused)) == (409, True)


def test_ports_outside_of_the_range(daemon: Daemon) -> None:
    """They are its own, and can be opened; the log says that they are outside."""
    told = daemon.wait_for_event("ports_adopted", instance_uuid=OUTSIDE)
    assert f"(outside of {FIRST}:{FIRST + 10}: 9999)" in told["message"]
    assert daemon.console_url(OUTSIDE, 0)


def test_a_port_clash(daemon: Daemon) -> None:
    """The log says whose the port is and whose it cannot be, once."""
    [told] = [event for event in daemon.events() if event["event"] == "port_clash"]
    assert f"the XML of second names port {FIRST} of lab for its serial port 0" in told["message"]
    assert GOOD in told["message"]


def test_a_malformed_nova_element(daemon: Daemon) -> None:
    """Nobody's project sees it, not even the default one; the log says why, once."""
    assert "odd" not in listed(daemon, MEMBER_KEY)
    assert "odd" in listed(daemon, ADMIN_KEY)
    assert len(lines(daemon, "odd: its nova metadata names no project")) == 1


def test_a_libvirt_that_hangs(daemon: Daemon) -> None:
    """It is said once, what may be there is told from what is not, and the daemon stops."""
    told = daemon.wait_for_event("hypervisor_lost", hypervisor="stuck")
    assert "no answer within 10 s" in told["message"]
    unknown = f"/v1/servers/{GOOD[:-1]}f"
    assert daemon.request("GET", unknown).status == 503
    assert daemon.request("GET", f"/v1/servers/{GOOD}").status == 200
    assert len([event for event in daemon.events() if event["event"] == "hypervisor_lost"]) == 1
    daemon.stop()
    names = [event["event"] for event in daemon.events()]
    assert ("stopped" in names, "stop_forced" in names) == (True, False)
