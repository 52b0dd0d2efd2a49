"""Frozen values that the rooms of consoled pass to each other, and their pure rules."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

SERIAL = "serial"
"""The console type of a serial port, nova's word."""

SHELL = "ssh"
"""The console type of a shell on the instance itself, over SSH."""

TCP = "tcp"
"""The kind of a serial port that listens on TCP, in clear."""

TLS = "tls"
"""The kind of a serial port that listens on TCP and speaks TLS."""

PTY = "pty"
"""The kind of a serial port without a TCP port: the hypervisor passes its bytes on."""

WRITER = "writer"
"""The role of a token that lets its user write; it is not kept, as every other one has it."""

OBSERVER = "observer"
ASKER = "asker"
"""A session that has asked for another user's console and waits for it."""
"""The role of a token (``options["role"]``) that lets its user watch only."""

NO_GENERATION = 0
"""The generation of a token that is not bound to one; real ones begin at 1."""

_EMPTY: Mapping[str, str] = MappingProxyType({})
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_PORT = 65535


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
    :ivar host: the address to dial, without brackets; the compute host's name where there is
        no port.
    :ivar port: the TCP port; None where there is none, and the hypervisor passes the bytes on.
    :ivar tls: whether the port speaks TLS.
    """

    index: int
    host: str
    port: int | None
    type: str = SERIAL
    tls: bool = False

    @property
    def kind(self) -> str:
        """How it is reached: :data:`TCP`, :data:`TLS`, :data:`PTY`, or the word of its type."""
        if self.type != SERIAL:
            return self.type
        if self.port is None:
            return PTY
        return TLS if self.tls else TCP

    @property
    def place(self) -> str:
        """``host:port`` for logs and operators; the host alone where there is no port."""
        if self.port is None or self.type == SHELL:
            return f"{self.type} {self.index} at {self.host}"
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
    """Who sends a REST request: the outcome of authentication.

    :ivar service_roles: of the service that sends it on the user's behalf; empty without one.
    :ivar scope: of what the credential is: ``project``, ``domain``, ``system``, or ``unscoped``.
        An API key counts as a project's.
    :ivar token: the user's own token of Keystone's, for what other services are asked on the
        user's behalf; None with API keys. It is not part of ``repr``, and no log gets it.
    """

    user_id: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    scope: str = "project"
    token: str | None = field(default=None, repr=False, eq=False)


class FieldError(ValueError):
    """A field of a token does not hold what it must; the value is not in the text.

    :ivar field: its name.
    :ivar fault: what is wrong with it.
    """

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} {fault}")
        self.field = field
        self.fault = fault


@frozen
class ConsoleAuthToken:
    """The right to open one console until it expires (specification: ConsoleAuthToken).

    Only the SHA-256 of the clear token is ever kept.

    :ivar instance_uuid: the instance it was issued for.
    :ivar index: the console's index in the instance.
    :ivar port: of the console's place, None where that has none.
    :ivar generation: the generation of (host, port) at issue.
    :ivar access_url: the base URL that the token was handed out with (no token in it).
    :ivar expires: seconds since the epoch, in the database's time.
    :ivar options: what else there is to know on the way to the console (specification:
        usetls, internal_access_path, mode...).
    :ivar left: seconds until it expires, by the database's clock when it was validated.
    :raises FieldError: a field that does not hold what it must, or more than its column does.
    """

    token_hash: str
    instance_uuid: str
    index: int
    host: str
    port: int | None
    generation: int
    access_url: str
    expires: int
    project_id: str | None = None
    user_id: str | None = None
    console_type: str = SERIAL
    options: Mapping[str, str | int | bool] = field(factory=dict, hash=False)
    left: float = field(default=0.0, eq=False)

    def __attrs_post_init__(self) -> None:
        """One look at all fields: a token is made for each check of one.

        :raises FieldError: a field that does not hold what it must.
        """
        if not _HASH.fullmatch(self.token_hash):
            raise FieldError("token_hash", "is not a SHA-256 in 64 lower-case hex digits")
        if self.port is not None and not 1 <= self.port <= _MAX_PORT:
            raise FieldError("port", f"is neither None nor a port from 1 to {_MAX_PORT}")
        for name, number in (
            ("index", self.index),
            ("generation", self.generation),
            ("expires", self.expires),
        ):
            if number < 0:
                raise FieldError(name, "is below 0")
        for name, longest, text in (
            ("instance_uuid", 36, self.instance_uuid),
            ("console_type", 32, self.console_type),
            ("host", 255, self.host),
            ("access_url", 1024, self.access_url),
            ("project_id", 255, self.project_id),
            ("user_id", 255, self.user_id),
        ):
            if text is not None and len(text) > longest:
                raise FieldError(name, f"is longer than {longest} characters")

    @property
    def rights(self) -> frozenset[str]:
        """What policy allowed its user when it was issued (``options["rights"]``)."""
        return frozenset(str(self.options.get("rights", "")).split())

    @property
    def observes(self) -> bool:
        """Whether it lets its user watch only."""
        return self.options.get("role") == OBSERVER

    @property
    def role(self) -> str:
        """:data:`WRITER` or :data:`OBSERVER`."""
        return OBSERVER if self.observes else WRITER

    @property
    def token_id(self) -> str:
        """The prefix of the hash by which logs and operators name this token."""
        return self.token_hash[:12]


@frozen
class TokenRecord:
    """A token as its table has it, whatever has become of it.

    :ivar owner: the project that its instance belongs to, or None.
    :ivar created_at: seconds since the epoch, in the database's time.
    :ivar used: whether it has opened its one session (``[consoleauth] single_use``).
    """

    token: ConsoleAuthToken
    owner: str | None
    created_at: int
    used: bool


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
