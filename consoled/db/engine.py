"""The engine of one SQLAlchemy URL, made fit for worker threads.

SQLite runs in WAL mode with foreign keys on, and a transaction that may write says so at
its start (``BEGIN IMMEDIATE``): a deferred one that reads before it writes fails with
"database is locked" at once, whatever the busy timeout.

``synchronous`` is FULL: a power cut must not take back a commit that advanced a port's
generation, because an old token would then open the next tenant's console. Checks of
tokens only read and do not pay for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from consoled.db import direct
from consoled.errors import ConfigError

READ = "consoled_read"
"""The execution option of a transaction that does not write."""

BUSY_TIMEOUT = 2
"""Seconds that SQLite waits for another process's writer, for each attempt."""

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # A fifth of the default: who commits carries the pages over, and others wait meanwhile.
    "PRAGMA wal_autocheckpoint=200",
)

STATEMENT_TIMEOUT = 5
"""Seconds that a server may take for a statement: one that vanished without a word must
not hold the only worker for minutes."""

# Per backend: a URL that works, and what brings its driver.
_EXAMPLES = {
    "sqlite": "sqlite:////var/lib/consoled/consoled.sqlite",
    "postgresql": "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
    "mysql": "mariadb+pymysql://USER:PASSWORD@HOST/DATABASE",
    "mariadb": "mariadb+pymysql://USER:PASSWORD@HOST/DATABASE",
}
_EXTRAS = {
    "sqlite": "",
    "postgresql": " after pip install 'consoled[postgresql]'",
    "mysql": " after pip install 'consoled[mariadb]'",
    "mariadb": " after pip install 'consoled[mariadb]'",
}


def make_engine(
    url: str,
    timeout: int | None = STATEMENT_TIMEOUT,
    *,
    option: str = "[database] connection",
) -> Engine:
    """An engine; nothing is opened or created yet.

    :param url: an SQLAlchemy URL of SQLite, PostgreSQL or MariaDB.
    :param timeout: seconds that a server may take for a statement; None for migrations.
    :param option: where the URL stands, for the operator.
    :raises consoled.errors.ConfigError: the URL is not one, or its driver is not installed.
    """
    parsed = _parse(url, option)
    backend = parsed.get_backend_name()
    if backend not in _EXTRAS:
        raise ConfigError(
            f"{option}: {backend} is not supported; use a sqlite, postgresql or mariadb URL"
        )
    try:
        dialect = parsed.get_dialect()
        if dialect.is_async:
            raise ConfigError(
                f"{option}: {parsed.drivername} is an asyncio driver; "
                f"use a synchronous one, for example {_EXAMPLES[backend]}"
            )
        if backend == "sqlite":
            return _sqlite_engine(parsed)
        return _server_engine(parsed, _timeouts(dialect.driver, timeout))
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError(
            f"{option}: the driver of {parsed.drivername} is not installed "
            f"({_first_line(error)}); use {_EXAMPLES[backend]}{_EXTRAS[backend]}"
        ) from None


def for_reading(engine: Engine) -> Engine:
    """The same engine, with the same connections, for transactions that do not write.

    Each statement has a view of its own on the servers, in a transaction as without one; so a
    read does without BEGIN and COMMIT where that saves something: two of its four ways to
    PostgreSQL, and in SQLite more than its work.
    """
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="AUTOCOMMIT", **{READ: True})
    return engine.execution_options(**{READ: True})


def sqlite_path(engine: Engine) -> Path | None:
    """The file of an SQLite engine; None for ``:memory:``, a ``file:`` URI and servers."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:":
        return None
    return None if name.startswith("file:") else Path(name)


def in_memory(engine: Engine) -> bool:
    """Whether the whole database lives in the engine's one connection."""
    return isinstance(engine.pool, StaticPool)


def _parse(url: str, option: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # The URL may hold a password, so it is not repeated.
        raise ConfigError(
            f"{option} is not a database URL; "
            "for example sqlite:////var/lib/consoled/consoled.sqlite"
        ) from None


def _timeouts(driver: str, timeout: int | None) -> dict[str, Any]:
    """The drivers' own words for it; what the URL says counts more."""
    if driver in ("psycopg", "psycopg2"):
        words: dict[str, Any] = {"connect_timeout": STATEMENT_TIMEOUT}
        if timeout is not None:
            words["tcp_user_timeout"] = timeout * 1000
            words["options"] = f"-c statement_timeout={timeout}s -c lock_timeout={timeout}s"
        return words
    if driver == "pymysql":
        words = {"connect_timeout": STATEMENT_TIMEOUT}
        if timeout is not None:
            words |= {"read_timeout": timeout, "write_timeout": timeout}
        return words
    return {}


def _server_engine(url: URL, timeouts: dict[str, Any]) -> Engine:
    options: dict[str, Any] = {}
    if url.get_backend_name() != "postgresql":
        # Under REPEATABLE READ an UPDATE without a match blocks another replica's INSERT.
        options = {"isolation_level": "READ COMMITTED", "pool_recycle": 3600}
    return create_engine(
        url,
        connect_args={word: value for word, value in timeouts.items() if word not in url.query},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=8,  # More than a daemon has threads: opening one takes long.
        pool_timeout=5,
        **options,
    )


def _sqlite_engine(url: URL) -> Engine:
    if "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(BUSY_TIMEOUT)})
    options: dict[str, Any] = {}
    if url.database in (None, "", ":memory:"):
        options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(url, hide_parameters=True, **options)
    path = sqlite_path(engine)

    @event.listens_for(engine, "do_connect")
    def make_private(*_: Any) -> None:
        if path is not None:
            _make_private(path)

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: object) -> None:
        # The driver must not begin transactions by itself: begin() below does.
        dbapi_connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            dbapi_connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(READ, False):
            direct.run(connection, "BEGIN IMMEDIATE")

    return engine


def _make_private(path: Path) -> None:
    """Creates a missing file 0600 in a folder 0700; SQLite's own files inherit the mode."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
