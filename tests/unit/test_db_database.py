"""consoled.db.database: transactions, what is tried again, and what is away."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import cast

import pytest
from cells import database, file_database, instance, memory_database, outcome
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from twisted.logger import capturedLogs, formatEvent

from consoled.db import instances, tables
from consoled.db.database import ATTEMPTS, CellDatabase
from consoled.db.engine import make_engine
from consoled.db.faults import Meaning, meaning
from consoled.errors import ConsoledError, Unavailable
from consoled.workers import InlineWorker


def count(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(tables.instances)) or 0)


def test_a_function_is_one_transaction() -> None:
    """An exception rolls everything back and reaches the caller as it was raised."""
    cell = memory_database()

    def half(connection: Connection) -> None:
        instances.upsert(connection, instance(), "static")
        raise ConsoledError("no")

    with pytest.raises(ConsoledError, match="no"):
        outcome(cell.run(half))
    assert outcome(cell.read(count)) == 0
    outcome(cell.run(instances.upsert, instance(), "static"))
    assert outcome(cell.read(count)) == 1


def test_a_lost_race_is_run_again() -> None:
    """A unique key that another replica has just taken is found at the second look."""
    cell = memory_database()
    runs: list[int] = []

    def racing(connection: Connection) -> str:
        runs.append(1)
        if len(runs) == 1:
            connection.execute(tables.port_generations.insert(), [_PLACE, _PLACE])
        return "done"

    assert outcome(cell.run(racing)) == "done"
    assert len(runs) == 2


_PLACE = {"host": "h", "port": 1, "generation": 1}


def test_a_locked_file_is_tried_again_at_most_twice(tmp_path: Path) -> None:
    """Another process that keeps the write lock makes writers, not readers, unavailable."""
    path = tmp_path / "cell.sqlite"
    cell = file_database(path)
    impatient = CellDatabase(make_engine(f"sqlite:///{path}?timeout=0.01"), InlineWorker())
    begun: list[str] = []
    with cell.engine.connect() as connection, connection.begin():
        with capturedLogs() as logs, pytest.raises(Unavailable, match="try again"):
            outcome(impatient.run(lambda _: begun.append("never")))
        assert outcome(impatient.read(count)) == 0
    assert begun == []
    assert [log["cause"] for log in logs if "cause" in log] == ["database is locked"]
    assert outcome(impatient.run(count)) == 0
    impatient.stop()
    cell.stop()


def test_reading_ends_no_outage_of_writes(tmp_path: Path) -> None:
    """A full disk can be read: the log says once that it takes no writes, and once that it does."""
    cell = file_database(tmp_path / "cell.sqlite")
    full = DBAPIError.instance("", {}, sqlite3.OperationalError("disk is full"), sqlite3.Error)

    def refuse(_: Connection) -> None:
        raise full

    with capturedLogs() as logs:
        for _ in range(3):
            with pytest.raises(Unavailable):
                outcome(cell.run(refuse))
            assert outcome(cell.read(count)) == 0
        assert outcome(cell.run(count)) == 0
    assert [formatEvent(log) for log in logs] == [
        "the database is away: disk is full",
        "the database is back",
    ]
    cell.stop()


def test_every_attempt_counts() -> None:
    """A transaction that always loses ends after the attempts that are allowed."""
    cell = memory_database()
    runs: list[int] = []

    def unlucky(_: Connection) -> None:
        runs.append(1)
        raise IntegrityError("statement", {}, Exception("duplicate"))

    with pytest.raises(Unavailable):
        outcome(cell.run(unlucky))
    assert len(runs) == ATTEMPTS


def test_an_outage_is_logged_once_and_its_end_too(tmp_path: Path) -> None:
    """While the database is away each call says so plainly; the log has one line of cause."""
    blocker = tmp_path / "state"
    blocker.write_text("a file where a folder should be")
    cell = CellDatabase(make_engine(f"sqlite:///{blocker}/cell.sqlite"), InlineWorker())
    with capturedLogs() as logs:
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                outcome(cell.run(lambda _: None))
            assert str(blocker) not in str(caught.value)
        blocker.unlink()
        assert outcome(cell.run(lambda _: "back")) == "back"
    assert [log["log_format"].partition(":")[0] for log in logs] == [
        "the database is away",
        "the database is back",
    ]
    cell.stop()


def test_a_mistake_in_sql_is_not_an_outage() -> None:
    """A programming error surfaces as itself, without the values of its parameters."""
    cell = memory_database()

    def mistaken(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT ?", ("s3cret", "one too many"))

    with pytest.raises(ProgrammingError) as caught:
        outcome(cell.run(mistaken))
    assert "s3cret" not in str(caught.value)


class _Server(Exception):
    """A driver's error, with the attributes that drivers give theirs."""

    def __init__(self, *args: object, sqlstate: str | None = None) -> None:
        super().__init__(*args)
        self.sqlstate = sqlstate


def _error(cause: Exception, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    return kind("SELECT 1", {}, cause)


def _invalidated() -> DBAPIError:
    error = _error(_Server("gone"), ProgrammingError)
    error.connection_invalidated = True
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_error(_Server("deadlock", sqlstate="40P01")), Meaning.RETRY),
        (_error(_Server("serialization", sqlstate="40001")), Meaning.RETRY),
        (_error(_Server(1213, "Deadlock found")), Meaning.RETRY),
        (_error(_Server(1205, "Lock wait timeout")), Meaning.RETRY),
        (_error(_Server("terminating", sqlstate="57P01")), Meaning.AWAY),
        (_error(_Server(2006, "gone away")), Meaning.AWAY),
        (_error(sqlite3.OperationalError("disk I/O error")), Meaning.AWAY),
        (_invalidated(), Meaning.AWAY),
        (OSError("no such folder"), Meaning.AWAY),
        (_error(_Server("syntax", sqlstate="42601"), ProgrammingError), Meaning.BUG),
        (ValueError("ours"), Meaning.BUG),
    ],
)
def test_errors_of_every_database_are_understood(error: Exception, expected: Meaning) -> None:
    """PostgreSQL's states, MariaDB's numbers and SQLite's codes each get their meaning."""
    assert meaning(error) is expected


def test_a_real_busy_error_is_a_lost_race(tmp_path: Path) -> None:
    """Python's sqlite3 carries the code that is looked at."""
    path = tmp_path / "busy.sqlite"
    first, second = (sqlite3.connect(path, timeout=0, isolation_level=None) for _ in range(2))
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        second.execute("BEGIN IMMEDIATE")
    first.close()
    second.close()
    assert meaning(_error(cast(Exception, caught.value))) is Meaning.RETRY


def test_a_file_that_is_no_database_is_away(tmp_path: Path) -> None:
    """A file that was overwritten under the daemon is an outage, not a traceback."""
    path = tmp_path / "cell.sqlite"
    path.write_bytes(b"no database at all" * 100)
    cell = CellDatabase(make_engine(f"sqlite:///{path}"), InlineWorker())
    with pytest.raises(Unavailable):
        outcome(cell.run(count))
    cell.stop()


def test_the_database_helper_is_usable_by_url(tmp_path: Path) -> None:
    """A second daemon on the same file finds the schema that the first one made."""
    url = f"sqlite:///{tmp_path}/cell.sqlite"
    first, second = database(url), database(url)
    outcome(first.run(instances.upsert, instance(), "static"))
    assert outcome(second.read(count)) == 1
    first.stop()
    second.stop()
