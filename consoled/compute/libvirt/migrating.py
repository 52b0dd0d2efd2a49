"""One live migration by libvirt, peer to peer: the source's libvirtd drives it. It blocks.

A migration goes on in libvirtd when whoever asked for it is gone, so a daemon that is killed
leaves no half of one behind (reference: libvirt's "peer to peer" migration).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from attrs import define, field

from consoled.compute.libvirt.client import ClientError
from consoled.compute.migration.values import Leaving, MigrationEnded, Order, Progress

KEEPALIVE = (5, 6)
"""Seconds between two questions whether libvirtd lives, and how many may stay unanswered."""


@define(eq=False)
class LibvirtMigrations:
    """Asks libvirt; each call has a connection of its own, as one of them lasts.

    :raises consoled.compute.libvirt.client.ClientError: libvirt is away; its own word.
    """

    _libvirt: Any = field(init=False, repr=False)

    @_libvirt.default
    def _library(self) -> Any:
        return importlib.import_module("libvirt")

    def look(self, uri: str, name: str) -> Leaving | None:
        """A domain that is to migrate; None where there is none.

        :param name: the domain's, or its uuid.
        """
        library = self._libvirt
        with self._domain(uri, name) as domain:
            if domain is None:
                return None
            movable = library.VIR_DOMAIN_XML_SECURE | library.VIR_DOMAIN_XML_MIGRATABLE
            kept = movable | library.VIR_DOMAIN_XML_INACTIVE
            return Leaving(
                uuid=str(domain.UUIDString()).lower(),
                name=str(domain.name()),
                active=bool(domain.isActive()),
                live=str(domain.XMLDesc(movable)),
                kept=str(domain.XMLDesc(kept)) if domain.isPersistent() else None,
                busy=self._migrates(domain),
            )

    def perform(self, order: Order) -> None:
        """Migrates; returns when the guest runs on the destination.

        :raises consoled.compute.migration.values.MigrationEnded: it does not; it runs where it
            was.
        """
        library = self._libvirt
        parameters = {library.VIR_MIGRATE_PARAM_DEST_XML: order.xml}
        flags = library.VIR_MIGRATE_LIVE | library.VIR_MIGRATE_PEER2PEER
        if order.kept_xml is not None:
            parameters[library.VIR_MIGRATE_PARAM_PERSIST_XML] = order.kept_xml
            flags |= library.VIR_MIGRATE_PERSIST_DEST | library.VIR_MIGRATE_UNDEFINE_SOURCE
        if order.tls:
            flags |= library.VIR_MIGRATE_TLS
        if order.inbound_address is not None:
            address = order.inbound_address
            host = f"[{address}]" if ":" in address else address
            parameters[library.VIR_MIGRATE_PARAM_URI] = f"tcp://{host}"
        with self._domain(order.source_uri, order.uuid) as domain:
            if domain is None:
                raise MigrationEnded("the domain is gone", cancelled=False)
            try:
                domain.migrateToURI3(order.peer_uri, parameters, flags)
            except library.libvirtError as error:
                if not domain.connect().isAlive():
                    raise
                cancelled = error.get_error_code() == library.VIR_ERR_OPERATION_ABORTED
                raise MigrationEnded(str(error), cancelled=cancelled) from None

    def progress(self, uri: str, uuid: str) -> Progress | None:
        """How far a domain's migration is; None where there is none, or nothing is known yet."""
        with self._domain(uri, uuid) as domain:
            if domain is None or not self._migrates(domain):
                return None
            # It may end at this moment.
            with suppress(self._libvirt.libvirtError):
                return Progress.of(domain.jobStats())
        return None

    def abort(self, uri: str, uuid: str) -> bool:
        """Asks libvirt to end a domain's migration.

        :returns: False where there is none, or it is past that.
        """
        with self._domain(uri, uuid) as domain:
            if domain is None or not self._migrates(domain):
                return False
            try:
                domain.abortJob()
            except self._libvirt.libvirtError:
                return False
        return True

    def _migrates(self, domain: Any) -> bool:
        try:
            stats = domain.jobStats()
        except self._libvirt.libvirtError:
            return False
        running = stats.get("type", 0) in (
            self._libvirt.VIR_DOMAIN_JOB_BOUNDED,
            self._libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
        )
        wanted = self._libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        return running and stats.get("operation", wanted) == wanted

    @contextmanager
    def _domain(self, uri: str, name: str) -> Iterator[Any]:
        with self._connected(uri) as connection:
            yield self._found(connection, name)

    def _found(self, connection: Any, name: str) -> Any:
        looks: tuple[Callable[[str], Any], ...] = (connection.lookupByName,)
        if len(name) == 36:
            looks = (connection.lookupByUUIDString, connection.lookupByName)
        for look in looks:
            try:
                return look(name)
            except self._libvirt.libvirtError as error:
                missing = self._libvirt.VIR_ERR_NO_DOMAIN, self._libvirt.VIR_ERR_INVALID_ARG
                if error.get_error_code() not in missing:
                    raise
        return None

    @contextmanager
    def _connected(self, uri: str) -> Iterator[Any]:
        library = self._libvirt
        # libvirt's own habit is to print each error on stderr.
        library.registerErrorHandler(_silent, None)
        try:
            connection = library.open(uri)
        except library.libvirtError as error:
            raise ClientError(str(error)) from None
        try:
            # Only where libvirt's event loop runs in this process.
            with suppress(library.libvirtError):
                connection.setKeepAlive(*KEEPALIVE)
            yield connection
        except library.libvirtError as error:
            raise ClientError(str(error)) from None
        finally:
            with suppress(library.libvirtError):
                connection.close()


def _silent(_context: object, _error: object) -> None:
    """Errors are raised; nothing needs to be printed."""
