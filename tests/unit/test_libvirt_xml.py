"""consoled.compute.libvirt.xml: what a domain's XML says about its consoles."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.compute.libvirt.xml import (
    DomainFacts,
    DomainXMLError,
    named_ports,
    parse_domain,
    serial_ptys,
)
from consoled.compute.reconciling import NamedPort
from consoled.model import Console

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"


def serial(
    index: object = 0,
    service: object = 10000,
    *,
    host: str = "127.0.0.1",
    mode: str = "bind",
    kind: str = "tcp",
    protocol: str = "raw",
    more: str = "",
) -> str:
    return (
        f"<serial type='{kind}'><source mode='{mode}' host='{host}' service='{service}' {more}/>"
        f"<protocol type='{protocol}'/><target type='isa-serial' port='{index}'/></serial>"
    )


def domain(devices: str = "", *, metadata: str = "", live: bool = True, head: str = "") -> str:
    number = "id='3'" if live else ""
    return (
        f"{head}<domain type='kvm' {number}><name>instance-1</name><uuid>{UUID}</uuid>"
        f"<metadata>{metadata}</metadata><devices>{devices}</devices></domain>"
    )


def parse(text: str, default_project: str | None = "fallback") -> DomainFacts:
    return parse_domain(text, proxyclient_address="192.0.2.7", default_project=default_project)


def nova(body: str, namespace: str = NOVA) -> str:
    return f"<nova:instance xmlns:nova='{namespace}'>{body}</nova:instance>"


OWNER = (
    "<nova:owner><nova:user uuid='u'>bob</nova:user>"
    "<nova:project uuid='p1'>demo</nova:project></nova:owner>"
)


def test_serial_ports_become_consoles() -> None:
    """Each TCP serial port is a console, in the order of its index, whatever the XML's order."""
    facts = parse(domain(serial(1, 10001) + serial(0, 10000)))
    assert facts.consoles == (Console(0, "127.0.0.1", 10000), Console(1, "127.0.0.1", 10001))
    assert (facts.uuid, facts.domain, facts.name) == (UUID, "instance-1", "instance-1")
    assert (facts.active, facts.notes) == (True, ())


def test_a_pty_is_a_console_of_its_compute_host() -> None:
    """It has no port; libvirt's name of it is known while the domain lives."""
    xml = domain(
        serial(0, 10000)
        + "<serial type='pty'><target port='1'/><alias name='serial7'/></serial>"
        + "<serial type='pty'><target port='2'/></serial>"
    )
    facts = parse_domain(xml, proxyclient_address="192.0.2.7", compute_host="kvm1")
    assert facts.consoles[1:] == (Console(1, "kvm1", None), Console(2, "kvm1", None))
    assert [console.kind for console in facts.consoles] == ["tcp", "pty", "pty"]
    assert facts.consoles[1].place == "serial 1 at kvm1"
    assert serial_ptys(xml) == {1: "serial7"}


def test_the_repeated_console_element_is_not_counted() -> None:
    """libvirt repeats serial port 0 as <console>; only <serial> is read."""
    repeated = serial(0).replace("serial>", "console>").replace("<serial", "<console")
    assert parse(domain(serial(0) + repeated)).consoles == (Console(0, "127.0.0.1", 10000),)
    assert parse(domain(repeated)).consoles == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*", "", "[::]"])
def test_a_port_on_every_address_is_reached_at_the_proxyclient_address(host: str) -> None:
    """A wildcard is no place to dial."""
    assert parse(domain(serial(host=host))).consoles[0].host == "192.0.2.7"


def test_an_ipv6_host_has_no_brackets() -> None:
    """The address is dialled, so it is bare."""
    assert parse(domain(serial(host="::1"))).consoles[0].place == "[::1]:10000"


@pytest.mark.parametrize(
    ("element", "why"),
    [
        (serial(mode="connect"), "serial port 0 cannot be used: it does not listen"),
        (serial(kind="unix"), "its type is unix, neither tcp nor pty"),
        (serial(kind="pty", index="x"), "serial port x cannot be used: its target has no"),
        (serial(protocol="telnet"), "its protocol is telnet, not raw"),
        (serial(protocol="tls"), "its protocol is tls, not raw"),
        (serial(service="ssh"), "its service is not a port number"),
        (serial(service=0), "its service is not a port number"),
        (serial(service=65536), "its service is not a port number"),
        (serial(service=-1), "its service is not a port number"),
        (serial(service="9" * 5000), "its service is not a port number"),
        (serial(service="\u0661\u0660"), "its service is not a port number"),
        (serial(index="x"), "serial port x cannot be used: its target has no port number"),
        (serial(host="h" * 300), "its host is too long"),
        ("<serial type='tcp'/>", "serial port ? cannot be used: it does not listen"),
        ("<serial/>", "its type is None, neither tcp nor pty"),
    ],
)
def test_other_serial_ports_are_named_with_the_reason(element: str, why: str) -> None:
    """What cannot be used is left out and told, and does not disturb its neighbour."""
    facts = parse(domain(element + serial(3, 10003)))
    assert facts.consoles == (Console(3, "127.0.0.1", 10003),)
    assert len(facts.notes) == 1
    assert why in facts.notes[0]


def test_a_port_without_protocol_is_raw() -> None:
    """raw is libvirt's default."""
    bare = (
        "<serial type='tcp'><source mode='bind' host='h' service='1'/><target port='0'/></serial>"
    )
    assert parse(domain(bare)).consoles == (Console(0, "h", 1),)


def test_the_first_of_two_equal_indexes_counts() -> None:
    """libvirt does not make such XML; nothing breaks if somebody does."""
    assert parse(domain(serial(0, 10000) + serial(0, 10001))).consoles[0].port == 10000


def test_a_dead_domain_has_no_consoles() -> None:
    """Its persistent XML may name ports that are another domain's by now (nova's hole)."""
    facts = parse(domain(serial(), metadata=nova(OWNER), live=False))
    assert (facts.active, facts.consoles, facts.project_id) == (False, (), "p1")


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.7", ""])
def test_nova_s_owner_and_name_are_taken(version: str) -> None:
    """Whatever the version of nova's namespace."""
    namespace = f"http://openstack.org/xmlns/libvirt/nova/{version}"
    name = "<nova:name> Web &lt;one&gt; \u00e9 </nova:name>"
    facts = parse(domain(metadata=nova(name + OWNER, namespace)))
    assert (facts.name, facts.project_id, facts.notes) == ("Web <one> \u00e9", "p1", ())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<nova:owner/>",
        "<nova:owner><nova:project/></nova:owner>",
        "<nova:owner><nova:project uuid=' '/></nova:owner>",
        f"<nova:owner><nova:project uuid='{'p' * 300}'/></nova:owner>",
    ],
)
def test_broken_nova_metadata_is_nobody_s(body: str) -> None:
    """Such a domain is a cloud tenant's, so it does not fall to the default project."""
    facts = parse(domain(serial(), metadata=nova(body)))
    assert facts.project_id is None
    assert facts.notes == ("its nova metadata names no project: for administrators only",)
    assert len(facts.consoles) == 1


@pytest.mark.parametrize(
    "metadata",
    ["", "<other:x xmlns:other='urn:other'/>", nova(OWNER, "urn:imitation"), "<!-- x -->text"],
)
@pytest.mark.parametrize("default", ["fallback", None])
def test_without_nova_s_metadata_the_default_project_counts(
    metadata: str, default: str | None
) -> None:
    """A plain libvirt host has no nova metadata."""
    assert parse(domain(metadata=metadata), default).project_id == default


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "not xml",
        "<domain>",
        "<domain/>",
        "<domain><name>x</name></domain>",
        "<network><name>x</name><uuid>y</uuid></network>",
        "<domain id='1'><name> </name><uuid>u</uuid></domain>",
        "\udcff",
        "\0",
        "<domain>" * 400,
    ],
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    """One kind of error, whatever is wrong."""
    with pytest.raises(DomainXMLError):
        parse(text)


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    """Neither a file nor an internal entity gets into a name."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    head = f"<!DOCTYPE domain [<!ENTITY f SYSTEM 'file://{secret}'><!ENTITY i 'inside'>]>"
    name = "<nova:name>&f;&i;</nova:name>"
    facts = parse(domain(serial(), metadata=nova(name + OWNER), head=head))
    assert facts.name == "instance-1"


def test_an_encoding_declaration_does_no_harm() -> None:
    """libvirt's text is already decoded, whatever it declares."""
    head = "<?xml version='1.0' encoding='utf-16'?>"
    assert parse(domain(serial(), head=head)).consoles


def test_the_uuid_is_in_lower_case() -> None:
    """UUIDs are compared as text everywhere else."""
    assert parse(domain().replace(UUID, UUID.upper())).uuid == UUID


@given(st.text())
def test_any_text_is_facts_or_the_one_error(text: str) -> None:
    """Nothing else comes out, whatever goes in."""
    for candidate in (text, domain(text), domain(metadata=text)):
        with suppress(DomainXMLError):
            parse(candidate)


_attribute = st.text(st.characters(blacklist_characters="<&'\"", blacklist_categories=("C",)))


@given(_attribute, _attribute, _attribute)
def test_any_attributes_give_a_usable_console_or_none(host: str, service: str, index: str) -> None:
    """A console that comes out can be dialled and stored."""
    facts = parse(domain(serial(index, service, host=host)))
    assert len(facts.consoles) + len(facts.notes) == 1
    for console in facts.consoles:
        assert 0 < (console.port or 0) < 65536
        assert 0 < len(console.host) <= 255
        assert console.index >= 0


@pytest.mark.parametrize("live", [True, False])
def test_ports_that_are_named(live: bool) -> None:
    """Every TCP port that a serial port listens on, usable as a console or not, running or not."""
    devices = (
        serial(1, 10001, host="0.0.0.0")
        + serial(0, 10000, protocol="telnet", more="tls='yes'")
        + serial(2, 10002, mode="connect")
        + serial(3, 0)
        + serial("x", 10004)
        + serial(4, 10005, kind="udp")
        + "<serial type='pty'><target port='5'/></serial><serial type='tcp'/>"
    )
    assert named_ports(domain(devices, live=live), proxyclient_address="192.0.2.7") == (
        NamedPort(1, "192.0.2.7", 10001),
        NamedPort(0, "127.0.0.1", 10000),
    )


def test_ports_of_what_is_no_xml() -> None:
    """That is an error, not a domain without ports."""
    with pytest.raises(DomainXMLError):
        named_ports("<domain", proxyclient_address="192.0.2.7")
