"""OpenStack's services, as far as an image's properties are asked for, and a keeper of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from consoled.compute.image_source import Said
from consoled.openstack.values import UserToken

T = TypeVar("T")

MIA = UserToken("mia-s-token", "demo", "mia")


@define(eq=False)
class FakeCalls:
    """Implements :class:`consoled.interfaces.Calls` over adapters in memory.

    :ivar adapters: by the service's type.
    :ivar refused: what every call ends with instead.
    :ivar asked: the services that were asked, and on whose behalf.
    """

    adapters: dict[str, Any] = field(factory=dict)
    refused: Exception | None = None
    asked: list[tuple[str, UserToken | None]] = field(factory=list)

    def ask(
        self,
        service: str,
        user: UserToken | None,
        fn: Callable[[Any], T],
        *,
        repeat: bool = True,
    ) -> Deferred[T]:
        """At once."""
        self.asked.append((service, user))
        if self.refused is not None:
            return fail(self.refused)
        return maybeDeferred(fn, self.adapters[service])

    def has(self, service: str) -> Deferred[bool]:
        """Those that there are."""
        return succeed(service in self.adapters)


@define(eq=False)
class FakeImages:
    """Says the same of each image, or ends with an error.

    :ivar users: on whose behalf it was asked.
    :ivar asked: the instances and images that it was asked about.
    """

    said: Said | Exception
    users: list[UserToken | None] = field(factory=list)
    asked: list[tuple[str, str | None]] = field(factory=list)

    def asking(self, user: UserToken | None) -> Any:
        """What asks on behalf of that user."""
        self.users.append(user)
        return None if user is None else self.of

    def of(self, uuid: str, image_id: str | None) -> Deferred[Said]:
        """What it says."""
        self.asked.append((uuid, image_id))
        return fail(self.said) if isinstance(self.said, Exception) else succeed(self.said)


@define(eq=False)
class FakeKeeper:
    """Keeps tokens in memory.

    :ivar kept: by their operations.
    :ivar away: what it ends with instead.
    :ivar seconds: how long the latest one is kept at most.
    """

    kept: dict[str, UserToken] = field(factory=dict)
    away: Exception | None = None
    seconds: float = 0.0

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Keeps it."""
        if self.away is not None:
            return fail(self.away)
        self.kept[operation] = user
        self.seconds = seconds
        return succeed(None)

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """The one, if there is one."""
        return fail(self.away) if self.away is not None else succeed(self.kept.get(operation))

    def forget(self, operation: str) -> Deferred[None]:
        """Forgets it."""
        if self.away is not None:
            return fail(self.away)
        self.kept.pop(operation, None)
        return succeed(None)

    def forget_all(self, prefix: str) -> Deferred[None]:
        """Forgets those."""
        if self.away is not None:
            return fail(self.away)
        self.kept = {name: user for name, user in self.kept.items() if not name.startswith(prefix)}
        return succeed(None)
