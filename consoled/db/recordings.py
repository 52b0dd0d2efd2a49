"""The rows of recordings: what there is, and whose. The files are elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    false,
    insert,
    or_,
    select,
    update,
)

from consoled.db.clock import epoch_seconds
from consoled.db.tables import recording_archives as archives
from consoled.db.tables import recordings
from consoled.recording.archive_values import Archived, ArchiveState
from consoled.recording.values import Ending, Facts, RecordingRow, RecordingState

_of_session = recordings.c.session_id == bindparam("id")
_ALL = select(
    recordings,
    archives.c.state.label("archive_state"),
    archives.c.image_id.label("archive_image_id"),
    archives.c.reason.label("archive_reason"),
).outerjoin(archives, archives.c.session_id == recordings.c.session_id)
_FIND = _ALL.where(_of_session)
_PROJECTS = select(recordings.c.project_id).distinct()
_AMONG = _ALL.where(recordings.c.session_id.in_(bindparam("ids", expanding=True)))
_FORGET = delete(recordings).where(_of_session)
_FORGET_ARCHIVE = delete(archives).where(
    archives.c.session_id == bindparam("id"),
    archives.c.state.in_([ArchiveState.DONE.value, ArchiveState.FAILED.value]),
)
_NOW = select(epoch_seconds())


@frozen
class Wanted:
    """Which recordings are listed.

    :ivar projects: of instances of these only; None stands for instances of nobody.
    :ivar since: begun at this moment or later, seconds since the epoch.
    :ivar until: begun before this moment.
    :ivar most: how many at most, the newest first.
    """

    projects: Collection[str | None]
    instance_uuid: str | None = None
    user_id: str | None = None
    since: int | None = None
    until: int | None = None
    most: int = 100


def begin(connection: Connection, facts: Facts) -> None:
    """Notes a recording that has begun now."""
    _insert(connection, facts, started=epoch_seconds())


def end(connection: Connection, facts: Facts, ending: Ending) -> None:
    """Notes that it has ended now; one whose beginning could not be noted is noted whole."""
    state = RecordingState.COMPLETE if ending.complete else RecordingState.INCOMPLETE
    values: dict[str, Any] = {
        "ended": epoch_seconds(),
        "bytes": ending.size,
        "digest": ending.digest,
        "state": state.value,
    }
    changed = update(recordings).where(recordings.c.session_id == facts.session_id).values(values)
    if connection.execute(changed).rowcount == 0:
        _insert(connection, facts, started=facts.started, **values)


def adopt(connection: Connection, facts: Facts, size: int, ended: int) -> None:
    """Notes a file that is there and that no daemon writes any more.

    :param ended: when it was written last, seconds since the epoch.
    """
    values: dict[str, Any] = {
        "ended": ended,
        "bytes": size,
        "state": RecordingState.INCOMPLETE.value,
    }
    # Not over what its daemon noted in the meantime.
    goes_on = and_(
        recordings.c.session_id == facts.session_id,
        recordings.c.state == RecordingState.RECORDING.value,
    )
    changed = connection.execute(update(recordings).where(goes_on).values(values)).rowcount
    if changed == 0 and find(connection, facts.session_id) is None:
        _insert(connection, facts, started=facts.started, **values)


def find(connection: Connection, session_id: str) -> RecordingRow | None:
    """The recording of that session, or None."""
    row = connection.execute(_FIND, {"id": session_id}).one_or_none()
    return None if row is None else _recording(row)


def among(connection: Connection, session_ids: Collection[str]) -> list[RecordingRow]:
    """Those of the sessions that have a row."""
    return [_recording(row) for row in connection.execute(_AMONG, {"ids": list(session_ids)})]


def projects(connection: Connection) -> list[str | None]:
    """The projects of all recordings."""
    return list(connection.scalars(_PROJECTS))


def wanted(connection: Connection, which: Wanted) -> list[RecordingRow]:
    """The recordings of a list, the newest first."""
    conditions: list[ColumnElement[bool]] = [_of_projects(which.projects)]
    if which.instance_uuid is not None:
        conditions.append(recordings.c.instance_uuid == which.instance_uuid)
    if which.user_id is not None:
        conditions.append(recordings.c.user_id == which.user_id)
    if which.since is not None:
        conditions.append(recordings.c.started >= which.since)
    if which.until is not None:
        conditions.append(recordings.c.started < which.until)
    query = (
        _ALL.where(*conditions)
        .order_by(recordings.c.started.desc(), recordings.c.session_id)
        .limit(which.most)
    )
    return [_recording(row) for row in connection.execute(query)]


def forget(connection: Connection, session_id: str) -> bool:
    """Deletes a row; whether there was one.

    That of its archive stays where something is still to do; whoever does that deletes it.
    """
    connection.execute(_FORGET_ARCHIVE, {"id": session_id})
    return connection.execute(_FORGET, {"id": session_id}).rowcount == 1


def now(connection: Connection) -> int:
    """The database's time, seconds since the epoch."""
    return int(connection.execute(_NOW).scalar_one())


def _of_projects(names: Collection[str | None]) -> ColumnElement[bool]:
    named = [name for name in names if name is not None]
    found = recordings.c.project_id.in_(named) if named else false()
    return or_(found, recordings.c.project_id.is_(None)) if None in names else found


def _insert(connection: Connection, facts: Facts, **values: Any) -> None:
    row = {
        "session_id": facts.session_id,
        "instance_uuid": facts.instance_uuid,
        "instance_name": facts.instance_name,
        "project_id": facts.project_id,
        "user_id": facts.user_id,
        "console_index": facts.console_index,
        "console_type": facts.console_type,
        "host": facts.host,
        "ended": None,
        "bytes": 0,
        "digest": "",
        "path": f"recordings/{facts.session_id}.cast",
        "state": RecordingState.RECORDING.value,
    }
    connection.execute(insert(recordings).values(row | values))


def _recording(row: Any) -> RecordingRow:
    return RecordingRow(
        facts=Facts(
            session_id=row.session_id,
            instance_uuid=row.instance_uuid,
            instance_name=row.instance_name,
            project_id=row.project_id,
            user_id=row.user_id,
            console_index=row.console_index,
            host=row.host,
            started=row.started,
            console_type=row.console_type,
        ),
        started=row.started,
        ended=row.ended,
        size=row.bytes,
        digest=row.digest,
        state=RecordingState(row.state),
        archived=_archived(row),
    )


def _archived(row: Any) -> Archived | None:
    if row.archive_state is None:
        return None
    state = ArchiveState(row.archive_state)
    # Of one that is pending it may be there, and may not.
    image_id = None if state is ArchiveState.PENDING else row.archive_image_id
    return Archived(state, image_id, row.archive_reason)
