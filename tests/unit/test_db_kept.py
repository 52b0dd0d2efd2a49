"""consoled.db.kept: connections that stay at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import define, field
from sqlalchemy import Engine, QueuePool, text

from consoled.db.engine import for_reading, make_engine
from consoled.db.kept import QUIET, KeptConnections


@define
class Kept:
    """The connections of a database file, and the time."""

    engine: Engine
    now: float = 0.0
    connections: KeptConnections = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connections = KeptConnections(self.engine, lambda: self.now)

    @property
    def out(self) -> int:
        """How many connections are not in the pool."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        return pool.checkedout()

    def used(self) -> int:
        """Which connection a transaction got."""
        with self.connections.transaction() as connection:
            return id(connection)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Connections that nobody has used."""
    return Kept(for_reading(make_engine(f"sqlite:///{tmp_path}/cell.sqlite")))


def test_the_next_transaction_has_it_again(kept: Kept) -> None:
    """One transaction right after another uses the same connection, which the pool does not see."""
    first = kept.used()
    kept.now += QUIET / 2
    assert kept.used() == first
    assert kept.out == 1
    kept.connections.close()
    assert kept.out == 0


def test_at_once_each_has_its_own(kept: Kept) -> None:
    """Two transactions at a time do not share one."""
    with kept.connections.transaction() as one, kept.connections.transaction() as other:
        assert one is not other
    assert kept.out == 2
    kept.connections.close()


def test_quiet_ones_go_back(kept: Kept) -> None:
    """What nobody has used for a while goes through the pool, which looks whether it lives."""
    with kept.connections.transaction(), kept.connections.transaction():
        pass
    kept.now += QUIET
    kept.used()
    assert kept.out == 1
    kept.connections.close()


def test_a_failure_keeps_none(tmp_path: Path) -> None:
    """After an error nothing is written, and every connection is looked at anew."""
    kept = Kept(make_engine(f"sqlite:///{tmp_path}/cell.sqlite"))
    with kept.connections.transaction() as connection:
        connection.execute(text("CREATE TABLE words (word TEXT)"))
    with pytest.raises(RuntimeError), kept.connections.transaction() as connection:
        connection.execute(text("INSERT INTO words VALUES ('half')"))
        raise RuntimeError
    assert kept.out == 0
    with kept.connections.transaction() as connection:
        assert connection.scalar(text("SELECT count(*) FROM words")) == 0
    kept.connections.close()
