"""The schema on real SQLite, PostgreSQL and MariaDB, and the lab's servers themselves."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import ALL, REPLICATED, SERVERS, new_database
from sqlalchemy import Engine, create_engine, delete, func, insert, inspect, text
from sqlalchemy import select as query

from consoled.db import kept_tokens, schema, tables
from consoled.db.engine import make_engine
from tools.lab.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of the kind that the test names."""
    made = make_engine(new_database(request.session, request.param, tmp_path), None)
    yield made
    made.dispose()


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_the_upgraded_schema_is_the_metadata(engine: Engine) -> None:
    """Tables, types, keys and indexes are what consoled.db.tables says, on each database."""
    schema.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": schema.VERSION_TABLE, "compare_type": True},
        )
        assert compare_metadata(context, tables.metadata) == []
    schema.upgrade(engine)
    schema.check(engine)


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_names_are_the_metadata_s(
    engine: Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Constraints and cascades have the names and options that create_all would give them."""
    schema.upgrade(engine)
    kind = "sqlite" if engine.dialect.name == "sqlite" else _kind(engine)
    (tmp_path / "made").mkdir()
    made = create_engine(new_database(request.session, kind, tmp_path / "made"))
    tables.metadata.create_all(made)
    assert _keys(engine) == _keys(made)
    made.dispose()


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_kept_tokens(engine: Engine) -> None:
    """Each database keeps one for an operation, whose name may be as long as the column, and
    ends those whose time is over by its own clock."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for name, seconds in (("x" * 255, 60), ("Archive:1", 60), ("archive:1", 60), ("old", -1)):
            kept_tokens.keep(connection, name, "é" * 4000, seconds)
        kept_tokens.keep(connection, "archive:1", "again", 60)
        assert kept_tokens.find(connection, "archive:1") == "again"
        assert kept_tokens.find(connection, "x" * 255) == "é" * 4000
        assert kept_tokens.find(connection, "old") is None
        assert [kept_tokens.delete_expired(connection, 10) for _ in range(2)] == [1, 0]
        kept_tokens.forget_all(connection, "archive:")
        kept_tokens.forget(connection, "x" * 255)
        assert kept_tokens.find(connection, "archive:1") is None
        assert kept_tokens.find(connection, "x" * 255) is None


def _kind(engine: Engine) -> str:
    return "postgresql" if engine.dialect.name == "postgresql" else "mariadb"


def _keys(engine: Engine) -> list[object]:
    inspector = inspect(engine)
    return [
        (
            table,
            inspector.get_pk_constraint(table),
            sorted(map(str, inspector.get_foreign_keys(table))),
            sorted(map(str, inspector.get_unique_constraints(table))),
            sorted(map(str, inspector.get_indexes(table))),
        )
        for table in sorted(tables.metadata.tables)
    ]


def _upgrade_to(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_revision_0002_keeps_what_was_there(engine: Engine) -> None:
    """Consoles and tokens stay, and each console gets its lease row, free at epoch 0."""
    _upgrade_to(engine, "0001")
    instance = {
        "uuid": WEB,
        "project_id": "demo",
        "name": "wéb 🖥",
        "host": "rack1",
        "driver": "static",
        "state": "running",
        "metadata": {"a": "b"},
    }
    console = {"instance_uuid": WEB, "console_type": "serial", "host": "h", "options": {}}
    consoles = [
        {**console, "port_index": 0, "port": 10000, "generation": 3},
        {**console, "port_index": 1, "port": None, "generation": 1},
    ]
    token = {
        "token_hash": "0" * 64,
        "console_type": "serial",
        "instance_uuid": WEB,
        "console_index": 0,
        "host": "h",
        "port": 10000,
        "generation": 3,
        "access_url": "http://x/",
        "options": {},
        "expires": 1,
        "created_at": 0,
    }
    with engine.begin() as connection:
        connection.execute(insert(tables.instances), instance)
        connection.execute(insert(tables.console_ports), consoles)
        connection.execute(insert(tables.console_auth_tokens), token)
    schema.upgrade(engine)
    leases = tables.console_leases
    with engine.connect() as connection:
        (kept,) = connection.execute(query(tables.instances)).mappings()
        assert dict(kept) == instance
        ports = connection.execute(query(tables.console_ports).order_by("port_index")).mappings()
        # Revision 0009: the generation of a console without a place is nobody's.
        consoles[1]["generation"] = 0
        assert [dict(row) for row in ports] == consoles
        assert connection.scalar(query(tables.console_auth_tokens.c.token_hash)) == "0" * 64
        rows = connection.execute(query(leases).order_by("port_index")).mappings()
        assert [
            (row["instance_uuid"], row["console_type"], row["port_index"], row["epoch"])
            for row in rows
        ] == [(WEB, "serial", 0, 0), (WEB, "serial", 1, 0)]
        held = query(func.count()).select_from(leases).where(leases.c.replica_id.is_not(None))
        assert connection.scalar(held) == 0
    with engine.begin() as connection:
        connection.execute(delete(tables.instances))
        for table in (tables.console_ports, tables.console_auth_tokens, leases):
            assert connection.scalar(query(func.count()).select_from(table)) == 0


@pytest.mark.parametrize("name", REPLICATED)
def test_a_server_is_started_again_with_its_data(name: str, short_folder: Path) -> None:
    """Stopped while somebody is connected, it ends; what was written is there afterwards."""
    server = SERVERS[name](short_folder).start()
    try:
        engine = create_engine(server.database(), pool_pre_ping=True)
        connection = engine.connect()
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (7)"))
        connection.commit()
        server.stop()
        server.start()
        connection.close()
        with engine.connect() as again:
            assert again.scalar(text("SELECT x FROM t")) == 7
        engine.dispose()
    finally:
        server.stop()


PARENT = """
import sys
from pathlib import Path
from tools.lab import databases
server = getattr(databases, sys.argv[1])(Path(sys.argv[2])).start()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", REPLICATED)
def test_a_server_does_not_outlive_its_parent(name: str, short_folder: Path) -> None:
    """When whoever started it is killed outright, it ends all the same."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, SERVERS[name].__name__, short_folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        ended = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    assert select.select([ended], [], [], 60)[0], "the server outlived its parent"
    os.close(ended)


@pytest.mark.parametrize("name", REPLICATED)
def test_a_server_that_cannot_start(name: str, short_folder: Path) -> None:
    """It ends at its start with the end of its log, and leaves nothing running."""
    server = SERVERS[name](short_folder, ["--no-such-option=1"])
    with pytest.raises(LabError, match=rf"(?s){name} ended at its start.*no.such.option"):
        server.start()
    with pytest.raises(LabError, match="is not running"):
        _ = server.process


@pytest.mark.parametrize("name", REPLICATED)
def test_too_long_a_folder(name: str, tmp_path: Path) -> None:
    """A folder whose socket path would not fit is refused with advice."""
    with pytest.raises(LabError, match="too long a path for sockets"):
        SERVERS[name](tmp_path / ("x" * 100)).start()
