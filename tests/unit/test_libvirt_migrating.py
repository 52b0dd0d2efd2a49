"""consoled.compute.libvirt.migrating: what libvirt is asked for, and what its errors mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from attrs import evolve
from migration_lab import UUID

from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.migrating import LibvirtMigrations
from consoled.compute.migration.values import MigrationEnded, Order, Progress

ORDER = Order(UUID, "web-1", "qemu:///here", "qemu:///there", None, "<live/>", "<kept/>")


class Error(Exception):
    """In the place of libvirt's."""

    def __init__(self, code: int = libvirt.VIR_ERR_OPERATION_FAILED) -> None:
        super().__init__("libvirt's own words")
        self.code = code

    def get_error_code(self) -> int:
        """libvirt's number."""
        return self.code


class Library:
    """libvirt's module with a connection of the test's, and one running domain.

    :ivar asked: URI, parameters and flags of each migration.
    :ivar error: why it fails, or None.
    :ivar stats: of the domain's job.
    """

    libvirtError = Error

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], int]] = []
        self.error: Error | None = None
        self.alive = True
        self.closed = 0
        self.aborted = 0
        self.stats: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(libvirt, name)

    def registerErrorHandler(self, *_: object) -> None:
        """Not the real one's."""

    def open(self, uri: str) -> Any:
        """The connection."""
        if uri == "qemu:///away":
            raise Error
        return SimpleNamespace(
            lookupByName=self._domain,
            lookupByUUIDString=self._domain,
            setKeepAlive=self._refuse,
            isAlive=lambda: self.alive,
            close=self._close,
        )

    def _close(self) -> None:
        self.closed += 1

    def _refuse(self, *_: object) -> None:
        raise Error(libvirt.VIR_ERR_INTERNAL_ERROR)

    def _domain(self, name: str) -> Any:
        if name not in ("web-1", UUID):
            raise Error(libvirt.VIR_ERR_NO_DOMAIN)
        return SimpleNamespace(
            migrateToURI3=self._migrate,
            connect=lambda: self.open(""),
            jobStats=lambda: self.stats,
            abortJob=self._abort,
        )

    def _migrate(self, uri: str, parameters: dict[str, str], flags: int) -> None:
        self.asked.append((uri, parameters, flags))
        if self.error is not None:
            raise self.error

    def _abort(self) -> None:
        self.aborted += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def library() -> Library:
    """A libvirt."""
    return Library()


@pytest.fixture
def calls(library: Library) -> LibvirtMigrations:
    """What is tested, over it."""
    made = LibvirtMigrations()
    made._libvirt = library
    return made


def test_a_persistent_domain(calls: LibvirtMigrations, library: Library) -> None:
    """Live and peer to peer; kept on the destination by its own XML, and not on the source."""
    calls.perform(ORDER)
    [(uri, parameters, flags)] = library.asked
    assert uri == "qemu:///there"
    assert parameters == {"destination_xml": "<live/>", "persistent_xml": "<kept/>"}
    assert flags == (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    )
    assert library.closed == 1


@pytest.mark.parametrize(
    ("address", "uri"),
    [("198.51.100.2", "tcp://198.51.100.2"), ("2001:db8::2", "tcp://[2001:db8::2]")],
)
def test_a_transient_domain_over_tls(
    calls: LibvirtMigrations, library: Library, address: str, uri: str
) -> None:
    """Nothing is kept anywhere; its memory goes over TLS to the address that was asked for."""
    calls.perform(evolve(ORDER, kept_xml=None, inbound_address=address, tls=True))
    [(_, parameters, flags)] = library.asked
    assert parameters == {"destination_xml": "<live/>", "migrate_uri": uri}
    assert flags == (
        libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_TLS
    )


@pytest.mark.parametrize(
    ("code", "cancelled"),
    [(libvirt.VIR_ERR_OPERATION_ABORTED, True), (libvirt.VIR_ERR_OPERATION_FAILED, False)],
)
def test_it_stays_where_it_is(
    calls: LibvirtMigrations, library: Library, code: int, cancelled: bool
) -> None:
    """libvirt says whether somebody wanted that."""
    library.error = Error(code)
    with pytest.raises(MigrationEnded, match="libvirt's own words") as caught:
        calls.perform(ORDER)
    assert caught.value.cancelled is cancelled


def test_libvirt_that_is_lost(calls: LibvirtMigrations, library: Library) -> None:
    """Nobody knows what came of it: that is another error, as is one that cannot be reached."""
    library.error, library.alive = Error(), False
    with pytest.raises(ClientError):
        calls.perform(ORDER)
    with pytest.raises(ClientError):
        calls.perform(evolve(ORDER, source_uri="qemu:///away"))
    assert library.closed == 1


def test_progress_and_abort(calls: LibvirtMigrations, library: Library) -> None:
    """Of a migration that leaves, and of no other job."""
    library.stats = {
        "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
        "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
        "data_total": 10,
        "data_remaining": 5,
    }
    assert calls.progress("qemu:///here", UUID) == Progress(0, 10, 5)
    assert calls.abort("qemu:///here", UUID)
    library.error = Error()
    assert not calls.abort("qemu:///here", UUID)
    for other in (
        {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT},
        {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN},
        {"type": libvirt.VIR_DOMAIN_JOB_COMPLETED},
        {"type": libvirt.VIR_DOMAIN_JOB_NONE},
    ):
        before, library.stats = library.stats, library.stats | other
        assert calls.progress("qemu:///here", UUID) is None
        assert not calls.abort("qemu:///here", UUID)
        library.stats = before
    assert library.aborted == 2
    assert calls.progress("qemu:///here", "web-2") is None
    assert not calls.abort("qemu:///here", "web-2")
