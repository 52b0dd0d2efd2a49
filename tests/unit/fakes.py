"""The smallest things that obey consoled.interfaces, for deterministic tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import Factory, define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from consoled.errors import NotFound, TokenInvalid, Unauthorized
from consoled.leasing.values import LeaseRow
from consoled.model import (
    WRITER,
    Caller,
    Console,
    ConsoleAuthToken,
    Instance,
    InstanceState,
    IssuedToken,
    hash_token,
)

T = TypeVar("T")

WEB_1 = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
STOPPED = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
PORTLESS = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0003"
FOREIGN = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0004"
OWNERLESS = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0005"
ABSENT = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b00ff"

EXPIRES = 1_767_225_600
"""When every token of :class:`FakeAuthority` expires: 2026-01-01T00:00:00Z."""


def make_instance(uuid: str, name: str, **changes: Any) -> Instance:
    """A running instance of project demo with two serial ports, but for the changes."""
    values: dict[str, Any] = {
        "project_id": "demo",
        "host": "rack1",
        "state": InstanceState.RUNNING,
        "consoles": (Console(0, "192.0.2.1", 10000), Console(1, "192.0.2.1", 10001)),
        "addresses": ("198.51.100.5",),
    }
    return Instance(uuid=uuid, name=name, **(values | changes))


def instances() -> list[Instance]:
    """One instance for each thing that can be asked about."""
    return [
        make_instance(WEB_1, "web-1"),
        make_instance(STOPPED, "stopped", state=InstanceState.STOPPED),
        make_instance(PORTLESS, "portless", consoles=()),
        make_instance(FOREIGN, "foreign", project_id="other"),
        make_instance(OWNERLESS, "ownerless", project_id=None),
    ]


KEYS: Mapping[str, Caller] = {
    "admin-key": Caller("ada", "ops", frozenset({"admin"})),
    "member-key": Caller("mia", "demo", frozenset({"member"})),
    "reader-key": Caller("ron", "demo", frozenset({"reader"})),
    "roleless-key": Caller("ned", "demo", frozenset()),
    "projectless-key": Caller("pia", None, frozenset({"member"})),
}


def result(deferred: Deferred[T]) -> T:
    """What an already fired Deferred holds; a failure is raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "the Deferred has not fired"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    value: T = found[0]
    return value


@define
class FakeDriver:
    """A driver over a list.

    :ivar error: when set, every question fails with it.
    :ivar pending: when a list, questions are put there, unanswered.
    :ivar cancelled: how many questions were cancelled.
    """

    known: list[Instance] = Factory(instances)
    error: BaseException | None = None
    pending: list[Deferred[Any]] | None = None
    cancelled: int = 0
    name: str = "fake"

    def instances(self) -> Deferred[Sequence[Instance]]:
        """All of them."""
        return self._answer(list(self.known))

    def instance(self, uuid: str) -> Deferred[Instance]:
        """The one of that uuid, or NotFound."""
        for instance in self.known:
            if instance.uuid == uuid:
                return self._answer(instance)
        return fail(self.error or NotFound(f"the fake driver knows no {uuid}"))

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Nothing to read."""
        return succeed(None)

    def _answer(self, value: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        if self.pending is not None:
            waiting: Deferred[Any] = Deferred(self._count_cancel)
            self.pending.append(waiting)
            return waiting
        return succeed(value)

    def _count_cancel(self, _deferred: Deferred[Any]) -> None:
        self.cancelled += 1


@define
class FakeAuthority:
    """A token authority in memory, with tokens that can be foreseen: ``clear-token-1``...

    :ivar issued: every token, in order.
    :ivar error: when set, every question fails with it.
    """

    issued: list[IssuedToken] = field(factory=list)
    error: BaseException | None = None

    def issue(
        self,
        instance: Instance,
        console: Console,
        caller: Caller,
        access_url: str,
        rights: frozenset[str] = frozenset(),
        *,
        role: str = WRITER,
    ) -> Deferred[IssuedToken]:
        """The next token."""
        if self.error is not None:
            return fail(self.error)
        assert console.port is not None
        clear = f"clear-token-{len(self.issued) + 1}"
        token = ConsoleAuthToken(
            token_hash=hash_token(clear),
            instance_uuid=instance.uuid,
            index=console.index,
            host=console.host,
            port=console.port,
            generation=1,
            access_url=access_url,
            expires=EXPIRES,
            project_id=caller.project_id,
            user_id=caller.user_id,
            console_type=console.type,
            options={"rights": " ".join(sorted(rights)), "role": role},
        )
        self.issued.append(IssuedToken(clear, token))
        return succeed(self.issued[-1])

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """The token that was issued, or TokenInvalid."""
        if self.error is not None:
            return fail(self.error)
        for issued in self.issued:
            if issued.clear == clear:
                return succeed(issued.token)
        return fail(TokenInvalid("The token is unknown or has expired."))

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """Nothing: these open again and again."""
        return succeed(None)


@define
class FakeDirectory:
    """The sessions of a cell, in memory.

    :ivar rows: what is held.
    :ivar requests: the requested disconnects: by, reason, which.
    """

    rows: list[LeaseRow] = field(factory=list)
    requests: list[tuple[str, str, dict[str, str | None]]] = field(factory=list)

    def sessions(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """All, or those of one instance or one session."""
        return succeed(self._matching(instance_uuid, session_id))

    def company(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """All, or those of one instance or one session."""
        return succeed(self._matching(instance_uuid, session_id))

    def request_disconnect(
        self,
        by: str,
        reason: str,
        *,
        session_id: str | None = None,
        instance_uuid: str | None = None,
    ) -> Deferred[list[LeaseRow]]:
        """Remembers the request; the rows that it is about."""
        self.requests.append((by, reason, {"session": session_id, "instance": instance_uuid}))
        return succeed(self._matching(instance_uuid, session_id))

    def _matching(self, instance_uuid: str | None, session_id: str | None) -> list[LeaseRow]:
        return [
            r
            for r in self.rows
            if session_id in (None, r.session_id) and instance_uuid in (None, r.key.instance_uuid)
        ]


@define
class FakeIdentity:
    """Keys in ``X-Auth-Token``.

    :ivar error: when set, every question fails with it.
    """

    keys: Mapping[str, Caller] = field(factory=lambda: KEYS)
    error: BaseException | None = None

    def authenticate(self, headers: Headers) -> Deferred[Caller]:
        """The caller of the key."""
        if self.error is not None:
            return fail(self.error)
        sent = headers.getRawHeaders("X-Auth-Token") or []
        caller = self.keys.get(sent[0]) if len(sent) == 1 else None
        if caller is None:
            return fail(
                Unauthorized("X-Auth-Token is missing, or it is not a key of this service.")
            )
        return succeed(caller)
