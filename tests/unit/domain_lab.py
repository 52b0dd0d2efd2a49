"""Domains in libvirt's own in-process hypervisor, and ports out of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import libvirt
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.configuring import DomainConfigurator
from consoled.errors import SocketPortRangeExhausted
from consoled.workers import InlineWorker

URI = "test:///default"
WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"

FLAGS = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE

NOVA = """
<nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
  <nova:name>web</nova:name>
  <nova:flavor name='m1'><nova:extraSpecs>
    <nova:extraSpec name='hw:serial_port_count'>3</nova:extraSpec>
  </nova:extraSpecs></nova:flavor>
  <nova:image uuid='7899d69a-dcb4-4634-b8f1-c25df4813035'><nova:properties>
    <nova:property name='hw_serial_port_count'>2</nova:property>
  </nova:properties></nova:image>
</nova:instance>
"""


def domain_xml(
    name: str = "web-1", uuid: str = WEB, *, devices: str = "", nova: bool = False
) -> str:
    """A domain with a password, and no serial port of its own."""
    metadata = f"<metadata>{NOVA}</metadata>" if nova else ""
    return f"""
<domain type='test'><name>{name}</name><uuid>{uuid}</uuid>{metadata}
  <memory>1048576</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>
  <devices>{devices}<graphics type='vnc' port='-1' passwd='hunter2'/></devices>
</domain>"""


@contextmanager
def hypervisor(*xmls: str) -> Iterator[Any]:
    """A connection that keeps the process's test hypervisor, with those domains defined."""
    connection = libvirt.open(URI)
    try:
        for xml in xmls:
            connection.defineXML(xml)
        yield connection
    finally:
        for domain in connection.listAllDomains():
            # The next test finds it as it is at first.
            if domain.name() == "test":
                continue
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        connection.close()


def xml_of(connection: Any, uuid: str = WEB) -> str:
    """What libvirt keeps of a domain, its passwords too."""
    return str(connection.lookupByUUIDString(uuid).XMLDesc(FLAGS))


@define
class ListedPorts:
    """Gives out the ports of a list, one after the other.

    :ivar reserved: what was given out and not given back.
    :ivar looked: the domains that the books were made to look at.
    """

    free: list[int] = field(factory=lambda: list(range(10000, 10010)))
    reserved: list[int] = field(factory=list)
    looked: list[str] = field(factory=list)
    returned: list[int] = field(factory=list)

    def allocate(self, instance_uuid: str, indexes: Sequence[int]) -> Deferred[list[int]]:
        """The next ones."""
        if len(indexes) > len(self.free):
            return fail(SocketPortRangeExhausted("no port is left"))
        given = [self.free.pop(0) for _ in indexes]
        self.reserved += given
        return succeed(given)

    def give_back(self, instance_uuid: str, unused: Sequence[int]) -> Deferred[list[int]]:
        """Notes which."""
        self.returned += unused
        return succeed(list(unused))

    def noted(self, uuid: str) -> Deferred[None]:
        """Notes which."""
        self.looked.append(uuid)
        return succeed(None)


def configurator(ports: ListedPorts | None = None, client: Any = None) -> DomainConfigurator:
    """Over the test hypervisor, its calls made at once."""
    source = ports or ListedPorts()
    return DomainConfigurator(
        client=client or LibvirtClient(URI),
        asking=Asker("the test hypervisor", InlineWorker(), Clock(), 5.0),
        ports=source,
        address="198.51.100.7",
        noted=source.noted,
    )
