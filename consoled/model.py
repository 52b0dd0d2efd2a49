"""Frozen values that the rooms of consoled pass to each other, and their pure rules."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

SERIAL = "serial"
"""The console type of a serial port, nova's word."""

_EMPTY: Mapping[str, str] = MappingProxyType({})


class InstanceState(enum.Enum):
    """What a console needs to know of an instance's power state."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"

    @property
    def live(self) -> bool:
        """Whether the instance's serial ports exist now (a paused guest keeps them)."""
        return self is not InstanceState.STOPPED


@frozen
class Console:
    """One way into an instance: a serial port at (host, port).

    :ivar index: 0..n, the serial port's number in the guest.
    :ivar host: the address to dial, without brackets.
    :ivar port: the TCP port, or None where there is none.
    """

    index: int
    host: str
    port: int | None
    type: str = SERIAL

    @property
    def place(self) -> str:
        """``host:port`` for logs and operators."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@frozen
class Instance:
    """A virtual machine (or whatever else has a serial console).

    :ivar project_id: who owns it, or None where nobody does (admins only).
    :ivar host: the name of its compute host.
    :ivar consoles: its consoles, in the order of their index.
    :ivar addresses: the guest's own addresses, where known.
    """

    uuid: str
    name: str
    project_id: str | None
    host: str
    state: InstanceState
    consoles: tuple[Console, ...] = ()
    addresses: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default=_EMPTY)

    def console(self, index: int) -> Console | None:
        """The console of that index, or None."""
        return next((c for c in self.consoles if c.index == index), None)


@frozen
class Caller:
    """Who sends a REST request: the outcome of authentication."""

    user_id: str
    project_id: str | None
    roles: frozenset[str] = frozenset()


@frozen
class ConsoleAuthToken:
    """The right to open one console until it expires (specification: ConsoleAuthToken).

    Only the SHA-256 of the clear token is ever kept.

    :ivar instance_uuid: the instance it was issued for.
    :ivar index: the console's index in the instance.
    :ivar generation: the generation of (host, port) at issue.
    :ivar access_url: the base URL that the token was handed out with (no token in it).
    :ivar expires: seconds since the epoch, in the database's time.
    :ivar options: what else there is to know on the way to the console (specification:
        usetls, internal_access_path, mode...).
    """

    token_hash: str
    instance_uuid: str
    index: int
    host: str
    port: int
    generation: int
    access_url: str
    expires: int
    project_id: str | None = None
    user_id: str | None = None
    console_type: str = SERIAL
    options: Mapping[str, str | int | bool] = field(factory=dict, hash=False)

    @property
    def token_id(self) -> str:
        """The prefix of the hash by which logs and operators name this token."""
        return self.token_hash[:12]


@frozen
class IssuedToken:
    """A token in the moment between issue and answer.

    :ivar clear: the clear token; it is not part of ``repr``.
    """

    clear: str = field(repr=False)
    token: ConsoleAuthToken


def hash_token(clear: str) -> str:
    """The hex SHA-256 of a clear token, as nova and the tables keep it."""
    return hashlib.sha256(clear.encode("utf-8", "surrogateescape")).hexdigest()
