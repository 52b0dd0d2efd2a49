"""``[libvirt] hosts`` and the section of each: several compute hosts, or one line why not."""

from __future__ import annotations

from itertools import combinations

from consoled.options.declared.compute import HOST_SECTION
from consoled.options.reading import Reader
from consoled.settings import LibvirtHost


def libvirt_hosts(reader: Reader) -> tuple[LibvirtHost, ...]:
    """The compute hosts that ``[libvirt] hosts`` names; none where it is empty.

    :raises consoled.errors.ConfigError: a host has no section or one that lacks something, a
        section has no host, or two hosts are one.
    """
    names: tuple[str, ...] = reader.value("libvirt", "hosts")
    sections = {f"{HOST_SECTION}{name}".lower(): name for name in names}
    if len(sections) < len(names):
        reader.fail("libvirt", "hosts", "holds names that differ in upper and lower case only")
    for section in reader.host_sections:
        if section not in sections:
            reader.fail_section(section, "is of no host; name it in [libvirt] hosts, or remove it")
    if names and reader.is_set("libvirt", "uri"):
        reader.fail("libvirt", "uri", "is not used where hosts is set; put it into [libvirt:NAME]")
    found = tuple(_host(reader, section, name) for section, name in sections.items())
    for one, other in combinations(found, 2):
        _refuse_same(reader, one, other)
    return found


def _host(reader: Reader, section: str, name: str) -> LibvirtHost:
    if section not in reader.host_sections:
        reader.fail(
            "libvirt",
            "hosts",
            f"names {name}, which has no section; add [{HOST_SECTION}{name}] with its uri and "
            "proxyclient_address",
        )
    for option in ("uri", "proxyclient_address"):
        if not reader.is_set(section, option):
            reader.fail_section(section, f"has no {option}; a compute host needs one of its own")
    own = reader.is_set(section, "port_range")
    return LibvirtHost(
        name,
        reader.value(section, "uri"),
        reader.value(section, "proxyclient_address"),
        reader.value(section if own else "serial_console", "port_range"),
        reader.value(section, "live_migration_uri"),
        reader.value(section, "live_migration_inbound_addr"),
    )


def _refuse_same(reader: Reader, one: LibvirtHost, other: LibvirtHost) -> None:
    section = f"{HOST_SECTION}{other.name}".lower()
    if one.uri == other.uri:
        reader.fail(section, "uri", f"is that of {one.name}, too; a compute host stands here once")
    if one.proxyclient_address != other.proxyclient_address:
        return
    if one.port_range.overlaps(other.port_range):
        reader.fail_section(
            section,
            f"has the proxyclient_address of {one.name}, and both give out ports of "
            f"{one.port_range}; give each an address or a port_range of its own",
        )
