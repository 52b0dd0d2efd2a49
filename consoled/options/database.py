"""The form of a database URL; whether its driver is there is for consoled.db.engine to say."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_BACKENDS = ("sqlite", "postgresql", "mysql", "mariadb")


def check_url(text: str) -> str:
    """The URL, a relative SQLite path made absolute.

    :raises ValueError: why it cannot be used; it repeats no part of the URL.
    """
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise ValueError(
            "is not a SQLAlchemy URL; give one such as sqlite:////var/lib/consoled/consoled.sqlite"
            " or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        ) from None
    if backend not in _BACKENDS:
        raise ValueError(f"does not start with the name of a database: {', '.join(_BACKENDS)}")
    name = url.database
    if backend != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return text
    absolute = url.set(database=os.path.abspath(name))  # noqa: PTH100 - resolve() follows links
    return absolute.render_as_string(hide_password=False)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
