"""What a domain's XML says about its consoles. Pure: text in, facts out.

Only ``<serial>`` is read: libvirt repeats serial port 0 as a ``<console>``. A port can be
used when QEMU listens on TCP (mode ``bind``) and speaks the raw protocol, in clear or over
TLS (``tls='yes'``), and when it is a pty; all others are named with the reason. The owner comes
from nova's metadata, whatever version of its namespace it is in.
"""

from __future__ import annotations

import re

from attrs import field, frozen
from lxml import etree

from consoled.compute.libvirt.nova_metadata import nova_identity
from consoled.compute.reconciling import NamedPort
from consoled.model import Console

_NOVA = re.compile(r"\{http://openstack\.org/xmlns/libvirt/nova/[^}]*\}instance")
_WILDCARDS = frozenset({"", "*", "0.0.0.0", "::"})
_LONGEST = 255
_CHARDEV = "char"
_AGENT = "org.qemu.guest_agent.0"


class DomainXMLError(ValueError):
    """The text is not a domain's XML."""


@frozen
class DomainFacts:
    """A domain as its XML tells it.

    :ivar domain: libvirt's own name of the domain.
    :ivar name: nova's display name where there is one, else the domain's.
    :ivar project_id: nova's project, or the default where there is no nova metadata.
    :ivar active: whether the XML is that of a living domain; a dead one has no consoles,
        because the ports in its XML may be another domain's by now.
    :ivar notes: what could not be used and why, for the log.
    :ivar nova: what else nova's metadata says of it (:func:`nova_identity`).
    """

    uuid: str
    domain: str
    name: str
    project_id: str | None
    active: bool
    consoles: tuple[Console, ...] = ()
    notes: tuple[str, ...] = ()
    nova: dict[str, str] = field(factory=dict, hash=False)


def parse_domain(
    text: str,
    *,
    proxyclient_address: str,
    default_project: str | None = None,
    compute_host: str = "",
) -> DomainFacts:
    """The facts in one domain's XML.

    :param proxyclient_address: where a port that listens on every address is reached.
    :param compute_host: the host of consoles without a port.
    :param default_project: the project of a domain without nova metadata.
    :raises DomainXMLError: the text is not well-formed, or not a domain with name and uuid.
    """
    root = _root(text)
    domain, uuid = _text(root.find("name")), _text(root.find("uuid")).lower()
    if root.tag != "domain" or not domain or not uuid:
        raise DomainXMLError("not a <domain> with a name and a uuid")
    name, project_id, notes = _owner(root, domain, default_project)
    active = root.get("id") is not None
    consoles: dict[int, Console] = {}
    for serial in root.iterfind("devices/serial") if active else ():
        try:
            console = _console(serial, proxyclient_address, compute_host)
        except _Unusable as why:
            notes.append(f"serial port {_index(serial)} cannot be used: {why}")
        else:
            consoles.setdefault(console.index, console)
    return DomainFacts(
        uuid=uuid,
        domain=domain,
        name=name,
        project_id=project_id,
        active=active,
        consoles=tuple(consoles[index] for index in sorted(consoles)),
        notes=tuple(notes),
        nova=nova_identity(root),
    )


def named_ports(text: str, *, proxyclient_address: str) -> tuple[NamedPort, ...]:
    """The TCP ports that a domain's serial ports listen on when it runs, as its XML has it.

    Whatever protocol they speak, with or without TLS: the port is taken.

    :param proxyclient_address: where a port that listens on every address is reached.
    :raises DomainXMLError: the text is not well-formed.
    """
    found = []
    for serial in _root(text).iterfind("devices/serial"):
        source, index = serial.find("source"), _number(_index(serial))
        if serial.get("type") != "tcp" or source is None or source.get("mode") != "bind":
            continue
        host = (source.get("host") or "").strip().strip("[]")
        port = _number(source.get("service"))
        if index is not None and port is not None and 0 < port < 65536:
            address = proxyclient_address if host in _WILDCARDS else host
            found.append(NamedPort(index, address[:_LONGEST], port))
    return tuple(found)


def serial_ptys(text: str) -> dict[int, str]:
    """libvirt's name of the pty behind each serial port of a living domain that is one.

    :returns: index -> name, as virDomainOpenConsole takes it.
    :raises DomainXMLError: the text is not well-formed.
    """
    return {
        index: chardev.removeprefix(_CHARDEV)
        for index, chardev in serial_chardevs(text, "pty").items()
    }


def serial_chardevs(text: str, kind: str | None = None) -> dict[int, str]:
    """QEMU's id of the chardev behind each serial port of a living domain.

    libvirt calls the chardev of the device with the alias ``serial0`` ``charserial0``.

    :param kind: of devices of this type only.
    :returns: index -> id; a port without an alias is not in it.
    :raises DomainXMLError: the text is not well-formed.
    """
    root = _root(text)
    found: dict[int, str] = {}
    for serial in root.iterfind("devices/serial") if root.get("id") is not None else ():
        alias = serial.find("alias")
        name = "" if alias is None else alias.get("name", "")
        index = _number(_index(serial))
        if name and index is not None and kind in (None, serial.get("type")):
            found.setdefault(index, f"{_CHARDEV}{name}")
    return found


def has_agent(text: str) -> bool:
    """Whether an agent in a living domain listens (``qemu-guest-agent``).

    :raises DomainXMLError: the text is not well-formed.
    """
    targets = _root(text).iterfind(f"devices/channel/target[@name='{_AGENT}']")
    return any(target.get("state") == "connected" for target in targets)


class _Unusable(Exception):
    """Why a serial port has no console."""


def _root(text: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError as error:
        raise DomainXMLError(f"not well-formed: {error.msg}") from None
    if root is None:
        raise DomainXMLError("empty")
    return root


def _owner(
    root: etree._Element, domain: str, default_project: str | None
) -> tuple[str, str | None, list[str]]:
    """Name, project, notes. Broken metadata gives nobody's domain, not the default's."""
    for element in root.iterfind("metadata/*"):
        if not isinstance(element.tag, str) or not _NOVA.fullmatch(element.tag):
            continue
        name = _text(element.find("{*}name")) or domain
        project = element.find("{*}owner/{*}project")
        project_id = "" if project is None else (project.get("uuid") or "").strip()
        if project_id and len(project_id) <= _LONGEST:
            return name, project_id, []
        return name, None, ["its nova metadata names no project: for administrators only"]
    return domain, default_project, []


def _console(serial: etree._Element, proxyclient_address: str, compute_host: str) -> Console:
    kind = serial.get("type")
    if kind == "pty":
        return Console(index=_target(serial), host=compute_host[:_LONGEST], port=None)
    if kind != "tcp":
        raise _Unusable(f"its type is {kind}, neither tcp nor pty")
    source = serial.find("source")
    if source is None or source.get("mode") != "bind":
        raise _Unusable("it does not listen (mode is not bind)")
    protocol = serial.find("protocol")
    spoken = "raw" if protocol is None else protocol.get("type", "raw")
    if spoken != "raw":
        raise _Unusable(f"its protocol is {spoken}, not raw")
    host = (source.get("host") or "").strip().strip("[]")
    if host in _WILDCARDS:
        host = proxyclient_address
    if len(host) > _LONGEST:
        raise _Unusable("its host is too long")
    port = _number(source.get("service"))
    if port is None or not 0 < port < 65536:
        raise _Unusable("its service is not a port number")
    return Console(index=_target(serial), host=host, port=port, tls=source.get("tls") == "yes")


def _target(serial: etree._Element) -> int:
    index = _number(_index(serial))
    if index is None:
        raise _Unusable("its target has no port number")
    return index


def _index(serial: etree._Element) -> str:
    target = serial.find("target")
    return "?" if target is None else target.get("port", "?")


def _number(text: str | None) -> int | None:
    """A plain decimal of at most five digits, or None."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,5}", text) else None


def _text(element: etree._Element | None) -> str:
    return "" if element is None else (element.text or "").strip()
