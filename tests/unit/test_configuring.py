"""consoled.compute.libvirt.configuring: domains of libvirt's own in-process hypervisor."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from domain_lab import URI, ListedPorts, configurator, domain_xml, hypervisor, xml_of
from fakes import result

from consoled.compute.libvirt.client import ClientError, Definition, LibvirtClient
from consoled.compute.libvirt.configuring import TLS, Wish, configuration
from consoled.compute.libvirt.xml import parse_domain
from consoled.errors import (
    BadRequest,
    Conflict,
    NotFound,
    SocketPortRangeExhausted,
    Unavailable,
)

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PTY = "<serial type='pty'><target port='0'/></serial>"
FOREIGN = """<serial type='tcp'><source mode='bind' host='127.0.0.1' service='7001'/>
  <target port='0'/></serial>"""


@pytest.mark.parametrize("name", ["web-1", WEB, WEB.upper()])
def test_a_domain_gets_ports_and_loses_them(name: str) -> None:
    """By its name or its uuid; libvirt keeps to the letter what it had, password and all."""
    ports = ListedPorts()
    with hypervisor(domain_xml(devices=PTY)) as connection:
        before = xml_of(connection)
        domains = configurator(ports)
        change = result(domains.enable(name, Wish(ports=2)))
        after = xml_of(connection)
        assert (change.uuid, change.domain, change.changed) == (WEB, "web-1", True)
        assert [(one.host, one.port) for one in change.ports] == [
            ("198.51.100.7", 10000),
            ("198.51.100.7", 10001),
        ]
        assert (change.power_cycle, change.warnings) == (False, ())
        assert "service='10001'" in after
        assert "passwd='hunter2'" in after
        assert "hunter2" not in change.diff
        assert ports.looked == [WEB]
        undone = result(domains.disable(name))
        assert (undone.changed, undone.ports) == (True, ())
        assert xml_of(connection) == before


def test_a_running_domain_needs_a_power_cycle() -> None:
    """It goes on as it is; started again, its ports are those of the change."""
    with hypervisor(domain_xml(devices=PTY)) as connection:
        domain = connection.lookupByUUIDString(WEB)
        domain.create()
        live = domain.XMLDesc(0)
        change = result(configurator().enable(WEB, Wish()))
        assert change.power_cycle
        assert "powered off" in change.warnings[0]
        assert domain.XMLDesc(0) == live
        domain.destroy()
        domain.create()
        facts = parse_domain(domain.XMLDesc(0), proxyclient_address="192.0.2.1")
        assert [console.place for console in facts.consoles] == ["198.51.100.7:10000"]


def test_a_saved_domain_is_named_as_such() -> None:
    """It would resume with its old devices, and nobody would know why."""
    with hypervisor(domain_xml()) as connection:
        domain = connection.lookupByUUIDString(WEB)
        domain.create()
        domain.managedSave(0)
        change = result(configurator().enable(WEB, Wish()))
        assert [warning for warning in change.warnings if "saved state" in warning]


def test_again_and_more() -> None:
    """A second time changes nothing and takes no port; more ports are added to those there are."""
    ports = ListedPorts()
    with hypervisor(domain_xml()):
        domains = configurator(ports)
        result(domains.enable(WEB, Wish(ports=2)))
        again = result(domains.enable(WEB, Wish(ports=2)))
        assert (again.changed, again.diff, again.warnings) == (False, "", ())
        more = result(domains.enable(WEB, Wish(ports=3, log=True, tls=True)))
        assert [one.port for one in more.ports] == [10000, 10001, 10002]
        assert {one.tls for one in more.ports} == {True}
        assert more.warnings == (TLS,)
        assert more.ports[1].log == "/var/log/libvirt/qemu/web-1-serial1.log"
        assert ports.reserved == [10000, 10001, 10002]


def test_a_dry_run_changes_nothing() -> None:
    """It shows what would come, and the ports come back once the books were looked at."""
    ports = ListedPorts()
    with hypervisor(domain_xml()) as connection:
        before = xml_of(connection)
        change = result(configurator(ports).enable(WEB, Wish(ports=2, dry_run=True)))
        assert 'service="10000"' in change.diff
        assert xml_of(connection) == before
        assert ports.looked == [WEB]
        assert ports.returned == [10000, 10001]
        result(configurator(ports).enable(WEB, Wish(ports=1)))
        kept = xml_of(connection)
        undone = result(configurator(ports).disable(WEB, dry_run=True))
        assert undone.changed
        assert xml_of(connection) == kept


def test_the_count_of_image_and_flavor() -> None:
    """Out of nova's metadata; of the request where there is none, and capped by the flavor."""
    with hypervisor(domain_xml(nova=True), domain_xml("plain", WEB[:-1] + "2")):
        domains = configurator()
        image = {"serial_ports": 4}
        managed = result(domains.enable(WEB, Wish(image=image, dry_run=True)))
        assert len(managed.ports) == 2
        plain = result(domains.enable("plain", Wish(image=image, dry_run=True)))
        assert len(plain.ports) == 4
        with pytest.raises(BadRequest, match="the flavor allows 3"):
            result(domains.enable(WEB, Wish(ports=4, dry_run=True)))
        with pytest.raises(BadRequest, match="1 to 4"):
            result(domains.enable("plain", Wish(ports=5)))


def test_nova_s_domains_want_force() -> None:
    """nova makes their XML anew; a dry run only warns, and force goes on with the warning."""
    with hypervisor(domain_xml(nova=True)) as connection:
        before = xml_of(connection)
        domains = configurator()
        with pytest.raises(Conflict, match=r"managed by nova.*Use force"):
            result(domains.enable(WEB, Wish()))
        dry = result(domains.enable(WEB, Wish(dry_run=True)))
        assert "managed by nova" in dry.warnings[0]
        assert xml_of(connection) == before
        forced = result(domains.enable(WEB, Wish(force=True)))
        assert "managed by nova" in forced.warnings[0]
        assert len(forced.ports) == 2
        result(domains.disable(WEB))
        assert xml_of(connection) == before


def test_a_foreign_port_is_left_and_named() -> None:
    """It counts as one of the ports, and is not consoled's to change."""
    with hypervisor(domain_xml(devices=FOREIGN)):
        change = result(configurator().enable(WEB, Wish(ports=2)))
        assert [(one.port, one.own) for one in change.ports] == [(7001, False), (10000, True)]
        assert "Serial port 0 listens on TCP already" in change.warnings[0]


@pytest.mark.parametrize("name", ["web-2", WEB[:-1] + "f", "", "../x"])
def test_an_unknown_domain(name: str) -> None:
    """Its name is in the error."""
    with hypervisor(), pytest.raises(NotFound, match="There is no domain"):
        result(configurator().enable(name, Wish()))


def test_a_domain_whose_name_is_a_uuid() -> None:
    """It is not taken for the domain of that uuid."""
    other = WEB[:-1] + "2"
    with hypervisor(domain_xml(), domain_xml(WEB, other)):
        assert result(configurator().enable(WEB, Wish(dry_run=True))).domain == "web-1"


def test_a_transient_domain() -> None:
    """Nothing of it is kept, so nothing can be configured."""
    with hypervisor() as connection:
        domain = connection.createXML(domain_xml())
        try:
            with pytest.raises(Conflict, match="transient"):
                result(configurator().enable(WEB, Wish()))
        finally:
            domain.destroy()


@define
class Scripted(LibvirtClient):
    """A client whose domain is said to be defined so."""

    text: str = field(kw_only=True)

    def definition(self, name: str) -> Definition | None:
        """The one."""
        return Definition(WEB, "web-1", self.text, active=False, persistent=True, saved=False)


@pytest.mark.parametrize(
    ("xml", "error", "words"),
    [
        (domain_xml().replace("'test'", "'xen'"), BadRequest, "of type xen"),
        (domain_xml().replace("'test'", "'lxc'"), BadRequest, "of type lxc"),
        ("<domain", Conflict, "cannot be read"),
        ("<network/>", Conflict, "cannot be read"),
    ],
)
def test_what_is_no_domain_of_qemu(xml: str, error: type[Exception], words: str) -> None:
    """It is refused by what it is, before a port is taken."""
    ports = ListedPorts()
    for act in (
        lambda domains: domains.enable(WEB, Wish()),
        lambda domains: domains.disable(WEB),
    ):
        with pytest.raises(error, match=words):
            result(act(configurator(ports, Scripted(URI, text=xml))))
    assert ports.reserved == []


def test_what_libvirt_refuses() -> None:
    """libvirt's own words are told, the domain stays, and the ports come back."""
    ports = ListedPorts()
    text = domain_xml(uuid=WEB[:-1] + "7")
    with hypervisor(domain_xml()) as connection:
        before = xml_of(connection)
        # There is a web-1 already, with another uuid.
        with pytest.raises(Conflict, match=r"stays as it was: .*already exists"):
            result(configurator(ports, Scripted(URI, text=text)).enable(WEB, Wish()))
        assert xml_of(connection) == before
        assert ports.returned == [10000]


def test_libvirt_goes_away_meanwhile() -> None:
    """The definition may have come through, so its ports are not given to anybody else."""

    class Broken(Scripted):
        def define(self, xml: str) -> None:
            raise ClientError("the connection broke")

    ports = ListedPorts()
    with pytest.raises(Unavailable):
        result(configurator(ports, Broken(URI, text=domain_xml())).enable(WEB, Wish()))
    assert (ports.reserved, ports.returned, ports.looked) == ([10000], [], [WEB])


def test_no_port_is_left() -> None:
    """The allocator's own error, and the domain is not changed."""
    with hypervisor(domain_xml()) as connection:
        before = xml_of(connection)
        with pytest.raises(SocketPortRangeExhausted):
            result(configurator(ListedPorts(free=[])).enable(WEB, Wish()))
        assert xml_of(connection) == before


def test_libvirt_is_away() -> None:
    """What cannot be asked is not changed."""
    client = LibvirtClient("test:///no/such/file")
    with pytest.raises(Unavailable):
        result(configurator(client=client).enable(WEB, Wish()))


def test_as_json() -> None:
    """Scripts and REST get the same names."""
    with hypervisor(domain_xml()):
        view: Any = configuration(result(configurator().enable(WEB, Wish())))
    assert view.pop("diff").startswith("--- web-1 as it is")
    assert view == {
        "server_id": WEB,
        "domain": "web-1",
        "changed": True,
        "power_cycle": False,
        "warnings": [],
        "ports": [
            {
                "index": 0,
                "host": "198.51.100.7",
                "port": 10000,
                "tls": False,
                "log": None,
                "configured": True,
            }
        ],
    }


def test_repr_shows_no_password() -> None:
    """A definition holds the passwords of its domain."""
    with hypervisor(domain_xml()):
        found = LibvirtClient("test:///default").definition(WEB)
    assert found is not None
    assert "hunter2" in found.xml
    assert "hunter2" not in repr(found)
