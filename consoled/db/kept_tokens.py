"""The rows of users' tokens that operations must outlive. The database's clock alone decides
what is over."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select

from consoled.db.clock import epoch_seconds
from consoled.db.tables import kept_tokens as tokens

_INSERT = insert(tokens).values(
    expires=epoch_seconds() + bindparam("ttl", type_=tokens.c.expires.type)
)
_FIND = select(tokens.c.ciphertext).where(
    tokens.c.operation == bindparam("named"), tokens.c.expires > epoch_seconds()
)
_FORGET = delete(tokens).where(tokens.c.operation == bindparam("named"))
_OVER = select(tokens.c.operation).where(tokens.c.expires <= epoch_seconds())


def keep(connection: Connection, operation: str, ciphertext: str, ttl: int) -> None:
    """Stores a token instead of the operation's earlier one.

    :param ciphertext: of the token; it is never stored in clear.
    :param ttl: seconds that it is kept, by the database's clock.
    """
    forget(connection, operation)
    row = {"operation": operation, "ciphertext": ciphertext, "ttl": ttl}
    connection.execute(_INSERT, row)


def find(connection: Connection, operation: str) -> str | None:
    """The ciphertext; None where there is none, or its time is over."""
    found: str | None = connection.execute(_FIND, {"named": operation}).scalar_one_or_none()
    return found


def forget(connection: Connection, operation: str) -> None:
    """The operation has ended."""
    connection.execute(_FORGET, {"named": operation})


def forget_all(connection: Connection, begin: str) -> None:
    """All operations whose names begin so have ended."""
    connection.execute(delete(tokens).where(tokens.c.operation.startswith(begin, autoescape=True)))


def delete_expired(connection: Connection, most: int) -> int:
    """Deletes tokens whose time is over.

    :param most: rows at a time.
    :returns: how many.
    """
    over = list(connection.execute(_OVER.limit(most)).scalars())
    if over:
        connection.execute(delete(tokens).where(tokens.c.operation.in_(over)))
    return len(over)
