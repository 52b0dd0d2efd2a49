"""The rows of those who watch a console, and of who has asked for it and waits.

The console's lease is one row, with one session: whoever writes, or the first who watches.
The others are here, written by the replica that has the line. A row counts as long as its
epoch is the lease's and a living replica holds that: what a killed daemon leaves is seen by
nobody, and goes with the next note about the console.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, Row, and_, delete, false, insert, or_, select, update

from consoled.db import leases
from consoled.db.clock import epoch_seconds
from consoled.db.tables import console_leases, console_observers, replicas
from consoled.leasing.values import Claim, ConsoleKey, LeaseRow, News, Watcher

_own = console_observers.c
_lease = console_leases.c
_ROWS = (
    select(console_observers, _lease.replica_id, replicas.c.url, replicas.c.dead)
    .join_from(
        console_observers,
        console_leases,
        and_(
            _own.instance_uuid == _lease.instance_uuid,
            _own.console_type == _lease.console_type,
            _own.port_index == _lease.port_index,
            _own.epoch == _lease.epoch,
        ),
    )
    .join(replicas, replicas.c.id == _lease.replica_id)
    .where(replicas.c.dead == false())
    .order_by(_own.since, _own.session_id)
)


def note(connection: Connection, claim: Claim, watchers: Sequence[Watcher]) -> None:
    """Notes who watches the claim's console now; nothing where that is not held any more."""
    row = leases.look(connection, claim.key)
    if row is None or (row.replica_id, row.epoch) != (claim.replica_id, claim.epoch):
        return
    names = [watcher.session_id for watcher in watchers]
    here = _of(claim.key)
    connection.execute(
        delete(console_observers).where(
            here, or_(_own.epoch != claim.epoch, _own.session_id.not_in(names))
        )
    )
    rows = connection.execute(select(_own.session_id, _own.lingers, _own.role).where(here))
    known = {row.session_id: (row.lingers, row.role) for row in rows}
    for watcher in watchers:
        if watcher.session_id not in known:
            connection.execute(insert(console_observers).values(**_values(claim, watcher)))
        elif known[watcher.session_id] != (watcher.lingers, watcher.role):
            connection.execute(
                update(console_observers)
                .where(here, _own.session_id == watcher.session_id)
                .values(lingers=watcher.lingers, role=watcher.role)
            )


def watching(
    connection: Connection, instance_uuid: str | None = None, session_id: str | None = None
) -> list[LeaseRow]:
    """Who watches or waits, all over the cell: everybody, or on one instance, or that session."""
    statement = _ROWS
    if instance_uuid is not None:
        statement = statement.where(_own.instance_uuid == instance_uuid)
    if session_id is not None:
        statement = statement.where(_own.session_id == session_id)
    return [_row(row) for row in connection.execute(statement)]


def company(
    connection: Connection, instance_uuid: str | None = None, session_id: str | None = None
) -> list[LeaseRow]:
    """Every session of the cell, or of one instance, or that one: who writes and who watches."""
    watchers = watching(connection, instance_uuid, session_id)
    return _with(leases.held(connection, instance_uuid, session_id), watchers)


def want(
    connection: Connection,
    by: str,
    reason: str,
    session_id: str | None = None,
    instance_uuid: str | None = None,
) -> list[LeaseRow]:
    """As :func:`consoled.db.leases.want`, of those who watch as well."""
    watchers = watching(connection, instance_uuid, session_id)
    words = {
        "wanted": reason[: leases.REASON_LENGTH],
        "wanted_by": by[: leases.REASON_LENGTH],
    }
    for row in watchers:
        connection.execute(
            update(console_observers)
            .where(_of(row.key), _own.session_id == row.session_id, _own.epoch == row.epoch)
            .values(**words)
        )
    return _with(leases.want(connection, by, reason, session_id, instance_uuid), watchers)


def news(connection: Connection, replica_id: str) -> News:
    """As :func:`consoled.db.leases.news`, of those who watch as well.

    They come first: who waits for a console does not get it when its holder ends with them.
    """
    asked = _ROWS.where(_lease.replica_id == replica_id, _own.wanted.is_not(None))
    found = leases.news(connection, replica_id)
    return evolve(found, wanted=(*(_row(row) for row in connection.execute(asked)), *found.wanted))


def _with(held: Sequence[LeaseRow], watchers: Sequence[LeaseRow]) -> list[LeaseRow]:
    """Each session once: a lease names the first who watches where nobody writes."""
    names = {row.session_id for row in watchers}
    rows = [*(row for row in held if row.session_id not in names), *watchers]
    return sorted(
        rows, key=lambda row: (row.key.instance_uuid, row.key.console_type, row.key.index)
    )


def _of(key: ConsoleKey) -> Any:
    return and_(
        _own.instance_uuid == key.instance_uuid,
        _own.console_type == key.console_type,
        _own.port_index == key.index,
    )


def _values(claim: Claim, watcher: Watcher) -> dict[str, Any]:
    return {
        "instance_uuid": claim.key.instance_uuid,
        "console_type": claim.key.console_type,
        "port_index": claim.key.index,
        "session_id": watcher.session_id,
        "epoch": claim.epoch,
        "user_id": watcher.holder.user_id,
        "project_id": watcher.holder.project_id,
        "since": epoch_seconds(),
        "lingers": watcher.lingers,
        "role": watcher.role,
    }


def _row(row: Row[Any]) -> LeaseRow:
    return evolve(leases.lease_of(row), role=row.role)
