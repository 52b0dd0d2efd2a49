"""The rows of tickets: one viewer's way from one replica to another."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert

from consoled.db.clock import epoch_seconds
from consoled.db.tables import replica_tickets as tickets

_INSERT = insert(tickets).values(
    expires=epoch_seconds() + bindparam("ttl", type_=tickets.c.expires.type)
)
_FORGET = delete(tickets).where(tickets.c.expires <= epoch_seconds())
_TAKE = delete(tickets).where(
    tickets.c.ticket_hash == bindparam("hash"),
    tickets.c.replica_id == bindparam("of"),
    tickets.c.expires > epoch_seconds(),
)


def add(connection: Connection, ticket_hash: str, replica_id: str, ttl: int) -> None:
    """Lets one replica take a ticket once, and forgets those that nobody took.

    :param replica_id: the one that may take it.
    :param ttl: seconds that it may be taken, by the database's clock.
    """
    connection.execute(_FORGET)
    connection.execute(_INSERT, {"ticket_hash": ticket_hash, "replica_id": replica_id, "ttl": ttl})


def take(connection: Connection, ticket_hash: str, replica_id: str) -> bool:
    """Takes a ticket: True once, for that replica, in time."""
    return connection.execute(_TAKE, {"hash": ticket_hash, "of": replica_id}).rowcount == 1
