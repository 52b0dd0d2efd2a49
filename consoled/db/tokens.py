"""The rows of console tokens. The database's clock alone decides what has expired."""

from __future__ import annotations

from attrs import asdict, evolve, fields, filters
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select

from consoled.db.clock import epoch_seconds
from consoled.db.tables import console_auth_tokens as tokens
from consoled.db.tables import console_ports
from consoled.model import ConsoleAuthToken

_INSERT = (
    insert(tokens)
    .values(
        expires=epoch_seconds() + bindparam("ttl", type_=tokens.c.expires.type),
        created_at=epoch_seconds(),
    )
    .returning(tokens.c.expires)
)
# The join is the binding: the console must still have the place, in that generation.
_FIND = (
    select(
        tokens.c.token_hash,
        tokens.c.instance_uuid,
        tokens.c.console_index.label("index"),
        tokens.c.host,
        tokens.c.port,
        tokens.c.generation,
        tokens.c.access_url,
        tokens.c.expires,
        tokens.c.project_id,
        tokens.c.user_id,
        tokens.c.console_type,
    )
    .join(
        console_ports,
        and_(
            console_ports.c.instance_uuid == tokens.c.instance_uuid,
            console_ports.c.console_type == tokens.c.console_type,
            console_ports.c.port_index == tokens.c.console_index,
            console_ports.c.host == tokens.c.host,
            console_ports.c.port == tokens.c.port,
            console_ports.c.generation == tokens.c.generation,
        ),
    )
    .where(tokens.c.token_hash == bindparam("hash"), tokens.c.expires > epoch_seconds())
)
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
    row = asdict(token, filter=filters.exclude(fields(ConsoleAuthToken).expires))
    row["console_index"] = row.pop("index")
    expires = connection.execute(_INSERT, {**row, "options": {}, "ttl": ttl}).scalar_one()
    return evolve(token, expires=expires)


def find(connection: Connection, token_hash: str) -> ConsoleAuthToken | None:
    """The token, unless it is unknown, expired, or its console has lost the place."""
    row = connection.execute(_FIND, {"hash": token_hash}).one_or_none()
    return None if row is None else ConsoleAuthToken(**row._mapping)


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
