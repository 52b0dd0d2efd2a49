"""The rows of console tokens. The database's clock alone decides what has expired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from consoled.db.clock import epoch_seconds
from consoled.db.direct import Query, Row, Rows, key_names
from consoled.db.queries import one_query
from consoled.db.tables import console_auth_tokens as tokens
from consoled.db.tables import console_ports, instances
from consoled.model import ConsoleAuthToken, TokenRecord

_TOKEN = (
    tokens.c.token_hash,
    tokens.c.instance_uuid,
    tokens.c.console_index,
    tokens.c.host,
    tokens.c.port,
    tokens.c.generation,
    tokens.c.access_url,
    tokens.c.expires,
    tokens.c.project_id,
    tokens.c.user_id,
    tokens.c.console_type,
    tokens.c.options,
    (tokens.c.expires - epoch_seconds()).label("left"),
)
_is_alive = and_(tokens.c.used == false(), tokens.c.expires > epoch_seconds())
_is_usable = and_(tokens.c.token_hash == bindparam("hash"), _is_alive)


def _find(size: int) -> Select[Any]:
    # The join is the binding: the console must still have the place, in that generation.
    hashes: list[Any] = [bindparam(name) for number in range(size) for name in key_names(number)]
    return (
        select(*_TOKEN)
        .join(
            console_ports,
            and_(
                console_ports.c.instance_uuid == tokens.c.instance_uuid,
                console_ports.c.console_type == tokens.c.console_type,
                console_ports.c.port_index == tokens.c.console_index,
                console_ports.c.host == tokens.c.host,
                or_(
                    console_ports.c.port == tokens.c.port,
                    # No place of the kind is displaced: its generation is none of a token.
                    and_(console_ports.c.port.is_(None), tokens.c.port.is_(None)),
                ),
                console_ports.c.generation == tokens.c.generation,
            ),
        )
        .where(tokens.c.token_hash.in_(hashes), _is_alive)
    )


_FIND = Query(_find)
_NOW = Query(lambda _: select(epoch_seconds()), width=0)
_ADD = Rows(
    insert(tokens),
    (
        "token_hash",
        "instance_uuid",
        "console_index",
        "host",
        "port",
        "generation",
        "access_url",
        "project_id",
        "user_id",
        "console_type",
        "options",
        "expires",
        "created_at",
    ),
)
_SPEND = update(tokens).where(_is_usable).values(used=true())
# A range, because an index serves LIKE in some collations only. No hex digit comes after "f".
_NAMED = (
    select(*_TOKEN, tokens.c.used, tokens.c.created_at, instances.c.project_id.label("owner"))
    .join(instances, instances.c.uuid == tokens.c.instance_uuid)
    .where(
        tokens.c.token_hash >= bindparam("prefix"),
        tokens.c.token_hash < bindparam("prefix_end"),
    )
    .order_by(tokens.c.token_hash)
)
_REVOKE = delete(tokens).where(tokens.c.token_hash == bindparam("hash"))
_EXPIRED = (
    select(tokens.c.id)
    .where(tokens.c.host == bindparam("at_host"), tokens.c.expires <= epoch_seconds())
    .order_by(tokens.c.expires)
    .limit(bindparam("most"))
)
_DELETE = delete(tokens).where(tokens.c.id.in_(bindparam("ids", expanding=True)))
_NEXT_HOST = select(func.min(tokens.c.host)).where(tokens.c.host > bindparam("after"))


def add(connection: Connection, token: ConsoleAuthToken, ttl: int) -> ConsoleAuthToken:
    """Stores a token.

    :param ttl: seconds that it is valid.
    :returns: the token with its real ``expires``, by the database's clock.
    """
    return add_all(connection, [token], ttl)[0]


def add_all(
    connection: Connection, given: Sequence[ConsoleAuthToken], ttl: int
) -> list[ConsoleAuthToken]:
    """As :func:`add`, for all of them at one moment."""
    ((now,),) = _NOW.rows(connection)
    stored = [evolve(token, expires=now + ttl, left=ttl) for token in given]
    _ADD.add(connection, [_row(token, now) for token in stored])
    return stored


def _row(token: ConsoleAuthToken, now: int) -> dict[str, Any]:
    return {
        "token_hash": token.token_hash,
        "instance_uuid": token.instance_uuid,
        "console_index": token.index,
        "host": token.host,
        "port": token.port,
        "generation": token.generation,
        "access_url": token.access_url,
        "project_id": token.project_id,
        "user_id": token.user_id,
        "console_type": token.console_type,
        "options": dict(token.options),
        "expires": token.expires,
        "created_at": now,
    }


def _keys(hashes: Sequence[str]) -> list[tuple[str]]:
    return [(token_hash,) for token_hash in dict.fromkeys(hashes)]


@one_query(_FIND, _keys)
def find(rows: Sequence[Row], hashes: Sequence[str]) -> list[ConsoleAuthToken | None]:
    """The token, unless it is unknown, used up, expired, or its console has lost the place.

    To call it takes a connection and one hash, and gives one token or None.
    """
    found = {row[0]: _token(row) for row in rows}
    return [found.get(token_hash) for token_hash in hashes]


def spend(connection: Connection, token_hash: str) -> bool:
    """Uses up a token: of all that try, at any time in any replica, one succeeds.

    :returns: False if it is used up already, has expired, or is unknown.
    """
    return connection.execute(_SPEND, {"hash": token_hash}).rowcount == 1


def named(connection: Connection, prefix: str) -> list[TokenRecord]:
    """The tokens whose hash begins so, whatever has become of them.

    :param prefix: lower-case hex digits.
    """
    rows = connection.execute(_NAMED, {"prefix": prefix, "prefix_end": f"{prefix}g"})
    return [
        TokenRecord(_token(row[: len(_TOKEN)]), row.owner, row.created_at, row.used) for row in rows
    ]


def revoke(connection: Connection, token_hash: str) -> bool:
    """Deletes a token.

    :returns: whether there was one.
    """
    return connection.execute(_REVOKE, {"hash": token_hash}).rowcount == 1


def delete_expired(connection: Connection, host: str, most: int) -> int:
    """Deletes expired tokens of one host, the oldest first.

    Two statements, because MariaDB has no LIMIT inside IN and would scan the whole table.

    :param host: the address of the consoles (the tokens' ``host``).
    :param most: how many rows at most.
    :returns: how many rows are gone.
    """
    ids = connection.scalars(_EXPIRED, {"at_host": host, "most": most}).all()
    if ids:
        connection.execute(_DELETE, {"ids": ids})
    return len(ids)


def next_host(connection: Connection, after: str) -> str | None:
    """The next host that has tokens, in order of name; one step in the index."""
    found: str | None = connection.scalar(_NEXT_HOST, {"after": after})
    return found


def _token(row: Sequence[Any]) -> ConsoleAuthToken:
    """The token of a row with the columns of :data:`_TOKEN`."""
    token_hash, instance_uuid, index, host, port, generation, access_url, expires, *rest = row
    project_id, user_id, console_type, options, left = rest
    return ConsoleAuthToken(
        token_hash=token_hash,
        instance_uuid=instance_uuid,
        index=index,
        host=host,
        port=port,
        generation=generation,
        access_url=access_url,
        expires=expires,
        project_id=project_id,
        user_id=user_id,
        console_type=console_type,
        options=options,
        left=left,
    )
