"""The migrations and consoled.db.schema."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from consoled.db import schema
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import ConfigError


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(f"sqlite:///{tmp_path}/cell.sqlite")


def test_the_upgraded_schema_is_the_metadata(engine: Engine) -> None:
    """The migrations and consoled.db.tables say the same: tables, types, keys, indexes."""
    schema.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_names_and_keys_are_the_metadata_s(engine: Engine, tmp_path: Path) -> None:
    """Also what the comparison does not look at: constraint names, cascades, primary keys."""
    schema.upgrade(engine)
    made = make_engine(f"sqlite:///{tmp_path}/made.sqlite")
    metadata.create_all(made)
    assert _keys(engine) == _keys(made)
    engine.dispose()
    made.dispose()


def _keys(engine: Engine) -> list[object]:
    inspector = inspect(engine)
    return [
        (
            table,
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
            sorted(inspector.get_indexes(table), key=lambda index: str(index["name"])),
        )
        for table in sorted(metadata.tables)
    ]


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    """The second upgrade finds the newest revision and leaves the data alone."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO port_generations VALUES ('h', 1, 7)"))
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT generation FROM port_generations")) == 7
    assert schema.current(engine) == schema.head()
    engine.dispose()


def test_the_first_start_makes_the_schema(engine: Engine) -> None:
    """An empty SQLite database needs no command; check alone creates nothing."""
    with pytest.raises(ConfigError, match="run: consolectl --config FILE db upgrade"):
        schema.check(engine)
    path = Path(str(engine.url.database))
    assert not path.exists()
    schema.prepare(engine)
    schema.check(engine)
    assert path.exists()


def test_memory_keeps_its_schema() -> None:
    """The check closes connections, but not the one that is the whole database."""
    engine = make_engine("sqlite://")
    schema.prepare(engine)
    assert schema.current(engine) == schema.head()


def test_no_connection_stays_open(engine: Engine) -> None:
    """twistd forks after the check."""
    schema.prepare(engine)
    assert engine.pool.status().startswith("Pool size: 5  Connections in pool: 0")


def test_an_older_schema_names_the_command(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon after an update does not touch the data; it says what to run."""
    schema.upgrade(engine)
    said = f"has revision {schema.head()}, consoled needs next.*db upgrade"
    monkeypatch.setattr(schema, "head", lambda: "next")
    with pytest.raises(ConfigError, match=said):
        schema.prepare(engine)


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    """An older consoled leaves a newer one's database alone, at start and at upgrade."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    for step in (schema.check, schema.prepare, schema.upgrade):
        with pytest.raises(ConfigError, match="revision 9999, which a newer consoled made"):
            step(engine)


def test_somebody_else_s_tables_are_refused(engine: Engine) -> None:
    """nova's cell database has tables of the same names; consoled does not move in."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE instances (id INTEGER PRIMARY KEY)"))
    for step in (schema.prepare, schema.upgrade):
        with pytest.raises(ConfigError, match=r"did not make \(instances\); give consoled"):
            step(engine)


def test_a_failed_upgrade_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half way is rolled back whole."""

    def fail_after_upgrade(*_: object) -> None:
        real(*_)  # type: ignore[arg-type]  # the arguments of alembic's own function
        raise OSError(28, "No space left on device")

    real = schema.command.upgrade
    monkeypatch.setattr(schema.command, "upgrade", fail_after_upgrade)
    with pytest.raises(ConfigError, match="No space left on device"):
        schema.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sqlite_master")) == 0
    engine.dispose()


def _a_folder(path: Path) -> None:
    path.mkdir()


def _under_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)


def _cut_short(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    path.write_bytes(path.read_bytes()[:150])


@pytest.mark.parametrize("spoil", [_a_folder, _under_a_file, _not_a_database, _cut_short])
def test_a_database_that_cannot_be_used_is_one_line(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """The operator reads which file and why, whatever is wrong with it."""
    path = tmp_path / "state" / "cell.sqlite"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(ConfigError) as caught:
        schema.prepare(make_engine(f"sqlite:///{path}"))
    said = str(caught.value)
    assert said.startswith(f"cannot use the database {path}: ")
    assert "\n" not in said


def test_logging_stays_as_it_was(engine: Engine) -> None:
    """alembic neither adds handlers nor changes levels."""
    names = ("", "alembic", "alembic.runtime.migration", "sqlalchemy", "sqlalchemy.engine")

    def state() -> list[tuple[int, int, bool]]:
        loggers = [logging.getLogger(name or None) for name in names]
        return [(one.level, len(one.handlers), one.disabled) for one in loggers]

    before = state()
    schema.upgrade(engine)
    assert state() == before
