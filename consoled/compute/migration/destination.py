"""The XML that a domain has on the host it migrates to. Pure: text in, text out.

A serial port that listens on TCP listens there at another address and port (nova's contract:
"host and service are rewritten by ``target/@port``"). Everything else stays as it was read,
passwords with it: what libvirt is given here is all that the destination knows of the domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lxml import etree

from consoled.compute.libvirt.editing import parse_document, to_text
from consoled.compute.libvirt.xml import DomainXMLError

Place = tuple[str, int]
"""The address and TCP port to listen on."""


def listening_indexes(text: str) -> tuple[int, ...]:
    """The serial ports that listen on TCP, whatever they speak: each needs a port.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    found = {index for device, index in _listening(_domain(text)) if device.tag == "serial"}
    return tuple(sorted(found))


def relocated(text: str, places: Mapping[int, Place]) -> str:
    """The domain with its serial ports at other places.

    :param places: for each of :func:`listening_indexes`.
    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not a domain's XML.
    """
    root = _domain(text)
    # A <console> may repeat serial port 0; libvirt wants both to agree.
    for device, index in _listening(root):
        source = device.find("source")
        if index in places and source is not None:
            host, port = places[index]
            source.set("host", host)
            source.set("service", str(port))
    return to_text(root)


def _domain(text: str) -> etree._Element:
    root = parse_document(text)
    if root.tag != "domain" or root.find("devices") is None:
        raise DomainXMLError("not a <domain> with <devices>")
    return root


def _listening(root: etree._Element) -> Iterator[tuple[etree._Element, int]]:
    for device in root.iterfind("devices/*"):
        if device.tag not in ("serial", "console") or device.get("type") != "tcp":
            continue
        source, target = device.find("source"), device.find("target")
        if source is None or source.get("mode") != "bind" or target is None:
            continue
        number = target.get("port", "")
        repeats = device.tag == "serial" or target.get("type", "serial") == "serial"
        if repeats and re.fullmatch(r"[0-9]{1,5}", number):
            yield device, int(number)
