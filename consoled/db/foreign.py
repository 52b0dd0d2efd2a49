"""Whose database is it? consoled never writes into one of nova's.

A nova cell database has tables of two of our names, ``instances`` and
``console_auth_tokens``, and nova's migrations would meet ours. The look changes nothing:
SQLite's own way of opening a file sets its journal mode, so a file is read as it lies.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from consoled.db.engine import in_memory, sqlite_path
from consoled.errors import ConfigError

NOVA_TABLES = frozenset({"block_device_mapping", "cell_mappings", "instance_extra"})
"""Of nova's cell databases and of its API database; nobody else's have them."""


def refuse_nova(engine: Engine) -> None:
    """Says nothing unless the database holds nova's own tables.

    :raises consoled.errors.ConfigError: it does.
    :raises sqlalchemy.exc.SQLAlchemyError: a server cannot be asked.
    """
    if found := sorted(_tables(engine) & NOVA_TABLES):
        raise ConfigError(
            f"[database] connection leads to a database of nova's (it has a table {found[0]}), "
            "where consoled never writes; give consoled a database of its own, and name nova's "
            "in [nova] connection"
        )


def refuse_readable_nova(engine: Engine) -> None:
    """As :func:`refuse_nova`; a database that cannot be read now is for the start to judge.

    :raises consoled.errors.ConfigError: it holds nova's own tables.
    """
    try:
        refuse_nova(engine)
    except (SQLAlchemyError, OSError):
        return
    finally:
        if not in_memory(engine):
            engine.dispose()


def _tables(engine: Engine) -> set[str]:
    path = sqlite_path(engine)
    if path is None:
        return set(inspect(engine).get_table_names())
    return _tables_of_file(path) if path.is_file() else set()


def _tables_of_file(path: Path) -> set[str]:
    """The tables of an SQLite file as it lies; none where opening it will say what is wrong."""
    uri = f"file:{quote(str(path))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {str(name) for (name,) in rows}
    except sqlite3.Error:
        return set()
