"""The one module that touches libvirt-python. It blocks: one thread calls it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen

from consoled.compute.libvirt.qmp import MonitorRefused
from consoled.errors import ConfigError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


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
