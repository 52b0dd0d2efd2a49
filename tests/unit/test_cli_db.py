"""``consolectl db`` on SQLite files."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli_client import run
from click.testing import Result

from consoled.db import foreign, schema

Db = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cell.sqlite"


@pytest.fixture
def db(tmp_path: Path, file: Path) -> Db:
    """Runs ``consolectl --config ... db WORDS``."""
    config = tmp_path / "consoled.conf"
    config.write_text(f"[database]\nconnection = sqlite:///{file}\n")
    return lambda *words: run(["--config", str(config), "db", *words])


def set_revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{revision}'")
        connection.commit()


def test_empty(db: Db, file: Path) -> None:
    """Where there is no database, current says so, check fails with the command, none is made."""
    assert db("current").stdout == (
        f"{file}: no schema; this version of consoled needs {schema.head()}\n"
    )
    result = db("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "consolectl: the database has no schema yet; run: consolectl --config FILE db upgrade\n"
    )
    assert not file.exists()


def test_upgrade(db: Db, file: Path) -> None:
    """An upgrade says in one line what it did; then check and a second one have nothing to do."""
    result = db("upgrade")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{file}: upgrading to revision {schema.head()} ... done (it had no schema)\n"
    )
    assert db("upgrade").stdout == f"{file}: already at revision {schema.head()}\n"
    result = db("check")
    assert result.exit_code == 0
    assert (
        result.stdout == f"{file}: revision {schema.head()}, as this version of consoled needs it\n"
    )
    assert f"revision {schema.head()}" in db("current").stdout


def test_upgrade_of_an_older_schema(db: Db, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of an upgrade says which revision there was."""
    monkeypatch.setattr(schema, "current", lambda _: "0000")
    assert db("upgrade").stdout == (
        f"{file}: upgrading to revision {schema.head()} ... done (it had revision 0000)\n"
    )


def test_newer(db: Db, file: Path) -> None:
    """A newer consoled's database is shown by current, and refused by check and upgrade."""
    db("upgrade")
    set_revision(file, "9999")
    assert f"{file}: revision 9999; " in db("current").stdout
    for word in ("check", "upgrade"):
        result = db(word)
        assert result.exit_code == 1
        assert "which a newer consoled made" in result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith("consolectl: ")


def test_json(db: Db, file: Path) -> None:
    """Scripts get the revisions by name."""
    place = str(file)
    head = schema.head()
    before = json.loads(db("current", "--format", "json").stdout)
    assert before == {"database": place, "revision": None, "needed": head}
    done = json.loads(db("upgrade", "--format", "json").stdout)
    assert done == {"database": place, "revision": head, "was": None}
    checked = json.loads(db("check", "--format", "json").stdout)
    assert checked == {"database": place, "revision": head, "needed": head}


def test_somebody_else_s_tables(db: Db, file: Path) -> None:
    """A database with tables of the same names is left alone."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE instances (x)")
        connection.commit()
    for word in ("upgrade", "check", "current"):
        result = db(word)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "give consoled a database of its own" in result.stderr


@pytest.mark.parametrize("table", sorted(foreign.NOVA_TABLES))
def test_nova_s_tables(db: Db, file: Path, table: str) -> None:
    """One of nova's databases is named as such, and not a byte of it changes."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE {table} (x)")
        connection.commit()
    before = file.read_bytes()
    for word in ("upgrade", "check", "current"):
        result = db(word)
        assert (result.exit_code, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith("consolectl: [database] connection leads to a database of nova's")
    assert file.read_bytes() == before
    assert [path for path in file.parent.iterdir() if path.name.startswith(file.name)] == [file]


def test_upgrade_that_fails(db: Db, file: Path) -> None:
    """The line that was begun says so, and the error follows."""
    db("upgrade")
    set_revision(file, "9999")
    result = db("upgrade")
    assert result.stdout.endswith(" ... failed\n")


def test_database_that_cannot_be_reached(tmp_path: Path) -> None:
    """A server that is away is one line, without its password."""
    config = tmp_path / "consoled.conf"
    url = "postgresql+psycopg://user:s3cret@127.0.0.1:1/cell?application_name=s3cret"
    config.write_text(f"[database]\nconnection = {url}\n")
    for word in ("upgrade", "current", "check"):
        result = run(["--config", str(config), "db", word])
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert "s3cret" not in result.stdout


def test_configuration_from_the_environment(tmp_path: Path, file: Path) -> None:
    """CONSOLED_CONFIG holds files between colons, of which a later one wins."""
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/first.sqlite\n")
    second.write_text(f"[database]\nconnection = sqlite:///{file}\n")
    env = {"CONSOLED_CONFIG": os.pathsep.join([str(first), str(second), ""])}
    assert run(["db", "current"], env=env).stdout.startswith(f"{file}: no schema")
