"""The one module that touches libvirt-python. It blocks: one thread calls it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen

from consoled.compute.libvirt.qmp import MonitorRefused
from consoled.errors import ConfigError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


KEEPALIVE_INTERVAL = 5
"""Seconds between two questions whether the other end still lives."""

KEEPALIVE_COUNT = 3
"""Questions that may stay without an answer: after 20 s a connection counts as lost."""


class ClientError(Exception):
    """libvirt failed; the text is libvirt's own, for the log."""


@frozen
class DomainRecord:
    """A domain as libvirt hands it out.

    :ivar state: libvirt's number of the power state (virDomainState).
    """

    state: int
    xml: str


class DefinitionRefused(Exception):
    """libvirt does not take a domain's definition; the text is libvirt's own."""


class StartRefused(Exception):
    """libvirt does not start a domain; the text is libvirt's own."""


@frozen
class Definition:
    """What a domain will be at its next start.

    :ivar xml: its persistent XML, with its passwords: without them it would lose them.
    :ivar active: whether it runs now, by another XML maybe.
    :ivar persistent: whether libvirt keeps it when it ends.
    :ivar saved: whether its next start resumes a saved one, with the devices of that.
    """

    uuid: str
    name: str
    xml: str = field(repr=False)
    active: bool
    persistent: bool
    saved: bool


@frozen
class DomainXMLs:
    """Everything that libvirt has of a domain's XML.

    :ivar active: whether it runs.
    :ivar xmls: the live one where it runs, and the one that its next start takes.
    """

    uuid: str
    name: str
    active: bool
    xmls: tuple[str, ...]


@define
class LibvirtClient:
    """A connection to one URI, opened at the first use and again when it was lost.

    :raises consoled.errors.ConfigError: libvirt-python is not installed.
    """

    uri: str
    _libvirt: Any = field(init=False, repr=False)
    _libvirt_qemu: Any = field(init=False, repr=False)
    _connection: Any = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._libvirt = importlib.import_module("libvirt")
            self._libvirt_qemu = importlib.import_module("libvirt_qemu")
        except ImportError as error:
            raise ConfigError(
                "[DEFAULT] driver = libvirt needs libvirt-python "
                f"(with the system's libvirt library): {error}"
            ) from None

    def hostname(self) -> str:
        """The name of the hypervisor's machine."""
        return str(self._asked(lambda connection: connection.getHostname()))

    def domains(self) -> list[DomainRecord]:
        """All domains, running or not; one that vanishes meanwhile is left out."""
        found = self._asked(lambda connection: connection.listAllDomains())
        records = (self._record(domain) for domain in found)
        return [record for record in records if record is not None]

    def domain(self, uuid: str) -> DomainRecord | None:
        """One domain, or None where there is none of that uuid."""
        domain = self._asked(lambda connection: connection.lookupByUUIDString(uuid))
        return None if domain is None else self._record(domain)

    def definition(self, name: str) -> Definition | None:
        """What a domain will be at its next start, or None where there is no such domain.

        :param name: the domain's, or its uuid.
        """
        found = self._asked(lambda connection: self._defined_as(connection, name))
        return found if isinstance(found, Definition) else None

    def define(self, xml: str) -> None:
        """Makes a domain's persistent XML that; a running one goes on as it is.

        :raises DefinitionRefused: libvirt does not take it, and why.
        """
        self._asked(lambda connection: self._take_definition(connection, xml))

    def power_on(self, uuid: str) -> None:
        """Starts a domain, if it does not run.

        :raises StartRefused: libvirt does not, and why.
        """
        if self._asked(lambda connection: self._powered_on(connection, uuid)) is None:
            raise StartRefused("the domain is gone")

    def domain_xmls(self, uuid: str | None = None) -> list[DomainXMLs]:
        """All domains as they run and as they start next; one that vanishes is left out.

        :param uuid: this domain only, if there is one.
        """
        if uuid is None:
            found = self._asked(lambda connection: connection.listAllDomains())
        else:
            one = self._asked(lambda connection: connection.lookupByUUIDString(uuid))
            found = [] if one is None else [one]
        all_xmls = (self._xmls(domain) for domain in found)
        return [xmls for xmls in all_xmls if xmls is not None]

    def monitor(self, uuid: str, command: str) -> str:
        """What QEMU's own monitor answers to a command (QMP, JSON).

        libvirt marks a domain that is asked so as tainted (``custom-monitor``).

        :raises consoled.compute.libvirt.qmp.MonitorRefused: there is no such domain, it does
            not run, it is not QEMU's, or libvirt lets this user not ask.
        """
        answer = self._asked(lambda connection: self._commanded(connection, uuid, command))
        if answer is None:
            raise MonitorRefused("the domain is gone")
        return str(answer)

    def pty_held(self, uuid: str, alias: str) -> bool:
        """Whether somebody has a domain's pty open through libvirt; False where that is not known.

        It is opened for a moment to see.

        :param alias: libvirt's name of the device.
        """
        return self._tried(uuid, alias, 0) is False

    def throw_off_pty(self, uuid: str, alias: str) -> bool:
        """Ends the console of whoever has a domain's pty open through libvirt.

        :returns: whether it is free now.
        """
        return self._tried(uuid, alias, self._libvirt.VIR_DOMAIN_CONSOLE_FORCE) is True

    def addresses(self, uuid: str, sources: Sequence[str]) -> list[list[str]]:
        """What each source knows of the addresses of a domain's interfaces; nothing where it
        cannot be asked.

        :param sources: of ``lease``, ``agent`` and ``arp``.
        """
        found = self._asked(lambda connection: self._addresses(connection, uuid, sources))
        return [[] for _ in sources] if found is None else list(found)

    def close(self) -> None:
        """Closes the connection; the next call would open it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # It may be lost already.
            with suppress(self._libvirt.libvirtError):
                connection.close()

    def _record(self, domain: Any) -> DomainRecord | None:
        try:
            # The XML last: whether it is that of a living domain is said in it.
            state = int(domain.state()[0])
            return DomainRecord(state, str(domain.XMLDesc(0)))
        except self._libvirt.libvirtError as error:
            if self._is_missing(error):
                return None
            raise ClientError(str(error)) from None

    def _defined_as(self, connection: Any, name: str) -> Definition:
        # A domain that has another one's uuid for its name must not be taken for it.
        if _UUID.fullmatch(name):
            domain = connection.lookupByUUIDString(name)
        else:
            domain = connection.lookupByName(name)
        flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE | self._libvirt.VIR_DOMAIN_XML_SECURE
        return Definition(
            uuid=str(domain.UUIDString()),
            name=str(domain.name()),
            xml=str(domain.XMLDesc(flags)),
            active=bool(domain.isActive()),
            persistent=bool(domain.isPersistent()),
            saved=bool(domain.hasManagedSaveImage()),
        )

    def _take_definition(self, connection: Any, xml: str) -> None:
        try:
            connection.defineXML(xml)
        except self._libvirt.libvirtError as error:
            if not self._alive():
                raise
            raise DefinitionRefused(str(error)) from None

    def _powered_on(self, connection: Any, uuid: str) -> bool:
        domain = connection.lookupByUUIDString(uuid)
        try:
            if not domain.isActive():
                domain.create()
        except self._libvirt.libvirtError as error:
            if self._is_missing(error) or not self._alive():
                raise
            raise StartRefused(str(error)) from None
        return True

    def _xmls(self, domain: Any) -> DomainXMLs | None:
        try:
            active, kept = bool(domain.isActive()), bool(domain.isPersistent())
            flags = [0] * active + [self._libvirt.VIR_DOMAIN_XML_INACTIVE] * kept
            xmls = tuple(str(domain.XMLDesc(flag)) for flag in flags)
            return DomainXMLs(str(domain.UUIDString()), str(domain.name()), active, xmls)
        except self._libvirt.libvirtError as error:
            if self._is_missing(error):
                return None
            raise ClientError(str(error)) from None

    def _commanded(self, connection: Any, uuid: str, command: str) -> Any:
        domain = connection.lookupByUUIDString(uuid)
        try:
            return self._libvirt_qemu.qemuMonitorCommand(domain, command, 0)
        except self._libvirt.libvirtError as error:
            if self._is_missing(error) or not self._alive():
                raise
            raise MonitorRefused(str(error)) from None

    def _addresses(self, connection: Any, uuid: str, sources: Sequence[str]) -> list[list[str]]:
        domain = connection.lookupByUUIDString(uuid)
        return [self._of_source(domain, source) for source in sources]

    def _of_source(self, domain: Any, source: str) -> list[str]:
        number = getattr(self._libvirt, f"VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_{source.upper()}")
        try:
            interfaces = domain.interfaceAddresses(number)
        except self._libvirt.libvirtError as error:
            if self._is_missing(error) or not self._alive():
                raise
            # No such network, no agent, a domain that does not run.
            return []
        return [
            str(address["addr"])
            for interface in interfaces.values()
            for address in interface["addrs"] or ()
        ]

    def _tried(self, uuid: str, alias: str, flags: int) -> bool | None:
        """Whether a pty could be opened, None where it is not known; it is closed again."""
        found = self._asked(lambda connection: self._opens(connection, uuid, alias, flags))
        return found if isinstance(found, bool) else None

    def _opens(self, connection: Any, uuid: str, alias: str, flags: int) -> bool | str:
        domain, stream = connection.lookupByUUIDString(uuid), connection.newStream(0)
        try:
            domain.openConsole(alias, stream, flags | self._libvirt.VIR_DOMAIN_CONSOLE_SAFE)
        except self._libvirt.libvirtError as error:
            if self._is_missing(error) or not self._alive():
                raise
            busy = error.get_error_code() == self._libvirt.VIR_ERR_OPERATION_FAILED
            return False if busy else str(error)
        stream.finish()
        return True

    def _asked(self, question: Callable[[Any], Any]) -> Any:
        """The answer; a connection that turns out to be lost is opened once more."""
        reused = self._connection is not None
        try:
            return question(self._opened())
        except self._libvirt.libvirtError as error:
            if self._is_missing(error):
                return None
            if self._alive():
                raise ClientError(str(error)) from None
            self.close()
            if not reused:
                raise ClientError(str(error)) from None
        return self._asked(question)

    def _opened(self) -> Any:
        if self._connection is None:
            # libvirt's own habit is to print each error on stderr.
            self._libvirt.registerErrorHandler(_silent, None)
            self._connection = self._libvirt.open(self.uri)
            # A machine that vanished holds a question for a quarter of an hour otherwise. libvirt's
            # in-process driver has none, and neither has a process without an event loop.
            with suppress(self._libvirt.libvirtError):
                self._connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        return self._connection

    def _alive(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.isAlive())
        except self._libvirt.libvirtError:
            return False

    def _is_missing(self, error: Any) -> bool:
        return bool(error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN)


def _silent(_context: object, _error: object) -> None:
    """Errors are raised; nothing needs to be printed."""
