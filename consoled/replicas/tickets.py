"""Tickets: how a replica knows that a viewer is brought by another one of its cell.

Whoever may write to the cell database is a replica. So the one that brings a viewer leaves
the hash of a ticket there, and the one that the ticket is for takes it: once, within
seconds. The hash covers what is said about the viewer, and a copy of the database opens
nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from consoled.db import tickets
from consoled.interfaces import Database

SECRET_BYTES = 32
LIFETIME = 30
"""Seconds from a ticket's making to its end, by the database's clock."""


@frozen
class TicketOffice:
    """Makes and takes tickets.

    :ivar own_id: this replica's present id, or None.
    """

    database: Database
    own_id: Callable[[], str | None]

    def make(self, replica_id: str, papers: bytes) -> Deferred[str]:
        """A ticket for one viewer to that replica.

        :param papers: what is said about the viewer.
        :raises consoled.errors.Unavailable: the database is away.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        stored = self.database.run(tickets.add, _hash(secret, papers), replica_id, LIFETIME)
        return stored.addCallback(lambda _: secret)

    def take(self, secret: str, papers: bytes) -> Deferred[bool]:
        """Whether the ticket is for this replica, with these papers, and has just been taken.

        :raises consoled.errors.Unavailable: the database is away.
        """
        own_id = self.own_id()
        if own_id is None:
            return succeed(False)
        return self.database.run(tickets.take, _hash(secret, papers), own_id)


def _hash(secret: str, papers: bytes) -> str:
    return hashlib.sha256(secret.encode() + b"." + papers).hexdigest()
