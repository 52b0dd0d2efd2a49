"""The token authority over the cell database.

The clear token leaves the process once, in the answer to whoever asked for it; here only
its SHA-256 goes on (specification: ConsoleAuthToken).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from attrs import field, frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, fail, succeed

from consoled.db import tokens
from consoled.db.grouping import Batch
from consoled.db.registration import record_all
from consoled.errors import TokenInvalid
from consoled.interfaces import Database
from consoled.model import (
    WRITER,
    Caller,
    Console,
    ConsoleAuthToken,
    Instance,
    IssuedToken,
    TokenRecord,
    hash_token,
)

TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits, in 43 characters that a URL takes as they are."""

# Visible ASCII covers nova's UUIDs too. Nothing else is hashed or looked up.
_POSSIBLE = re.compile(r"[!-~]{1,512}", re.ASCII)


@frozen
class _Order:
    """A token that is to be stored."""

    instance: Instance
    console: Console
    port: int | None
    caller: Caller
    access_url: str
    options: dict[str, str | int | bool]
    hashed: str

    def token(self, generation: int) -> ConsoleAuthToken:
        """What is stored, but for its expiry, which the database sets."""
        return ConsoleAuthToken(
            token_hash=self.hashed,
            instance_uuid=self.instance.uuid,
            index=self.console.index,
            host=self.console.host,
            port=self.port,
            generation=generation,
            access_url=self.access_url,
            expires=0,
            project_id=self.caller.project_id,
            user_id=self.caller.user_id,
            console_type=self.console.type,
            options=self.options,
        )


@frozen
class DatabaseAuthority:
    """Implements :class:`consoled.interfaces.TokenAuthority` and its ``TokenStore``.

    :ivar ttl: seconds that a token is valid (``[consoleauth] token_ttl``).
    :ivar driver: the word of ``[DEFAULT] driver``, kept with each instance.
    :ivar single_use: whether a token opens one session only (``[consoleauth] single_use``).
    """

    database: Database
    ttl: int
    driver: str = ""
    single_use: bool = False
    _store: Batch[ConsoleAuthToken] = field(init=False, repr=False, eq=False)

    @_store.default
    def _together(self) -> Batch[ConsoleAuthToken]:
        return Batch(self._store_all)

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
        """A new token for one console, stored as a hash in one transaction.

        :param rights: words that are kept in the token's options.
        :param role: kept there as well, unless it is the writer's.
        :raises consoled.errors.Unavailable: the database is away.
        """
        clear = secrets.token_urlsafe(TOKEN_BYTES)
        options = _options(rights, role, console)
        hashed = hash_token(clear)
        order = _Order(instance, console, console.port, caller, access_url, options, hashed)
        stored = self.database.run(self._store, order)
        return stored.addCallback(lambda token: IssuedToken(clear, token))

    def _store_all(
        self, connection: Connection, orders: Sequence[_Order]
    ) -> list[ConsoleAuthToken]:
        places = [(order.instance, order.console, order.port) for order in orders]
        generations = record_all(connection, places, self.driver)
        drafts = [order.token(its) for order, its in zip(orders, generations, strict=True)]
        return tokens.add_all(connection, drafts, self.ttl)

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """What the token opens: one SELECT by its hash.

        :raises consoled.errors.TokenInvalid: unknown, used up, expired, or its console's
            place is another console's by now; one text for all of them.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if not _POSSIBLE.fullmatch(clear):
            return fail(_invalid())
        return self.database.read(tokens.find, hash_token(clear)).addCallback(_found)

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """A session opens with it: where tokens are for one session, this was it.

        One conditional UPDATE, so that of any number of sessions in any number of replicas
        exactly one succeeds. What happens to that session then gives the token back to
        nobody: a lost answer must not open the console twice.

        :raises consoled.errors.TokenInvalid: it is used up.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if not self.single_use:
            return succeed(None)
        return self.database.run(tokens.spend, token.token_hash).addCallback(_spent)

    def named(self, prefix: str) -> Deferred[list[TokenRecord]]:
        """The tokens whose hash begins so, expired ones until they are cleaned up.

        :param prefix: lower-case hex digits.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.read(tokens.named, prefix)

    def revoke(self, token: ConsoleAuthToken) -> Deferred[bool]:
        """Takes a token back. A session that it has opened goes on.

        :returns: False if it is gone already.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.run(tokens.revoke, token.token_hash)


def _options(rights: frozenset[str], role: str, console: Console) -> dict[str, str | int | bool]:
    """What is kept beside a token of its user and its console: only what says something."""
    options: dict[str, str | int | bool] = {}
    if rights:
        options["rights"] = " ".join(sorted(rights))
    if role != WRITER:
        options["role"] = role
    if console.tls:
        options["usetls"] = True
    return options


def _found(token: ConsoleAuthToken | None) -> ConsoleAuthToken:
    if token is None:
        raise _invalid()
    return token


def _spent(first: bool) -> None:
    if not first:
        raise TokenInvalid(
            "This console link has been used, or is not valid any more; ask for a new one."
        )


def _invalid() -> TokenInvalid:
    return TokenInvalid("This console link is not valid, or has expired; ask for a new one.")
