"""consoled.compute.libvirt.serial_devices: what is put into a domain's XML comes out again."""

from __future__ import annotations

import re
from collections.abc import Callable

import libvirt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from consoled.compute.libvirt.editing import difference, parse_document, to_text
from consoled.compute.libvirt.nova_metadata import nova_facts
from consoled.compute.libvirt.serial_devices import (
    Listening,
    disable,
    enable,
    lacking,
    listening,
)
from consoled.compute.libvirt.serial_record import NAMESPACE
from consoled.compute.libvirt.xml import DomainXMLError, parse_domain

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PLACES = {index: ("198.51.100.7", 10000 + index) for index in range(4)}

PTY = """\
    <serial type='pty'>
      <target type='isa-serial' port='0'>
        <model name='isa-serial'/>
      </target>
      <alias name='ua-mine'/>
    </serial>
"""
REPEATED = """\
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
"""
TCP_1 = """\
    <serial type='tcp'>
      <source mode='bind' host='127.0.0.1' service='7001'/>
      <protocol type='raw'/>
      <target type='isa-serial' port='1'/>
    </serial>
"""
NOVA = """\
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:name>web</nova:name>
      <nova:flavor name="m1.small">
        <nova:extraSpecs>
          <nova:extraSpec name="hw:serial_port_count">3</nova:extraSpec>
        </nova:extraSpecs>
      </nova:flavor>
      <nova:image uuid="7899d69a-dcb4-4634-b8f1-c25df4813035">
        <nova:properties>
          <nova:property name="hw_serial_port_count">2</nova:property>
          <nova:property name="os_distro">debian</nova:property>
        </nova:properties>
      </nova:image>
    </nova:instance>
"""


def domain(serials: str = "", *, metadata: str | None = None, kind: str = "kvm") -> str:
    """A domain's persistent XML, as libvirt writes it."""
    kept = "" if metadata is None else f"  <metadata>\n{metadata}  </metadata>\n"
    return f"""\
<domain type='{kind}'>
  <name>web-1</name>
  <uuid>{UUID}</uuid>
{kept}  <memory unit='KiB'>131072</memory>
  <vcpu placement='static'>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' index='0' model='none'/>
{serials}    <graphics type='vnc' port='-1' autoport='yes' passwd='hunter2'>
      <listen type='address'/>
    </graphics>
  </devices>
</domain>
"""


def same(one: str, other: str) -> bool:
    """Whether both are one document to the letter; how attributes are quoted does not count."""
    return canonical(one) == canonical(other)


def canonical(text: str) -> str:
    """The canonical form, with comments and all white space."""
    return etree.tostring(parse_document(text), method="c14n2", with_comments=True).decode()


def serials(text: str) -> list[str]:
    """The types of the serial ports, in their order."""
    return [str(found.get("type")) for found in parse_document(text).iterfind("devices/serial")]


def test_ports_are_added() -> None:
    """In bind mode, raw, at target ports 0 and 1, where libvirt would write them."""
    after = enable(domain(), 2, PLACES)
    [first, second] = parse_document(after).iterfind("devices/serial")
    assert etree.tostring(first, encoding="unicode").strip() == (
        '<serial type="tcp">\n'
        '      <source mode="bind" host="198.51.100.7" service="10000"/>\n'
        '      <protocol type="raw"/>\n'
        '      <target port="0"/>\n'
        "    </serial>"
    )
    assert second.find("target").get("port") == "1"  # type: ignore[union-attr]  # it has one
    assert first.getprevious().tag == "controller"  # type: ignore[union-attr]  # nor the first
    assert listening(after) == (
        Listening(0, "198.51.100.7", 10000, own=True),
        Listening(1, "198.51.100.7", 10001, own=True),
    )


def test_the_driver_reads_what_was_written() -> None:
    """A domain that runs with it has these consoles."""
    running = enable(domain(), 2, PLACES).replace("<domain ", "<domain id='7' ", 1)
    facts = parse_domain(running, proxyclient_address="192.0.2.1")
    assert [console.place for console in facts.consoles] == [
        "198.51.100.7:10000",
        "198.51.100.7:10001",
    ]
    assert facts.notes == ()


def test_log_and_tls() -> None:
    """They are in the source and beside it, in the order of libvirt's own."""
    after = enable(domain(), 1, PLACES, log=lambda index: f"/var/log/{index}.log", tls=True)
    serial = parse_document(after).find("devices/serial")
    assert serial is not None
    assert [child.tag for child in serial] == ["source", "protocol", "log", "target"]
    assert dict(serial[0].attrib)["tls"] == "yes"
    assert dict(serial[2].attrib) == {"file": "/var/log/0.log", "append": "on"}
    assert listening(after)[0].log == "/var/log/0.log"
    assert same(disable(after), domain())


def test_a_pty_is_turned_into_one_that_listens() -> None:
    """The guest's hardware stays; the console that repeats it follows."""
    before = domain(PTY + REPEATED)
    after = enable(before, 1, PLACES)
    serial = parse_document(after).find("devices/serial")
    console = parse_document(after).find("devices/console")
    assert serial is not None
    assert console is not None
    assert [child.tag for child in serial] == ["source", "protocol", "target", "alias"]
    assert serial.find("target/model") is not None
    assert [child.tag for child in console] == ["source", "protocol", "target"]
    assert dict(console[0].attrib) == dict(serial[0].attrib)
    assert same(disable(after), before)


def test_a_port_that_listens_stays() -> None:
    """A device that somebody else made so keeps its address, and gets no log and no TLS."""
    before = domain(PTY + TCP_1 + REPEATED)
    assert lacking(before, 3) == (0, 2)
    after = enable(before, 3, PLACES, log=lambda index: f"/{index}.log", tls=True)
    assert [(port.port, port.own, port.tls) for port in listening(after)] == [
        (10000, True, True),
        (7001, False, False),
        (10002, True, True),
    ]
    assert same(disable(after), before)


def test_ports_stand_in_the_order_of_their_numbers() -> None:
    """libvirt's <console> repeats the first one, which has to be port 0."""
    after = enable(domain(TCP_1), 3, PLACES)
    found = parse_document(after).iterfind("devices/serial/target")
    assert [target.get("port") for target in found] == ["0", "1", "2"]


def test_devices_beyond_the_count_stay() -> None:
    """Only the ports that are asked for are looked at."""
    before = domain(PTY.replace("port='0'", "port='3'"))
    assert serials(enable(before, 2, PLACES)) == ["tcp", "tcp", "pty"]


def test_enabling_again_changes_nothing() -> None:
    """Nor does it with fewer ports, and a second run keeps the addresses."""
    once = enable(domain(PTY + REPEATED), 3, PLACES)
    assert lacking(once, 3) == ()
    assert enable(once, 3, {}) == once
    assert enable(once, 1, {}) == once


def test_more_can_be_added_later() -> None:
    """Ports, a log, TLS: what is there stays, and disable undoes all of it."""
    before = domain(PTY + REPEATED)
    once = enable(before, 1, PLACES)
    twice = enable(once, 2, {1: ("198.51.100.7", 10009)}, log=lambda index: f"/{index}.log")
    assert [(port.port, port.log) for port in listening(twice)] == [
        (10000, "/0.log"),
        (10009, "/1.log"),
    ]
    assert twice.count("/0.log") == 2
    assert same(disable(twice), before)


def test_disable_leaves_what_somebody_changed_since() -> None:
    """A port that was made something else meanwhile is theirs; the record goes."""
    after = enable(domain(), 2, PLACES)
    edited = re.sub(
        r"<serial type=\"tcp\">\s*<source[^>]*10001\"/>\s*<protocol[^>]*>",
        '<serial type="pty">',
        after,
    )
    assert serials(edited) == ["tcp", "pty"]
    undone = disable(edited)
    assert serials(undone) == ["pty"]
    assert NAMESPACE not in undone


def test_enabling_what_somebody_changed_since() -> None:
    """What they made of it is what disable goes back to."""
    after = enable(domain(), 1, PLACES)
    edited = after.replace('<serial type="tcp">', '<serial type="pty">', 1)
    edited = re.sub(r"\s*<source mode=\"bind\"[^>]*>\s*<protocol[^>]*>", "", edited)
    assert serials(disable(enable(edited, 1, PLACES))) == ["pty"]


def test_a_console_that_listens_already() -> None:
    """It comes back as it was, though it looks as if consoled had made it."""
    console = TCP_1.replace("serial", "console").replace("'isa-console'", "'serial'")
    before = domain(PTY.replace("port='0'", "port='2'") + console)
    after = enable(before, 1, PLACES)
    assert after.count('service="10000"') == 2
    assert enable(after, 1, {}) == after
    assert same(disable(after), before)


def test_disable_of_a_foreign_port() -> None:
    """What consoled did not do it does not undo."""
    before = domain(PTY + TCP_1 + REPEATED)
    assert same(disable(before), before)


def test_a_record_that_leads_nowhere() -> None:
    """One that was edited by hand is taken away, and what it says as far as it makes sense."""
    broken = f"""\
    <c:serial-devices xmlns:c="{NAMESPACE}">
      <c:added port="x"/><c:added/><c:replaced port="1"/><c:other port="0"/><!-- hi -->
    </c:serial-devices>
"""
    before = domain(TCP_1, metadata=NOVA + broken)
    undone = disable(before)
    assert serials(undone) == ["tcp"]
    assert NAMESPACE not in undone
    assert not difference(undone, domain(TCP_1, metadata=NOVA), "web-1")


@pytest.mark.parametrize("text", ["", "<x/>", "<domain/>", "<domain", "<domain><name>a</name>"])
def test_what_is_no_domain(text: str) -> None:
    """It is refused, whatever is asked for."""
    doings: list[Callable[[], object]] = [
        lambda: enable(text, 1, PLACES),
        lambda: disable(text),
        lambda: lacking(text, 1),
    ]
    for doing in doings:
        with pytest.raises(DomainXMLError):
            doing()


def test_the_difference_shows_no_password() -> None:
    """It is for screens and logs; the XML itself keeps it."""
    after = enable(domain(), 1, PLACES)
    shown = difference(domain(), after, "web-1")
    assert "hunter2" in after
    assert "hunter2" not in shown
    assert '+      <source mode="bind" host="198.51.100.7" service="10000"/>' in shown
    assert not [line for line in shown.splitlines()[2:] if line.startswith("-")]


def test_nova_s_metadata() -> None:
    """Properties of the image and extra specs of the flavor, and that nova manages the domain."""
    facts = nova_facts(parse_document(domain(metadata=NOVA)))
    assert facts.managed
    assert facts.image == {"hw_serial_port_count": "2", "os_distro": "debian"}
    assert facts.flavor == {"hw:serial_port_count": "3"}
    plain = nova_facts(parse_document(domain()))
    assert (plain.managed, plain.image, plain.flavor) == (False, {}, {})


@pytest.mark.parametrize("metadata", [None, "", NOVA, "    <!-- a note -->\n" + NOVA])
def test_metadata_is_as_it_was(metadata: str | None) -> None:
    """Whether there was none, an empty one, or somebody else's."""
    before = domain(metadata=metadata)
    assert same(disable(enable(before, 2, PLACES)), before)
    closed = before.replace("<metadata>\n  </metadata>", "<metadata/>")
    assert same(disable(enable(closed, 2, PLACES)), closed)


# Domains of all kinds of layout, with devices of all kinds.

_KINDS = st.sampled_from(["pty", "file", "unix", "tcp", "udp", "dev", "spicevmc"])


def _device(tag: str, kind: str, port: int, mode: str, inner: bool) -> etree._Element:
    device = etree.Element(tag, {"type": kind})
    if kind in {"file", "unix", "dev"}:
        etree.SubElement(device, "source", {"path": f"/tmp/{port}", "mode": mode})
    if kind == "tcp":
        etree.SubElement(device, "source", {"mode": mode, "host": "::1", "service": "7000"})
        etree.SubElement(device, "protocol", {"type": "raw" if inner else "telnet"})
    target = etree.SubElement(device, "target", {"port": str(port)})
    if tag == "console":
        target.set("type", "serial" if inner else "virtio")
    elif inner:
        etree.SubElement(target, "model", {"name": "isa-serial"})
    if inner:
        device.append(etree.Comment(" mine "))
    return device


_MODES = st.sampled_from(["bind", "connect"])
_DEVICE = st.builds(
    _device,
    st.sampled_from(["serial", "serial", "serial", "console"]),
    _KINDS,
    st.integers(0, 5),
    _MODES,
    st.booleans(),
)
_OTHERS = st.sampled_from(["disk", "interface", "channel", "graphics", "video", "input"]).map(
    etree.Element
)
_NOTES = st.sampled_from(["a note", " <serial type='pty'/> ", ""]).map(etree.Comment)


@st.composite
def _domains(draw: st.DrawFn) -> str:
    root = etree.Element("domain", {"type": "kvm"})
    etree.SubElement(root, "name").text = "web & <1>"
    metadata = draw(st.sampled_from([None, "empty", "nova"]))
    if metadata is not None:
        etree.SubElement(root, "metadata")
        if metadata == "nova":
            space = "http://openstack.org/xmlns/libvirt/nova/1.1"
            etree.SubElement(root[-1], f"{{{space}}}instance", nsmap={"nova": space})
    devices = etree.SubElement(root, "devices", draw(st.sampled_from([{}, {"a": "1"}])))
    devices.extend(draw(st.lists(st.one_of(_DEVICE, _OTHERS, _NOTES), max_size=7)))
    layout = draw(st.sampled_from(["none", "two", "tab", "blank", "ragged"]))
    if layout in {"two", "tab"}:
        etree.indent(root, "  " if layout == "two" else "\t")
    elif layout == "blank":
        etree.indent(root, "  ")
        for element in root.iter():
            if element.tail and draw(st.booleans()):
                element.tail = "\n" + element.tail
    elif layout == "ragged":
        for element in devices:
            element.tail = draw(st.sampled_from(["", " ", "\n", "\n \t", "\n\n    "]))
    return to_text(root)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_domains(), st.integers(1, 4), st.booleans(), st.booleans())
def test_any_domain_comes_back(before: str, count: int, logged: bool, tls: bool) -> None:
    """Enabling gives the ports, again changes nothing, and disabling gives back every byte."""
    targets = [
        target.get("port") for target in parse_document(before).iterfind("devices/serial/target")
    ]
    # libvirt lets nobody define two devices at one port.
    assume(len(targets) == len(set(targets)))
    log = (lambda index: f"/var/log/{index}.log") if logged else None
    after = enable(before, count, PLACES, log=log, tls=tls)
    assert {port.index for port in listening(after)} >= set(range(count))
    assert enable(after, count, {}, log=log, tls=tls) == after
    assert same(disable(after), before)
    others = [element.tag for element in parse_document(before).iterfind("devices/*")]
    kept = [element.tag for element in parse_document(after).iterfind("devices/*")]
    assert [tag for tag in kept if tag != "serial"] == [tag for tag in others if tag != "serial"]


@pytest.mark.parametrize("devices", ["", PTY + REPEATED, PTY + TCP_1 + REPEATED, TCP_1])
def test_libvirt_takes_and_gives_back(devices: str) -> None:
    """What libvirt adds by itself is gone again, too, and what it has is stable."""
    connection = libvirt.open("test:///default")
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    try:
        kept = connection.defineXML(
            domain(devices.replace("<alias name='ua-mine'/>", ""), kind="test")
        )
        before = kept.XMLDesc(flags)
        connection.defineXML(enable(before, 3, PLACES, log=lambda index: f"/{index}.log"))
        after = kept.XMLDesc(flags)
        assert [port.index for port in listening(after)] == [0, 1, 2]
        assert "hunter2" in after
        assert not difference(after, enable(after, 3, {}), "web-1")
        connection.defineXML(disable(after))
        assert kept.XMLDesc(flags) == before
    finally:
        connection.close()


@pytest.mark.parametrize("devices", ["", PTY + REPEATED, TCP_1])
def test_libvirt_s_schema(devices: str) -> None:
    """The XML fits the schema that libvirt judges by when it is asked to."""
    connection = libvirt.open("test:///default")
    validate = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    xml = enable(
        domain(devices, kind="test"), 4, PLACES, log=lambda index: f"/{index}.log", tls=True
    )
    try:
        with pytest.raises(libvirt.libvirtError, match="schema"):
            connection.defineXMLFlags(xml.replace("append=", "appended="), validate)
        connection.defineXMLFlags(xml, validate)
    finally:
        connection.close()
