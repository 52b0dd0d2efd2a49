"""The rows of observers in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import ALL, new_database
from sqlalchemy import Engine

from consoled.db import instances, leases, observers, ports, replicas, schema
from consoled.db.engine import make_engine
from consoled.leasing.values import Claim, ConsoleKey, Holder, Watcher
from consoled.model import Console, Instance, InstanceState

WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"
MINE = Claim(ConsoleKey(WEB, 0), "a", "writer", 1)
NOA = Watcher("w1", Holder("noa", "demo"), lingers=False)
EVA = Watcher("w2", Holder("eva", None), lingers=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of the kind that the test names, with a console that replica a holds."""
    made = make_engine(new_database(request.session, request.param, tmp_path), None)
    schema.upgrade(made)
    console = Console(0, "192.0.2.1", 10000)
    web = Instance(WEB, "web", "demo", "rack1", InstanceState.RUNNING, (console,))
    with made.begin() as connection:
        instances.upsert(connection, web, "static")
        ports.claim(connection, WEB, console, 10000)
        replicas.register(connection, "a", "lab", "http://a/")
        assert leases.take(connection, MINE, None, Holder("mia", "demo"))
    yield made
    made.dispose()


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_observers_come_and_go(engine: Engine) -> None:
    """Noted, listed, asked to end, replaced, and gone with their instance, on each database."""
    with engine.begin() as connection:
        observers.note(connection, MINE, [NOA, EVA])
    with engine.begin() as connection:
        found = {row.session_id: row for row in observers.company(connection)}
        assert {name: row.role for name, row in found.items()} == {
            "writer": "writer",
            "w1": "observer",
            "w2": "observer",
        }
        assert (found["w1"].lingers, found["w2"].lingers) == (False, True)
        assert found["w1"].since is not None
        asked = observers.want(connection, "ada", "out", session_id="w2")
        assert [row.session_id for row in asked] == ["w2"]
    with engine.begin() as connection:
        assert [row.session_id for row in observers.news(connection, "a").wanted] == ["w2"]
        observers.note(connection, MINE, [EVA, Watcher("w3", Holder(), lingers=False)])
    with engine.begin() as connection:
        names = {row.session_id for row in observers.watching(connection, instance_uuid=WEB)}
        assert names == {"w2", "w3"}
        # What was asked of one who stays is not forgotten.
        assert [row.wanted for row in observers.news(connection, "a").wanted] == ["out"]
        observers.note(connection, MINE, [])
        assert observers.watching(connection) == []
        observers.note(connection, MINE, [NOA])
        instances.remove(connection, WEB)
    with engine.begin() as connection:
        assert observers.company(connection) == []
