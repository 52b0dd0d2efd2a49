"""The rows of leases: who holds each console's wire.

Conditional UPDATEs of the lease protocol. What they return counts after COMMIT only, and
then only while the replica's own validity runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    null,
    or_,
    select,
    update,
)

from consoled.db import replicas as replica_rows
from consoled.db.clock import epoch_seconds
from consoled.db.direct import Query, key_names
from consoled.db.grouping import Batch
from consoled.db.tables import console_leases as leases
from consoled.db.tables import replicas
from consoled.leasing.values import Claim, ConsoleKey, Holder, LeaseRow, News, Taking, Wish

REASON_LENGTH = 255
"""What the columns hold of a requested disconnect's reason, and of who asks."""

_of_console = and_(
    leases.c.instance_uuid == bindparam("uuid"),
    leases.c.console_type == bindparam("type"),
    leases.c.port_index == bindparam("index"),
)
# The epoch alone names a taking; the session may be another one's since.
_still_ours = and_(
    _of_console, leases.c.replica_id == bindparam("by"), leases.c.epoch == bindparam("at")
)
_still_claimed = and_(_still_ours, leases.c.session_id == bindparam("session"))
# A missing replica is a dead one that has been forgotten.
_ROWS = select(leases, replicas.c.url, replicas.c.dead).join_from(
    leases, replicas, replicas.c.id == leases.c.replica_id, isouter=True
)
_LOOK = _ROWS.where(_of_console)
_KEY = (leases.c.instance_uuid, leases.c.console_type, leases.c.port_index)


def _owners(size: int) -> Select[Any]:
    keys = [
        and_(
            *(
                column == bindparam(name)
                for column, name in zip(_KEY, key_names(number, len(_KEY)), strict=True)
            )
        )
        for number in range(size)
    ]
    return (
        select(*_KEY, leases.c.epoch, leases.c.replica_id, replicas.c.dead)
        .join_from(leases, replicas, replicas.c.id == leases.c.replica_id, isouter=True)
        .where(or_(*keys))
    )


_OWNERS = Query(_owners, len(_KEY))
_TAKE = (
    update(leases)
    .where(_of_console, leases.c.epoch == bindparam("was"))
    .values(
        replica_id=bindparam("by"),
        session_id=bindparam("session"),
        epoch=leases.c.epoch + 1,
        user_id=bindparam("user"),
        project_id=bindparam("project"),
        since=epoch_seconds(),
        lingers=false(),
        wanted=null(),
        wanted_by=null(),
    )
)
_TAKE_FREE = _TAKE.where(leases.c.replica_id.is_(None))
_TAKE_FROM = _TAKE.where(leases.c.replica_id == bindparam("previous"))
_RELEASE = (
    update(leases)
    .where(_still_ours)
    .values(
        replica_id=null(),
        session_id=null(),
        user_id=null(),
        project_id=null(),
        since=null(),
        lingers=false(),
        wanted=null(),
        wanted_by=null(),
    )
)
_NOTE = (
    update(leases)
    .where(_still_ours)
    .values(
        session_id=bindparam("session"),
        user_id=bindparam("user"),
        project_id=bindparam("project"),
        since=case(
            (leases.c.session_id == bindparam("session"), leases.c.since), else_=epoch_seconds()
        ),
        lingers=bindparam("waits"),
        wanted=case((leases.c.session_id == bindparam("session"), leases.c.wanted), else_=null()),
        wanted_by=case(
            (leases.c.session_id == bindparam("session"), leases.c.wanted_by), else_=null()
        ),
    )
)
_HOLDS = select(leases.c.epoch).where(_still_claimed)
_GRANTED = select(leases.c.epoch).where(
    _of_console, leases.c.replica_id == bindparam("by"), leases.c.session_id == bindparam("session")
)
_HELD = (
    select(leases, replicas.c.url, replicas.c.dead)
    .join_from(leases, replicas, replicas.c.id == leases.c.replica_id)
    .where(replicas.c.dead == false())
    .order_by(leases.c.instance_uuid, leases.c.console_type, leases.c.port_index)
)
_of_replica = leases.c.replica_id == bindparam("by")
_HELD_BY = _ROWS.where(_of_replica)
_WANTED = _HELD_BY.where(leases.c.wanted.is_not(None))
_COUNT = select(func.count()).select_from(leases).where(_of_replica)
_WANT = (
    update(leases)
    .where(_still_claimed)
    .values(wanted=bindparam("reason"), wanted_by=bindparam("who"))
)


def look(connection: Connection, key: ConsoleKey) -> LeaseRow | None:
    """The console's lease as it is now, or None where there is no such console."""
    row = connection.execute(_LOOK, _console(key)).one_or_none()
    return None if row is None else lease_of(row)


def owner(
    connection: Connection, key: ConsoleKey | None, session_id: str | None
) -> LeaseRow | None:
    """Who holds that session's console, else that console, among living replicas."""
    if session_id is not None:
        found = held(connection, session_id=session_id)
        if found:
            return found[0]
    return None if key is None else look(connection, key)


@Batch
def obtain(connection: Connection, wishes: Sequence[Wish]) -> list[Taking]:
    """Looks at consoles, and takes those that may be taken, each as it was seen.

    To call it takes one wish, and gives what came of it. The look and the conditional UPDATE
    are those of the lease protocol; that they share a transaction spares a way to the database.
    """
    takings: dict[int, Taking] = {}
    free: list[tuple[int, Claim, Holder]] = []
    owners = {
        row[:3]: row[3:] for row in _OWNERS.rows(connection, [_place(wish) for wish in wishes])
    }
    # In the consoles' order: two replicas that take several at once do not wait for each other.
    for at, wish in sorted(enumerate(wishes), key=lambda numbered: _place(numbered[1])):
        owner = owners.get(_place(wish))
        if owner is None:
            takings[at] = Taking(None)
            continue
        epoch, previous, dead = owner
        claim = Claim(wish.key, wish.replica_id, wish.session_id, epoch + 1)
        if previous is None:
            free.append((at, claim, wish.holder))
        elif (dead is None or dead) and take(connection, claim, previous, wish.holder):
            takings[at] = Taking(claim, previous)
        else:
            takings[at] = Taking(None, row=look(connection, wish.key))
    for at, claim in _taken(connection, free):
        takings[at] = Taking(claim)
    for at, claim, _ in free:
        if at not in takings:
            takings[at] = Taking(None, row=look(connection, claim.key))
    return [takings[at] for at in range(len(wishes))]


def _place(wish: Wish) -> tuple[str, str, int]:
    return wish.key.instance_uuid, wish.key.console_type, wish.key.index


def _taken(
    connection: Connection, free: Sequence[tuple[int, Claim, Holder]]
) -> list[tuple[int, Claim]]:
    """Those of the free consoles that nobody else was faster with."""
    if not free:
        return []
    values = [_taking(claim, holder) for _, claim, holder in free]
    all_of_them = connection.execute(_TAKE_FREE, values).rowcount == len(free)
    return [(at, claim) for at, claim, _ in free if all_of_them or holds(connection, claim)]


def take(connection: Connection, claim: Claim, previous: str | None, holder: Holder) -> bool:
    """Takes a console whose epoch is still the one before the claim's.

    :param previous: the dead replica that it is taken from, or None if it is free.
    :returns: False if somebody else was faster.
    """
    values = _taking(claim, holder)
    if previous is None:
        return connection.execute(_TAKE_FREE, values).rowcount == 1
    return connection.execute(_TAKE_FROM, {**values, "previous": previous}).rowcount == 1


def granted(connection: Connection, wish: Wish) -> Claim | None:
    """The claim that the wish has come to, if it has: reads back an unknown COMMIT."""
    epoch = connection.scalar(
        _GRANTED, {**_console(wish.key), "by": wish.replica_id, "session": wish.session_id}
    )
    return None if epoch is None else Claim(wish.key, wish.replica_id, wish.session_id, epoch)


def release(connection: Connection, claim: Claim) -> bool:
    """Gives the console back where replica and epoch are still the claim's."""
    return connection.execute(_RELEASE, _claim(claim)).rowcount == 1


def note(connection: Connection, claim: Claim, holder: Holder, lingers: bool) -> bool:
    """Notes which session has the claim's console now.

    A disconnect that was requested of another session is forgotten with it.

    :param claim: with the session that has it now.
    :param lingers: whether that session waits for its viewer to come back.
    """
    values = {
        **_claim(claim),
        "user": holder.user_id,
        "project": holder.project_id,
        "waits": lingers,
    }
    return connection.execute(_NOTE, values).rowcount == 1


def holds(connection: Connection, claim: Claim) -> bool:
    """Whether the claim is in force."""
    return connection.execute(_HOLDS, _claim(claim)).one_or_none() is not None


def held(
    connection: Connection, instance_uuid: str | None = None, session_id: str | None = None
) -> list[LeaseRow]:
    """What living replicas hold: all of it, or that of one instance or one session."""
    statement = _HELD
    if instance_uuid is not None:
        statement = statement.where(leases.c.instance_uuid == instance_uuid)
    if session_id is not None:
        statement = statement.where(leases.c.session_id == session_id)
    return [lease_of(row) for row in connection.execute(statement)]


def held_by(connection: Connection, replica_id: str) -> frozenset[Claim]:
    """What the database has for one replica."""
    rows = (lease_of(row).claim for row in connection.execute(_HELD_BY, {"by": replica_id}))
    return frozenset(claim for claim in rows if claim is not None)


def want(
    connection: Connection,
    by: str,
    reason: str,
    session_id: str | None = None,
    instance_uuid: str | None = None,
) -> list[LeaseRow]:
    """Asks the holding replicas to end one session, or all of an instance.

    :param by: who asks.
    :returns: the leases whose session will end.
    """
    words = {"reason": reason[:REASON_LENGTH], "who": by[:REASON_LENGTH]}
    return [
        row
        for row in held(connection, instance_uuid, session_id)
        if row.claim is not None
        and connection.execute(_WANT, {**_claim(row.claim), **words}).rowcount == 1
    ]


def news(connection: Connection, replica_id: str) -> News:
    """Everything that a poll of that replica wants to know."""
    own = {"by": replica_id}
    return News(
        peers=replica_rows.peers(connection),
        wanted=tuple(lease_of(row) for row in connection.execute(_WANTED, own)),
        held=connection.scalar(_COUNT, own) or 0,
    )


def _console(key: ConsoleKey) -> dict[str, Any]:
    return {"uuid": key.instance_uuid, "type": key.console_type, "index": key.index}


def _taking(claim: Claim, holder: Holder) -> dict[str, Any]:
    return {
        **_console(claim.key),
        "was": claim.epoch - 1,
        "by": claim.replica_id,
        "session": claim.session_id,
        "user": holder.user_id,
        "project": holder.project_id,
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        **_console(claim.key),
        "by": claim.replica_id,
        "session": claim.session_id,
        "at": claim.epoch,
    }


def lease_of(row: Row[Any]) -> LeaseRow:
    """A lease as a row has it that was joined with its replica's ``url`` and ``dead``."""
    return LeaseRow(
        key=ConsoleKey(row.instance_uuid, row.port_index, row.console_type),
        epoch=row.epoch,
        replica_id=row.replica_id,
        owner_dead=row.replica_id is not None and (row.dead is None or row.dead),
        session_id=row.session_id,
        holder=Holder(row.user_id, row.project_id),
        since=row.since,
        lingers=row.lingers,
        wanted=row.wanted,
        wanted_by=row.wanted_by,
        url=row.url,
    )
