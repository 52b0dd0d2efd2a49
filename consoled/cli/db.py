"""``consolectl db``: the schema of the cell database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.output import printable, say

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.group()
def db() -> None:
    """The schema of the cell database; needs --config."""


@db.command()
@format_option
@pass_invocation
def upgrade(invocation: Invocation) -> None:
    """Bring the schema to this version's revision.

    Without effect where it is there. A failed upgrade of SQLite or PostgreSQL leaves the old
    schema.
    """
    from consoled.db import schema

    with _engine(invocation) as engine:
        place, needed, was = _place(engine), schema.head(), schema.current(engine)
        if not invocation.wants_json and was != needed:
            say(f"{place}: upgrading to revision {needed} ... ", end="")
        try:
            schema.upgrade(engine)
        except BaseException:
            if not invocation.wants_json and was != needed:
                say("failed")
            raise
    old = "no schema" if was is None else f"revision {was}"
    done = f"{place}: already at revision {needed}" if was == needed else f"done (it had {old})"
    invocation.show({"database": place, "revision": needed, "was": was}, done)


@db.command()
@format_option
@pass_invocation
def current(invocation: Invocation) -> None:
    """Print the revision of the schema, and the one that this version needs."""
    from consoled.db import schema

    with _engine(invocation) as engine:
        place, needed, found = _place(engine), schema.head(), schema.current(engine)
    has = "no schema" if found is None else f"revision {found}"
    invocation.show(
        {"database": place, "revision": found, "needed": needed},
        f"{place}: {has}; this version of consoled needs {needed}",
    )


@db.command()
@format_option
@pass_invocation
def check(invocation: Invocation) -> None:
    """Exit with 1 unless the schema is the one that this version needs."""
    from consoled.db import schema

    with _engine(invocation) as engine:
        schema.check(engine)
        place, needed = _place(engine), schema.head()
    invocation.show(
        {"database": place, "revision": needed, "needed": needed},
        f"{place}: revision {needed}, as this version of consoled needs it",
    )


@contextmanager
def _engine(invocation: Invocation) -> Iterator[Engine]:
    # Late: it takes longer to import than other commands take to run.
    from consoled.db.engine import make_engine

    engine = make_engine(invocation.settings().database.connection, None)
    try:
        yield engine
    finally:
        engine.dispose()


def _place(engine: Engine) -> str:
    """The database for people: no password, and no query, which may hold one."""
    from consoled.db.engine import sqlite_path

    path = sqlite_path(engine)
    url = engine.url.set(query={})
    return printable(str(path) if path else url.render_as_string(hide_password=True))
