"""The token authority over nova's own table: consoled stands in for nova-serialproxy.

A URL that nova hands out opens here, and nova's own services accept what consoled issues
(reference: nova-contract, "Token storage"): a UUID4 in clear, its SHA-256 in the table,
reusable until it expires. nova deletes expired rows itself.
"""

from __future__ import annotations

import re
import uuid

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from consoled.db import nova_tables
from consoled.interfaces import Database, Driver
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

# nova's are UUIDs; a token of a later nova may look different, and only its hash counts.
_POSSIBLE = re.compile(r"[!-~]{1,512}", re.ASCII)


@frozen
class NovaAuthority:
    """Implements :class:`consoled.interfaces.TokenAuthority`.

    :ivar database: a nova cell database (``[nova] connection``), not the cell's own.
    :ivar driver: says where the instance's consoles are; the one that opens them.
    :ivar ttl: seconds that a token is valid (``[consoleauth] token_ttl``).
    """

    database: Database
    driver: Driver
    ttl: int

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
        """A new token for one console; nova has no room for who asked, nor for rights.

        :raises consoled.errors.BadRequest: it is to watch with, or the console has no TCP port.
        :raises consoled.errors.NotFound: nova does not have the instance in this cell.
        :raises consoled.errors.Unavailable: nova's database is away.
        """
        if role != WRITER:
            return fail(no_role("nova's database"))
        if console.port is None:
            return fail(no_place("nova's database"))
        return Deferred.fromCoroutine(self._issue(instance, console, access_url))

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """What the token opens, now that its instance runs and has a console at its place.

        :raises consoled.errors.TokenInvalid: unknown, expired, not a serial console's, or
            the place is not that instance's any more.
        :raises consoled.errors.InstanceNotRunning: the instance has no live serial ports.
        :raises consoled.errors.Unavailable: nova's database or the driver is away.
        """
        if not _POSSIBLE.fullmatch(clear):
            return fail(invalid())
        return Deferred.fromCoroutine(self._validate(hash_token(clear)))

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """Nothing: nova's tokens open again until they expire."""
        return succeed(None)

    async def _issue(self, instance: Instance, console: Console, access_url: str) -> IssuedToken:
        clear = str(uuid.uuid4())
        hashed = hash_token(clear)
        token = TokenObject(
            instance_uuid=instance.uuid,
            console_type=console.type,
            host=console.host,
            port=console.port,
            access_url=access_url,
        )
        stored = await self.database.run(nova_tables.add, token, hashed, self.ttl)
        return IssuedToken(clear, stored.bound(console.index, hashed))

    async def _validate(self, hashed: str) -> ConsoleAuthToken:
        try:
            found = await self.database.read(nova_tables.find, hashed)
        except FieldError as error:
            log.warn("nova's token {token_id}: {fault}", token_id=hashed[:12], fault=str(error))
            raise invalid() from None
        if found is None:
            raise invalid()
        token, left = found
        return await PlaceBinder(self.driver).bind(token, hashed, left)
