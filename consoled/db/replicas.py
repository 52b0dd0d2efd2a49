"""The rows of replicas: one for each start of a daemon.

Conditional UPDATEs of the lease protocol. What they return counts after COMMIT only.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, bindparam, delete, exists, false, insert, select, true
from sqlalchemy import update as change

from consoled.db.tables import console_leases, replicas
from consoled.leasing.values import Neighbour, Peer

_living = and_(replicas.c.id == bindparam("of"), replicas.c.dead == false())
_BEAT = change(replicas).where(_living).values(beat=replicas.c.beat + 1)
_END = change(replicas).where(_living).values(dead=True)
_DECLARE_DEAD = _END.where(replicas.c.beat == bindparam("seen"))
_KNOWN = select(replicas.c.id).where(replicas.c.id == bindparam("of"))
_PEERS = select(replicas.c.id, replicas.c.beat).where(replicas.c.dead == false())
_NEIGHBOURS = select(replicas.c.id, replicas.c.url).where(
    replicas.c.dead == false(), replicas.c.url != ""
)
_FORGOTTEN = select(replicas.c.id).where(
    replicas.c.dead == true(), ~exists().where(console_leases.c.replica_id == replicas.c.id)
)
_FORGET = delete(replicas).where(
    replicas.c.id.in_(bindparam("ids", expanding=True)), replicas.c.dead == true()
)


def register(
    connection: Connection, replica_id: str, cell: str, url: str, former: str | None = None
) -> bool:
    """Makes the row of a new incarnation; called again after an unknown COMMIT.

    Dead replicas that hold nothing any more are forgotten: a missing row means dead.

    :param former: the same daemon's last incarnation; it ends in the same transaction.
    :returns: False if the id has been used up: it was registered, and declared dead.
    """
    if not beat(connection, replica_id):
        if connection.execute(_KNOWN, {"of": replica_id}).one_or_none() is not None:
            return False
        row = {"id": replica_id, "cell": cell, "url": url, "beat": 0, "dead": False}
        connection.execute(insert(replicas), row)
    if former is not None:
        end(connection, former)
    forgotten = connection.scalars(_FORGOTTEN).all()
    if forgotten:
        connection.execute(_FORGET, {"ids": forgotten})
    return True


def beat(connection: Connection, replica_id: str) -> bool:
    """One heartbeat for all leases of the replica.

    :returns: False if it has been declared dead.
    """
    return connection.execute(_BEAT, {"of": replica_id}).rowcount == 1


def end(connection: Connection, replica_id: str) -> None:
    """The replica's own end: what it still holds may be taken at once."""
    connection.execute(_END, {"of": replica_id})


def declare_dead(connection: Connection, peer: Peer) -> bool:
    """Ends another replica, unless it has beaten since ``peer`` was seen.

    :returns: whether this call ended it.
    """
    values = {"of": peer.replica_id, "seen": peer.beat}
    return connection.execute(_DECLARE_DEAD, values).rowcount == 1


def peers(connection: Connection) -> tuple[Peer, ...]:
    """All replicas that are not declared dead."""
    return tuple(Peer(row.id, row.beat) for row in connection.execute(_PEERS))


def neighbours(connection: Connection) -> list[Neighbour]:
    """All replicas that are not declared dead and can be reached by others."""
    return [Neighbour(row.id, row.url) for row in connection.execute(_NEIGHBOURS)]
