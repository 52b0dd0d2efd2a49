"""Migrations as values, and their pure rules."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


class State(enum.Enum):
    """How far a migration is."""

    MIGRATING = "migrating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self is not State.MIGRATING


@frozen
class Progress:
    """What libvirt says of a migration under way.

    :ivar elapsed: seconds since it began.
    :ivar total: bytes that there are to send; it grows while the guest writes to its memory.
    :ivar remaining: bytes of them that are still to be sent.
    :ivar rate: bytes a second.
    """

    elapsed: float = 0.0
    total: int = 0
    remaining: int = 0
    rate: int = 0

    @property
    def percent(self) -> int:
        """Of the bytes, how much is sent."""
        if self.total <= 0:
            return 0
        return max(0, min(100, 100 * (self.total - self.remaining) // self.total))

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Progress:
        """What ``virDomainGetJobStats`` answers."""

        def number(*names: str) -> int:
            return next((int(stats[name]) for name in names if name in stats), 0)

        return cls(
            elapsed=number("time_elapsed") / 1000,
            total=number("data_total", "memory_total"),
            remaining=number("data_remaining", "memory_remaining"),
            rate=number("memory_bps") + number("disk_bps"),
        )


@frozen
class Leaving:
    """A domain that is to migrate, as its host has it.

    :ivar live: the XML that it runs by, ready to be taken elsewhere, with its passwords.
    :ivar kept: the XML of its next start; None where it has none (it is transient).
    :ivar busy: whether libvirt is moving it already.
    """

    uuid: str
    name: str
    active: bool
    live: str = field(repr=False)
    kept: str | None = field(repr=False)
    busy: bool = False


@frozen
class Order:
    """All that libvirt needs to migrate a domain.

    :ivar source_uri: where the domain runs.
    :ivar peer_uri: how the source's libvirt reaches the destination's.
    :ivar inbound_address: where the destination takes the guest's memory, or None for libvirt's
        own choice.
    :ivar xml: what the domain is on the destination.
    :ivar kept_xml: what it is at its next start there; None leaves nothing behind.
    :ivar tls: whether the guest's memory goes over TLS.
    """

    uuid: str
    name: str
    source_uri: str
    peer_uri: str
    inbound_address: str | None
    xml: str = field(repr=False)
    kept_xml: str | None = field(repr=False)
    tls: bool = False


class MigrationEnded(Exception):
    """The domain runs on where it was; the text is the hypervisor's own.

    :ivar cancelled: whether somebody wanted that.
    """

    def __init__(self, text: str, *, cancelled: bool = False) -> None:
        super().__init__(text)
        self.cancelled = cancelled


@frozen
class Moved:
    """A serial port's new port."""

    index: int
    port: int


@frozen
class Migration:
    """One migration, as it is now.

    :ivar source: the name of the compute host that it leaves.
    :ivar destination: that of the one that it goes to; None where somebody else drives it.
    :ivar ports: those of its serial ports on the destination.
    :ivar error: why it failed, else None.
    :ivar warnings: what else the one who wanted it should know, in sentences.
    """

    uuid: str
    name: str
    source: str
    destination: str | None
    ports: tuple[Moved, ...] = ()
    state: State = State.MIGRATING
    progress: Progress = Progress()
    error: str | None = None
    warnings: tuple[str, ...] = ()


def migration_view(migration: Migration) -> dict[str, Any]:
    """A migration as JSON, for the API and for scripts."""
    progress = migration.progress
    return {
        "server_id": migration.uuid,
        "domain": migration.name,
        "source": migration.source,
        "destination": migration.destination,
        "state": migration.state.value,
        "ports": [{"index": port.index, "port": port.port} for port in migration.ports],
        "progress": {
            "percent": 100 if migration.state is State.COMPLETED else progress.percent,
            "elapsed": round(progress.elapsed, 3),
            "bytes_total": progress.total,
            "bytes_remaining": progress.remaining,
            "bytes_per_second": progress.rate,
        },
        "error": migration.error,
        "warnings": list(migration.warnings),
    }
