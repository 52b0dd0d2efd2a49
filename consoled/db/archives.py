"""The rows of recordings on their way to the archive."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from consoled.db import recordings as recording_rows
from consoled.db.tables import recording_archives as archives
from consoled.db.tables import recordings
from consoled.recording.archive_values import OPEN, ArchiveState
from consoled.recording.values import RecordingRow, RecordingState

MOST = 1000
"""Rows of one look."""

_LONGEST = 1024

_of_session = archives.c.session_id == bindparam("id")
_is_open = archives.c.state.in_([state.value for state in OPEN])
_DUE = (
    select(archives)
    .outerjoin(recordings, recordings.c.session_id == archives.c.session_id)
    .where(
        archives.c.folder_id == bindparam("folder"),
        _is_open,
        or_(
            recordings.c.session_id.is_(None),
            recordings.c.state != RecordingState.RECORDING.value,
        ),
    )
    .order_by(recordings.c.ended, archives.c.session_id)
    .limit(MOST)
)
_FORGET = delete(archives).where(_of_session)
_RECORDING = select(recordings.c.session_id).where(recordings.c.session_id == bindparam("id"))


@frozen
class ArchiveRow:
    """A recording of which something is still to do.

    :ivar image_id: what an earlier try has made, or while it is ``PENDING`` was about to make;
        None where there was none.
    :ivar recording: None where it was deleted.
    """

    session_id: str
    state: ArchiveState
    image_id: str | None
    reason: str
    recording: RecordingRow | None


def add(
    connection: Connection, session_id: str, folder_id: str, state: ArchiveState, reason: str = ""
) -> None:
    """Notes that a recording is to be archived, or why it will not be.

    :param folder_id: names the folder that has the file.
    """
    row = {
        "session_id": session_id,
        "folder_id": folder_id,
        "state": state.value,
        "image_id": None,
        "reason": reason[:_LONGEST],
    }
    connection.execute(insert(archives).values(row))


def due(connection: Connection, folder_id: str) -> list[ArchiveRow]:
    """What is still to do in a folder, the recordings that ended first before the others.

    Not those that go on.
    """
    found = connection.execute(_DUE, {"folder": folder_id}).all()
    known = {
        row.facts.session_id: row
        for row in recording_rows.among(connection, [row.session_id for row in found])
    }
    return [
        ArchiveRow(
            row.session_id,
            ArchiveState(row.state),
            row.image_id,
            row.reason,
            known.get(row.session_id),
        )
        for row in found
    ]


def plan_image(connection: Connection, session_id: str, image_id: str) -> None:
    """Notes the image that is made next, so that whoever comes after a crash finds it."""
    _change(connection, session_id, ArchiveState.PENDING, image_id, "")


def begin_upload(connection: Connection, session_id: str, image_id: str) -> None:
    """Notes that the image is there, and has no data yet."""
    _change(connection, session_id, ArchiveState.UPLOADING, image_id, "")


def note(connection: Connection, session_id: str, reason: str) -> None:
    """Notes what the last try to upload met."""
    waits = archives.c.state.in_([ArchiveState.PENDING.value, ArchiveState.UPLOADING.value])
    change = update(archives).where(and_(archives.c.session_id == session_id, waits))
    connection.execute(change.values(reason=reason[:_LONGEST]))


def begin_removal(connection: Connection, session_id: str, image_id: str, reason: str) -> None:
    """Notes that it has failed, and that its image has to go."""
    _change(connection, session_id, ArchiveState.REMOVING, image_id, reason)


def end(
    connection: Connection,
    session_id: str,
    state: ArchiveState,
    image_id: str | None,
    reason: str = "",
) -> None:
    """Notes how it ended; of a recording that was deleted meanwhile nothing is left.

    :param image_id: its image; None where there is none.
    """
    if connection.execute(_RECORDING, {"id": session_id}).first() is None:
        forget(connection, session_id)
    else:
        _change(connection, session_id, state, image_id, reason)


def forget(connection: Connection, session_id: str) -> None:
    """Deletes the row of a recording that came to nothing."""
    connection.execute(_FORGET, {"id": session_id})


def _change(
    connection: Connection,
    session_id: str,
    state: ArchiveState,
    image_id: str | None,
    reason: str,
) -> None:
    values = {"state": state.value, "image_id": image_id, "reason": reason[:_LONGEST]}
    connection.execute(update(archives).where(archives.c.session_id == session_id).values(values))
