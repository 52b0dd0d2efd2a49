"""consoled.db.engine: what an engine is set to."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from consoled.db.engine import READ, _timeouts, in_memory, make_engine, sqlite_path
from consoled.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_sqlite_is_set_for_several_processes(tmp_path: Path) -> None:
    """WAL, FULL, foreign keys and a busy timeout hold on every connection."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    with engine.connect() as connection:
        found = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 2000,
    }


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """The folder is made 0700, the file and SQLite's companions 0600."""
    path = tmp_path / "state" / "cell.sqlite"
    engine = make_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM t"))
        modes = {found.name: mode(found) for found in path.parent.iterdir()}
    engine.dispose()
    assert mode(path.parent) == 0o700
    assert modes == dict.fromkeys(("cell.sqlite", "cell.sqlite-wal", "cell.sqlite-shm"), 0o600)


def test_making_an_engine_touches_nothing(tmp_path: Path) -> None:
    """--check-config may make an engine without leaving a file behind."""
    engine = make_engine(f"sqlite:///{tmp_path}/deep/cell.sqlite")
    assert sqlite_path(engine) == tmp_path / "deep" / "cell.sqlite"
    assert list(tmp_path.iterdir()) == []


def test_a_writer_takes_the_lock_at_its_start_and_a_reader_does_not(tmp_path: Path) -> None:
    """A transaction that may write cannot fail half way for a lock; readers go on beside it."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite?timeout=0")
    with engine.begin() as writer:
        writer.execute(text("CREATE TABLE t (x INTEGER)"))
    with engine.connect() as first, first.begin(), engine.connect() as second:
        reader = second.execution_options(**{READ: True})
        with reader.begin():
            assert reader.scalar(text("SELECT count(*) FROM t")) == 0
    with (
        engine.connect() as first,
        first.begin(),
        engine.connect() as second,
        pytest.raises(Exception, match="database is locked"),
    ):
        second.begin()
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_one_connection(url: str) -> None:
    """An in-memory database is the same one for every transaction."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM t")) == 0
    assert in_memory(engine)
    assert sqlite_path(engine) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not a database URL"),
        ("nonsense", "not a database URL"),
        ("oracle://db/x", "oracle is not supported"),
        ("postgresql+nosuchdriver://u:hidden@db/x", "pip install 'consoled\\[postgresql\\]'"),
        ("sqlite+nosuchdriver:///x", "not installed .*; use sqlite:////var/lib"),
        ("postgresql+asyncpg://u:hidden@db/x", "not installed|asyncio driver"),
        ("sqlite+aiosqlite:///x", "asyncio driver; use a synchronous one, for example sqlite:"),
        ("mariadb+nosuchdriver://u:hidden@db/x", "pip install 'consoled\\[mariadb\\]'"),
    ],
)
def test_a_bad_url_is_one_line_without_its_password(url: str, said: str) -> None:
    """The operator reads what is wrong with [database] connection, and nobody a password."""
    with pytest.raises(ConfigError, match=said) as caught:
        make_engine(url)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "oracle://db/x", "sqlite+aiosqlite:///x", "postgresql+nosuchdriver://u@db/x"],
)
def test_the_error_names_the_option_of_the_url(url: str) -> None:
    """Where another database is meant, the operator is not sent to [database]."""
    with pytest.raises(ConfigError) as caught:
        make_engine(url, option="[nova] connection")
    assert str(caught.value).startswith("[nova] connection")
    assert "[database]" not in str(caught.value)


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (
            "psycopg",
            {
                "connect_timeout": 5,
                "tcp_user_timeout": 7000,
                "options": "-c statement_timeout=7s -c lock_timeout=7s",
            },
        ),
        ("pymysql", {"connect_timeout": 5, "read_timeout": 7, "write_timeout": 7}),
        ("another", {}),
    ],
)
def test_a_silent_server_does_not_hold_the_worker(driver: str, expected: dict[str, object]) -> None:
    """Known drivers get limits; migrations, which may take long, only that of the connect."""
    assert _timeouts(driver, 7) == expected
    assert set(_timeouts(driver, None)) == set(expected) & {"connect_timeout"}
