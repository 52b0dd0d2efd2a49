"""Serial ports of a domain that consoled can reach: put into its XML, and taken out again.

Pure: text in, text out. The rule, for each target port that is wanted:

* no device there: a ``<serial type='tcp'>`` that listens (mode ``bind``, protocol raw) is
  added;
* a device that listens on TCP already and is not consoled's: it stays as it is;
* another one (the ``pty`` of ``virsh console``, a file, a Unix socket): it is turned into one
  that listens. Only type, source and protocol change; the guest finds the same hardware.

Devices at other ports stay. Enabling only adds: a port that is consoled's keeps its address,
and a log or TLS that it has. A ``<console>`` that repeats serial port 0 follows it.

:func:`disable` puts back what :mod:`~consoled.compute.libvirt.serial_record` has kept, down
to the ``<console>``, except for devices that somebody has made something else meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from attrs import frozen
from lxml import etree

from consoled.compute.libvirt.editing import (
    indentation,
    insert,
    moved,
    parse_document,
    remove,
    replace,
    to_text,
)
from consoled.compute.libvirt.serial_record import Record
from consoled.compute.libvirt.xml import DomainXMLError

Place = tuple[str, int]
"""The address and TCP port to listen on."""

# What libvirt writes before serial ports; its schema takes any order.
_BEFORE = frozenset(
    {"emulator", "disk", "controller", "lease", "filesystem", "interface", "smartcard", "serial"}
)


@frozen
class Listening:
    """A serial port that listens on TCP.

    :ivar own: whether consoled made it so.
    """

    index: int
    host: str
    port: int | None
    own: bool
    log: str | None = None
    tls: bool = False


def listening(text: str) -> tuple[Listening, ...]:
    """The serial ports of a domain that listen on TCP, by their index.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    root = _domain(text)
    own = Record(root).ports()
    found = sorted(_serials(root).items())
    return tuple(_view(i, serial, i in own) for i, serial in found if _listens(serial))


def follows_image(text: str) -> bool:
    """Whether the domain has serial ports of consoled's, and as many as its image says.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    return Record(_domain(text)).follows_image


def lacking(text: str, count: int) -> tuple[int, ...]:
    """The ports below a count that :func:`enable` needs a place for.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    there = {port.index for port in listening(text)}
    return tuple(index for index in range(count) if index not in there)


def enable(
    text: str,
    count: int,
    places: Mapping[int, Place],
    *,
    log: Callable[[int], str] | None = None,
    tls: bool = False,
    follows: bool | None = None,
) -> str:
    """The domain with serial ports 0 to count - 1 that listen on TCP.

    :param text: its persistent XML.
    :param places: where the ports listen that :func:`lacking` names.
    :param log: the file, by index, that everything the guest writes is appended to; None
        asks for none.
    :param tls: whether QEMU is to speak TLS there.
    :param follows: whether the count is the image's; None leaves what is noted of that.
    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    root = _domain(text)
    record = Record(root)
    for index in range(count):
        serial = _serials(root).get(index)
        if serial is None or not _listens(serial):
            serial = _made(root, record, index, serial, places[index])
        elif index not in record.ports():
            continue
        if tls:
            _source(serial).set("tls", "yes")
        if log is not None and serial.find("log") is None:
            _put_log(serial, log(index))
        if index == 0:
            _mirror(root, serial)
    if follows is not None:
        record.follow_image(follows)
    return to_text(root)


def disable(text: str) -> str:
    """The domain as it was before :func:`enable`; the same where nothing is consoled's.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    root = _domain(text)
    record = Record(root)
    for index in sorted(record.ports()):
        serial = _serials(root).get(index)
        if serial is None or not _listens(serial):
            continue
        _put_back(serial, record.original(index))
        mirror = _mirror_of(root)
        if index == 0 and mirror is not None and _listens(mirror):
            # Without one that was there before, it is libvirt's own addition.
            _put_back(mirror, record.console())
    record.erase()
    return to_text(root)


def _domain(text: str) -> etree._Element:
    root = parse_document(text)
    if root.tag != "domain" or root.find("devices") is None:
        raise DomainXMLError("not a <domain> with <devices>")
    return root


def _serials(root: etree._Element) -> dict[int, etree._Element]:
    found: dict[int, etree._Element] = {}
    for port, serial in _ports(_devices(root)):
        found.setdefault(port, serial)
    return found


def _ports(devices: etree._Element) -> Iterator[tuple[int, etree._Element]]:
    for serial in devices.iterfind("serial"):
        target = serial.find("target")
        port = _number("" if target is None else target.get("port", ""))
        if port is not None:
            yield port, serial


def _devices(root: etree._Element) -> etree._Element:
    devices = root.find("devices")
    assert devices is not None, "a domain that was looked at has some"
    return devices


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None


def _listens(serial: etree._Element) -> bool:
    """Whether it is as consoled makes them, whoever did."""
    protocol = serial.find("protocol")
    raw = protocol is None or protocol.get("type", "raw") == "raw"
    source = serial.find("source")
    return (
        raw and serial.get("type") == "tcp" and source is not None and source.get("mode") == "bind"
    )


def _view(index: int, serial: etree._Element, own: bool) -> Listening:
    source, log = _source(serial), serial.find("log")
    return Listening(
        index=index,
        host=source.get("host", ""),
        port=_number(source.get("service", "")),
        own=own,
        log=None if log is None else log.get("file"),
        tls=source.get("tls") == "yes",
    )


def _source(serial: etree._Element) -> etree._Element:
    source = serial.find("source")
    assert source is not None, "a device that listens has one"
    return source


def _made(
    root: etree._Element,
    record: Record,
    index: int,
    there: etree._Element | None,
    place: Place,
) -> etree._Element:
    """The device at a port that lacks one of ours, put in or turned into one."""
    record.add(index, there)
    if index == 0:
        record.keep_console(_mirror_of(root))
    if there is not None:
        _listen(there, place)
        return there
    made = etree.Element("serial")
    etree.SubElement(made, "target", {"port": str(index)})
    _listen(made, place)
    devices = _devices(root)
    insert(devices, _position(devices, index), made)
    return made


def _position(devices: etree._Element, index: int) -> int:
    """Before the serial ports with higher numbers, else where libvirt would write it."""
    higher = [devices.index(serial) for port, serial in _ports(devices) if port > index]
    before = [position for position, device in enumerate(devices, 1) if device.tag in _BEFORE]
    return min(higher, default=max(before, default=0))


def _listen(device: etree._Element, place: Place) -> None:
    """Turns a device into one that listens; what else it holds stays."""
    for name in list(device.attrib):
        del device.attrib[name]
    device.set("type", "tcp")
    for child in [*device.iterfind("source"), *device.iterfind("protocol")]:
        remove(child)
    host, port = place
    source = {"mode": "bind", "host": host, "service": str(port)}
    insert(device, 0, etree.Element("source", source))
    insert(device, 1, etree.Element("protocol", {"type": "raw"}))


def _put_log(serial: etree._Element, file: str) -> None:
    protocol = serial.find("protocol")
    after = _source(serial) if protocol is None else protocol
    insert(serial, serial.index(after) + 1, etree.Element("log", {"file": file, "append": "on"}))


def _mirror_of(root: etree._Element) -> etree._Element | None:
    """The ``<console>`` by which libvirt repeats the first serial port."""
    console = root.find("devices/console")
    target = None if console is None else console.find("target")
    kind = "serial" if target is None else target.get("type", "serial")
    return console if kind == "serial" else None


def _mirror(root: etree._Element, serial: etree._Element) -> None:
    """Makes the ``<console>`` that repeats serial port 0, where there is one, do so."""
    console = _mirror_of(root)
    if console is None:
        return
    source, log = _source(serial), serial.find("log")
    if not _listens(console):
        _listen(console, ("", 0))
    for name, value in source.attrib.items():
        _source(console).set(name, value)
    if log is not None and console.find("log") is None:
        _put_log(console, log.get("file", ""))


def _put_back(device: etree._Element, original: etree._Element | None) -> None:
    if original is None:
        remove(device)
    else:
        replace(device, moved(original, indentation(original), indentation(device)))
