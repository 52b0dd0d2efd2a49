"""The schema's revision: looked at when the daemon starts, upgraded by a command.

Migrations go forward only. They run inside one transaction of ours, so that a failed
upgrade of SQLite or PostgreSQL leaves the old schema.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

import consoled
from consoled.db.engine import READ, in_memory, sqlite_path
from consoled.db.foreign import refuse_nova
from consoled.db.tables import metadata
from consoled.errors import ConfigError

VERSION_TABLE = "consoled_revision"
"""Not alembic's default name, which nova's cell databases have too."""

UPGRADE_COMMAND = "consolectl --config FILE db upgrade"


def migrations() -> Path:
    """The folder of the migrations: inside an installed package, or the checkout's own."""
    package = Path(consoled.__file__).resolve().parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def head() -> str:
    """The revision that this version of consoled works with."""
    revision = _scripts().get_current_head()
    if revision is None:
        raise ConfigError(f"this installation lacks its migrations in {migrations()}")
    return revision


def current(engine: Engine) -> str | None:
    """The database's revision, or None where it has no schema of consoled's.

    :raises consoled.errors.ConfigError: the database cannot be opened, or it is nova's or
        somebody else's.
    """
    path = sqlite_path(engine)
    if path is not None and not path.exists():
        return None
    with _opened(engine) as connection:
        found = _revision(connection.execution_options(**{READ: True}))
        if found is None:
            _refuse_foreign(connection)
        return found


def check(engine: Engine) -> None:
    """Says nothing if the schema is this version's.

    No connection stays open, so it may be called before twistd forks.

    :raises consoled.errors.ConfigError: it is not, or the database cannot be opened, or is
        somebody else's; the text says what to do.
    """
    found = current(engine)
    if found == head():
        return
    if found is None:
        raise ConfigError(f"the database has no schema yet; run: {UPGRADE_COMMAND}")
    _refuse_newer(found)
    raise ConfigError(
        f"the database has revision {found}, consoled needs {head()}; "
        f"stop the daemons of older versions, then run: {UPGRADE_COMMAND}"
    )


def prepare(engine: Engine) -> None:
    """What the daemon's start does: an empty SQLite database gets its schema, then check.

    :raises consoled.errors.ConfigError: as of :func:`check`.
    """
    if engine.dialect.name == "sqlite" and current(engine) is None:
        upgrade(engine)
    check(engine)


def upgrade(engine: Engine) -> None:
    """Brings the schema to this version's revision; without effect when it is there.

    :param engine: for servers one without a statement time-out (``make_engine(url, None)``).
    :raises consoled.errors.ConfigError: the database cannot be opened or written, is of a
        newer consoled, or holds somebody else's tables.
    """
    with _opened(engine) as connection, _foreign_keys_off(connection), connection.begin():
        found = _revision(connection)
        if found is None:
            _refuse_foreign(connection)
        else:
            _refuse_newer(found)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _opened(engine: Engine) -> Iterator[Connection]:
    try:
        refuse_nova(engine)
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"cannot use the database {_place(engine)}: {_cause(error)}{_full(engine)}"
        ) from None
    finally:
        if not in_memory(engine):
            engine.dispose()


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """SQLite alters a table by making it anew; dropping the old one must not cascade."""
    driver = connection.connection.driver_connection
    if connection.dialect.name != "sqlite" or driver is None:
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _refuse_newer(found: str) -> None:
    if all(script.revision != found for script in _scripts().walk_revisions()):
        raise ConfigError(
            f"the database has revision {found}, which a newer consoled made; this one knows "
            f"{head()}: install the newer consoled, or name another database"
        )


def _refuse_foreign(connection: Connection) -> None:
    taken = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if taken:
        raise ConfigError(
            f"the database already holds tables that consoled did not make ({', '.join(taken)}); "
            "give consoled a database of its own"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["version_table"] = VERSION_TABLE
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _place(engine: Engine) -> str:
    path = sqlite_path(engine)
    if path is not None:
        return str(path)
    # The query may hold a password as well.
    return engine.url.set(query={}).render_as_string(hide_password=True)


def _full(engine: Engine) -> str:
    """What SQLite calls an I/O error may be no more than a full disk."""
    path = sqlite_path(engine)
    try:
        full = path is not None and shutil.disk_usage(path.parent).free == 0
    except OSError:
        return ""
    return " (its disk is full)" if full else ""


def _cause(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    cause = getattr(error, "orig", None) or error
    # MariaDB's drivers raise (number, text).
    return " ".join(str(cause.args[-1] if cause.args else cause).split())
