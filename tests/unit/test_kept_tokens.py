"""consoled.openstack.keeping: users' tokens that operations must outlive."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest
from cells import memory_database, outcome
from sqlalchemy import Connection, select, update
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from consoled.db import tables
from consoled.db.database import CellDatabase
from consoled.errors import ConfigError
from consoled.openstack.keeping import TokenKeeper
from consoled.openstack.parts import OpenStackParts, check
from consoled.openstack.values import UserToken
from consoled.reaper import Reaper
from consoled.settings import ServiceUser, Settings

MIA = UserToken("mias-token", "demo", "mia")
ZOE = UserToken("zoes-token", None, None)


def new_key() -> str:
    """A line of the file."""
    return base64.b64encode(secrets.token_bytes(32)).decode() + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """``token_secret_file`` with one key."""
    path = tmp_path / "tokens.key"
    path.touch(0o600)
    path.write_text(new_key())
    return path


def keeper(cell: CellDatabase, file: Path) -> TokenKeeper:
    """As the daemon makes it."""
    made = OpenStackParts.of(settings(file), Clock(), cell)
    assert made.calls is None
    assert made.keeper is not None
    return made.keeper


def settings(file: Path | None) -> Settings:
    """With that file, and without Keystone."""
    return Settings("cell1", service_user=ServiceUser(token_secret_file=file))


def rows(connection: Connection) -> list[str]:
    """Everything in the table, as text."""
    return [str(tuple(row)) for row in connection.execute(select(tables.kept_tokens))]


def test_kept_for_one_operation(file: Path) -> None:
    """What is found is what was kept last, until it is forgotten."""
    cell = memory_database()
    kept = keeper(cell, file)
    assert outcome(kept.find("archive:1")) is None
    outcome(kept.keep("archive:1", ZOE, 60))
    outcome(kept.keep("archive:1", MIA, 60))
    outcome(kept.keep("archive:2", ZOE, 60))
    assert outcome(kept.find("archive:1")) == MIA
    assert outcome(kept.find("archive:2")) == ZOE
    outcome(kept.forget("archive:1"))
    outcome(kept.forget("archive:1"))
    assert outcome(kept.find("archive:1")) is None
    assert outcome(kept.find("archive:2")) == ZOE


def test_never_in_clear(file: Path) -> None:
    """The database has nothing of the token; who is asked for is encrypted, too."""
    cell = memory_database()
    outcome(keeper(cell, file).keep("archive:1", MIA, 60))
    [row] = outcome(cell.read(rows))
    assert "archive:1" in row
    assert not any(word in row for word in ("mias-token", "demo", "mia"))


def test_a_row_of_another_operation(file: Path) -> None:
    """Whoever can write the database cannot give one operation's token to another."""
    cell = memory_database()
    kept = keeper(cell, file)
    outcome(kept.keep("archive:1", MIA, 60))
    outcome(cell.run(lambda c: c.execute(update(tables.kept_tokens).values(operation="mine"))))
    assert outcome(kept.find("mine")) is None


def test_new_keys(file: Path) -> None:
    """A new line before the old one encrypts; what the old one encrypted can still be read."""
    cell = memory_database()
    outcome(keeper(cell, file).keep("old", MIA, 60))
    before = file.read_text()
    file.write_text(new_key() + before)
    outcome(keeper(cell, file).keep("new", ZOE, 60))
    assert outcome(keeper(cell, file).find("old")) == MIA
    file.write_text(file.read_text().splitlines()[0])
    alone = keeper(cell, file)
    assert outcome(alone.find("new")) == ZOE
    with pytest.raises(ConfigError, match=r"not in \[service_user\] token_secret_file") as caught:
        outcome(alone.find("old"))
    assert "mias-token" not in str(caught.value)
    assert len(outcome(cell.read(rows))) == 2


def test_ends(file: Path) -> None:
    """A token whose time is over is not found, and the reaper deletes it, batch by batch."""
    cell, clock = memory_database(), Clock()
    kept = keeper(cell, file)
    outcome(kept.keep("archive:0", MIA, 60))
    for number in range(1, 6):
        outcome(kept.keep(f"archive:{number}", MIA, -1))
    assert outcome(kept.find("archive:1")) is None
    hosts: list[str] = []
    reaper = Reaper(
        cell,
        lambda: succeed(hosts),
        clock,
        batch=2,
        pause=0.5,
        jitter=lambda: 0.0,
        further=[kept.reap],
    )
    reaper.startService()
    sizes = []
    for step in (0, 0.5, 0.5):
        clock.advance(step)
        sizes.append(len(outcome(cell.read(rows))))
    reaper.stopService()
    assert sizes == [4, 2, 1]
    assert outcome(kept.find("archive:0")) == MIA


def test_all_of_a_kind(file: Path) -> None:
    """Operations whose names begin alike end together; what looks like a pattern is none."""
    cell = memory_database()
    kept = keeper(cell, file)
    for name in ("migration:a:1", "migration:a:2", "migration:b:1", "migration%"):
        outcome(kept.keep(name, MIA, 60))
    outcome(kept.forget_all("migration:a:"))
    outcome(kept.forget_all("migration%"))
    left = outcome(cell.read(lambda c: list(c.scalars(select(tables.kept_tokens.c.operation)))))
    assert left == ["migration:b:1"]


def test_a_long_token(file: Path) -> None:
    """Tokens are longer with some of Keystone's providers; the column has room for them."""
    cell = memory_database()
    kept = keeper(cell, file)
    outcome(kept.keep("x" * 255, UserToken("t" * 8000, "demo", "mia"), 60))
    found = outcome(kept.find("x" * 255))
    assert found is not None
    assert len(found.value) == 8000


def test_files_that_cannot_be_used(file: Path) -> None:
    """A start, and --check-config, refuse them by the option's name."""
    check(settings(None))
    check(settings(file))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"^\[service_user\] token_secret_file .* run chmod 600"):
        check(settings(file))


def test_no_file(file: Path) -> None:
    """Without the option nothing is kept."""
    assert OpenStackParts.of(settings(None), Clock(), memory_database()).keeper is None
