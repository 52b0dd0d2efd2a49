"""The tokens of nova's retired consoleauth service, in memcached (deprecated).

The layout is that service's, through oslo.cache (:mod:`consoled.tokens.oslo_region`)::

    token          -> {"token", "instance_uuid", "console_type", "host", "port",
                       "internal_access_path", "access_url", "last_activity_at"} as JSON
    instance_uuid  -> ["token", ...] as JSON

Both stand under the same kind of key, and both in clear: that is why the tables replaced
it. memcached promises nothing: an eviction or a restart loses tokens, and their owners ask
for new ones. A token carries no generation, user or index, as nova's.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from consoled.errors import Unavailable
from consoled.interfaces import Driver, Worker
from consoled.model import (
    WRITER,
    Caller,
    Console,
    ConsoleAuthToken,
    FieldError,
    Instance,
    IssuedToken,
    hash_token,
)
from consoled.tokens.objects import TokenObject
from consoled.tokens.places import PlaceBinder, invalid, no_place, no_role

log = Logger()

_POSSIBLE = re.compile(r"[!-~]{1,512}", re.ASCII)


class Cache(Protocol):
    """What consoleauth used of memcached. The calls block: they belong in a worker."""

    def get(self, key: str) -> str | bytes | None:
        """The text under a key, unless it is older than the tokens' time to live.

        :raises consoled.errors.Unavailable: a server that may hold it is away.
        """

    def set(self, key: str, text: str) -> None:
        """Keeps a text, as long as memcached likes."""


@frozen
class MemcachedAuthority:
    """Implements :class:`consoled.interfaces.TokenAuthority`.

    :ivar cache: the service's layout in memcached.
    :ivar worker: one thread for its calls.
    :ivar driver: says where the instance's consoles are; the one that opens them.
    :ivar ttl: seconds that a token is valid; the old service's own ``token_ttl`` where its
        tokens are to be read.
    :ivar seconds: the time that the old service stamped its tokens with, since the epoch.
    """

    cache: Cache = field(repr=False)
    worker: Worker
    driver: Driver
    ttl: int
    seconds: Callable[[], float] = time.time

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
        """A new token for one console, as the old service kept it: without rights.

        :raises consoled.errors.BadRequest: it is to watch with, or the console has no TCP port.
        :raises consoled.errors.Unavailable: memcached did not keep it.
        """
        if role != WRITER:
            return fail(no_role("memcached"))
        if console.port is None:
            return fail(no_place("memcached"))
        return self.worker.run(self._store, instance, console, access_url)

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """What the token opens, now that its instance runs and has a console at its place.

        :raises consoled.errors.TokenInvalid: unknown, expired, lost, not a serial console's,
            or the place is not that instance's any more.
        :raises consoled.errors.InstanceNotRunning: the instance has no live serial ports.
        :raises consoled.errors.Unavailable: memcached or the driver is away.
        """
        if not _POSSIBLE.fullmatch(clear):
            return fail(invalid())
        return Deferred.fromCoroutine(self._validate(clear))

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """Nothing: these tokens open again until they expire."""
        return succeed(None)

    async def _validate(self, clear: str) -> ConsoleAuthToken:
        hashed = hash_token(clear)
        text = await self.worker.run(self.cache.get, clear)
        try:
            found = _read(text, clear, self.ttl)
        except FieldError as error:
            log.warn("memcached's {token_id}: {fault}", token_id=hashed[:12], fault=str(error))
            found = None
        left = 0.0 if found is None else (found.expires or 0) - self.seconds()
        if found is None or left <= 0:
            raise invalid()
        return await PlaceBinder(self.driver).bind(found, hashed, left)

    def _store(self, instance: Instance, console: Console, access_url: str) -> IssuedToken:
        clear = str(uuid.uuid4())
        joint = "&" if "?" in access_url else "?"
        now = self.seconds()
        info = {
            "token": clear,
            "instance_uuid": instance.uuid,
            "console_type": console.type,
            "host": console.host,
            "port": console.port,
            "internal_access_path": None,
            "access_url": f"{access_url}{joint}token={clear}",
            "last_activity_at": now,
        }
        text = json.dumps(info)
        self.cache.set(clear, text)
        # memcached says nothing when it keeps nothing; a URL that never works helps nobody.
        found = _read(self.cache.get(clear), clear, self.ttl)
        if found is None:
            raise Unavailable("memcached does not keep new tokens now; try again in a moment.")
        listed = [token for token in self._tokens_of(instance.uuid) if self.cache.get(token)]
        self.cache.set(instance.uuid, json.dumps([*listed, clear]))
        return IssuedToken(clear, found.bound(console.index, hash_token(clear)))

    def _tokens_of(self, instance_uuid: str) -> list[str]:
        listed = _json(self.cache.get(instance_uuid))
        if not isinstance(listed, list):
            return []
        return [token for token in listed if isinstance(token, str) and _POSSIBLE.fullmatch(token)]


def _read(text: str | bytes | None, clear: str, ttl: int) -> TokenObject | None:
    """The token's object, or None where the key held no token of that name.

    :raises FieldError: it is no token that the old service wrote.
    """
    info = _json(text)
    # An instance's list lies under a key of the same kind.
    if not isinstance(info, dict) or info.get("token") != clear:
        return None
    stamped = info.get("last_activity_at")
    if isinstance(stamped, bool) or not isinstance(stamped, int | float) or not 0 < stamped < 1e12:
        raise FieldError("last_activity_at", "is not a time")
    return TokenObject(
        instance_uuid=info.get("instance_uuid", ""),
        console_type=info.get("console_type", ""),
        host=info.get("host", ""),
        port=info.get("port"),
        access_url=_base(info.get("access_url"), clear),
        internal_access_path=info.get("internal_access_path") or None,
        expires=int(stamped) + ttl,
    )


def _base(url: object, clear: str) -> str | None:
    """The URL without its token: what is kept and logged never holds one."""
    if not isinstance(url, str) or not url:
        return None
    return url.removesuffix(f"token={clear}").rstrip("?&").replace(clear, "")


def _json(text: str | bytes | None) -> Any:
    if not isinstance(text, str | bytes):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
