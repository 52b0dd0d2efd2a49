"""The rows of replay tokens. The database's clock alone decides what has expired."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from consoled.db import recordings
from consoled.db.clock import epoch_seconds
from consoled.db.tables import replay_tokens as tokens
from consoled.model import Caller
from consoled.recording.values import RecordingRow

_INSERT = (
    insert(tokens)
    .values(expires=epoch_seconds() + bindparam("ttl", type_=tokens.c.expires.type))
    .returning(tokens.c.expires)
)
_FORGET = delete(tokens).where(tokens.c.expires <= epoch_seconds())
_is_usable = and_(
    tokens.c.token_hash == bindparam("hash"),
    tokens.c.expires > epoch_seconds(),
)
_FIND = select(tokens).where(_is_usable)
_SPEND = delete(tokens).where(_is_usable)


@frozen
class Replay:
    """What a replay token opens.

    :ivar recording: the one that it plays.
    :ivar user_id: whoever asked for it.
    :ivar project_id: the project that they acted for, or None.
    """

    token_hash: str
    recording: RecordingRow
    user_id: str | None
    project_id: str | None

    @property
    def token_id(self) -> str:
        """The prefix of the hash by which logs name this token."""
        return self.token_hash[:12]


def add(connection: Connection, token_hash: str, session_id: str, caller: Caller, ttl: int) -> int:
    """Stores a token, and forgets those that have expired.

    :param session_id: of the recording that it plays.
    :param caller: who asked for it.
    :param ttl: seconds that it is valid, by the database's clock.
    :returns: when it expires, seconds since the epoch.
    """
    connection.execute(_FORGET)
    row = {
        "token_hash": token_hash,
        "session_id": session_id,
        "user_id": caller.user_id,
        "project_id": caller.project_id,
        "ttl": ttl,
    }
    return int(connection.execute(_INSERT, row).scalar_one())


def find(connection: Connection, token_hash: str) -> Replay | None:
    """What the token opens; None where it is unknown, used up or expired, or the recording
    is gone."""
    row = connection.execute(_FIND, {"hash": token_hash}).one_or_none()
    recording = None if row is None else recordings.find(connection, row.session_id)
    if row is None or recording is None:
        return None
    return Replay(row.token_hash, recording, row.user_id, row.project_id)


def spend(connection: Connection, token_hash: str) -> bool:
    """Uses up a token: of all that try, at any time in any replica, one succeeds."""
    return connection.execute(_SPEND, {"hash": token_hash}).rowcount == 1
