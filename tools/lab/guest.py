"""A tiny guest in a private libvirt daemon, with serial ports over TCP."""

from __future__ import annotations

import contextlib
import uuid as uuids
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape, quoteattr

import libvirt

from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_ports
from tools.lab.serial_line import SerialLine

DOMAIN_XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{command_line}</cmdline>
  </os>
  <features><acpi/></features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
{serials}
  </devices>
</domain>
"""

SERIAL_XML = """\
    <serial type='tcp'>
      <source mode='bind' host={host} service='{port}'/>
      <protocol type='raw'/>
      <target port='{index}'/>
    </serial>"""

PTY_XML = """\
    <serial type='pty'>
      <target port='{index}'/>
    </serial>"""

NOVA_XML = """
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:name>{name}</nova:name>
      <nova:owner>
        <nova:user uuid={project}>{project_name}</nova:user>
        <nova:project uuid={project}>{project_name}</nova:project>
      </nova:owner>
    </nova:instance>
  """


class Guest:
    """A domain that boots to a shell on each of its serial ports in a few seconds.

    :param libvirtd: the running daemon that it lives in.
    :param serial_ports: the TCP ports, one for each serial port; 2 free ones by default.
    :param ptys: further serial ports after those, which are ptys.
    :param project: the project that nova's metadata in the domain names, or none.
    :param host: the address that the serial ports listen on.
    """

    def __init__(
        self,
        libvirtd: PrivateLibvirtd,
        image: Image,
        name: str = "guest",
        *,
        serial_ports: Sequence[int] | None = None,
        uuid: str | None = None,
        project: str | None = None,
        host: str = "127.0.0.1",
        memory_mib: int = 128,
        ptys: int = 0,
    ) -> None:
        self.libvirtd = libvirtd
        self.image = image
        self.name = name
        self.serial_ports = tuple(free_ports(2) if serial_ports is None else serial_ports)
        self.uuid = uuid or str(uuids.uuid4())
        self.project = project
        self.host = host
        self.memory_mib = memory_mib
        self.ptys = ptys

    @property
    def pid(self) -> int:
        """The process id of its QEMU.

        :raises tools.lab.errors.LabError: when it does not run.
        """
        return self.libvirtd.guest_pid(self.name)

    def xml(self) -> str:
        """The domain's definition."""
        metadata = self.project and NOVA_XML.format(
            name=escape(self.name),
            project=quoteattr(self.project),
            project_name=escape(self.project),
        )
        return DOMAIN_XML.format(
            name=escape(self.name),
            uuid=self.uuid,
            metadata=metadata or "",
            memory=self.memory_mib,
            kernel=_path(self.image.kernel),
            initrd=_path(self.image.initrd),
            command_line=escape(f"{self.image.command_line} guest.name={self.name}"),
            serials="\n".join(
                [
                    SERIAL_XML.format(host=quoteattr(self.host), port=port, index=index)
                    for index, port in enumerate(self.serial_ports)
                ]
                + [
                    PTY_XML.format(index=len(self.serial_ports) + number)
                    for number in range(self.ptys)
                ]
            ),
        )

    def define(self) -> None:
        """Makes it known to the daemon, powered off."""
        with self._connection() as connection:
            connection.defineXML(self.xml())

    def start(self) -> Self:
        """Defines it and powers it on; its serial ports listen when this returns."""
        with self._connection() as connection:
            connection.defineXML(self.xml()).create()
        return self

    def destroy(self) -> None:
        """Pulls its plug; it stays defined."""
        with self._connection() as connection:
            connection.lookupByUUIDString(self.uuid).destroy()

    def undefine(self) -> None:
        """Makes the daemon forget it."""
        with self._connection() as connection:
            connection.lookupByUUIDString(self.uuid).undefine()

    def remove(self) -> None:
        """Powers it off and forgets it, whatever its state."""
        with self._connection() as connection, contextlib.suppress(libvirt.libvirtError):
            domain = connection.lookupByUUIDString(self.uuid)
            if domain.isActive():
                domain.destroy()
            domain.undefine()

    def serial(self, index: int = 0, *, timeout: float = 60.0) -> SerialLine:
        """A connection to one of its serial ports; close it, as each port serves one."""
        return SerialLine(self.serial_ports[index], self.host, timeout=timeout)

    def wait_for_shells(self) -> None:
        """Returns when the shell on every serial port waits for a command.

        One that answers says nothing of the others: each drops what was typed before it started.
        """
        for index in range(len(self.serial_ports)):
            with self.serial(index) as line:
                line.wait_for_shell()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[libvirt.virConnect]:
        connection = libvirt.open(self.libvirtd.uri)
        try:
            yield connection
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def _path(path: Path) -> str:
    return escape(str(path.resolve()))
