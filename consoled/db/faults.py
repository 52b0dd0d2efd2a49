"""What a database error means: try again, the database is away, or a mistake of ours."""

from __future__ import annotations

import enum
import sqlite3

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_SQLITE_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_POSTGRESQL_RETRY = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_MARIADB_RETRY = frozenset({1205, 1213})  # lock wait time-out, deadlock (Galera: at COMMIT)


class Meaning(enum.Enum):
    """What to do about an error."""

    RETRY = "retry"
    AWAY = "away"
    BUG = "bug"


def meaning(error: Exception) -> Meaning:
    """Sorts an exception that came out of a transaction."""
    if isinstance(error, IntegrityError):
        # Two replicas made the same row at once; the loser finds it when it looks again.
        return Meaning.RETRY
    if isinstance(error, DBAPIError):
        if _lost_a_race(error.orig):
            return Meaning.RETRY
        away = isinstance(error, OperationalError | InterfaceError)
        # SQLite says "file is not a database" with the bare class.
        if away or type(error) is DatabaseError or error.connection_invalidated:
            return Meaning.AWAY
    if isinstance(error, PoolTimeoutError | OSError):
        return Meaning.AWAY
    return Meaning.BUG


def _lost_a_race(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.Error):
        # Errors that Python's module raises by itself carry no code.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_BUSY
    sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    number = next(iter(getattr(cause, "args", ())), None)
    return sqlstate in _POSTGRESQL_RETRY or (isinstance(number, int) and number in _MARIADB_RETRY)
