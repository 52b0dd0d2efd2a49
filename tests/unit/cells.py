"""A cell for tests: databases with the schema in place, instances, and plain outcomes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.model import Caller, Console, Instance, InstanceState
from consoled.workers import InlineWorker

T = TypeVar("T")

ALICE = Caller("alice", "demo")
PLACE = ("127.0.0.1", 10000)


def memory_database() -> CellDatabase:
    """A database that lives as long as the test."""
    engine = make_engine("sqlite://")
    with engine.connect() as connection:
        connection.connection.driver_connection.deserialize(_prepared())  # type: ignore[union-attr]  # sqlite3's
    return CellDatabase(engine, InlineWorker())


def file_database(path: Path) -> CellDatabase:
    """A database in a file, as the daemon has it."""
    if not path.exists():
        path.write_bytes(_prepared())
    return database(f"sqlite:///{path}")


def database(url: str) -> CellDatabase:
    """A database with the newest schema."""
    engine = make_engine(url)
    schema.prepare(engine)
    return CellDatabase(engine, InlineWorker())


@cache
def _prepared() -> bytes:
    """An empty database with the newest schema, made once: the migrations take a while."""
    engine = make_engine("sqlite://")
    schema.prepare(engine)
    with engine.connect() as connection:
        return bytes(connection.connection.driver_connection.serialize())  # type: ignore[union-attr]  # sqlite3's


def instance(number: int = 1, *, name: str = "web", place: tuple[str, int] = PLACE) -> Instance:
    """A running instance with one serial console at a place."""
    return Instance(
        uuid=f"2f9e1b6e-3c43-4f6e-9b0a-{number:012d}",
        name=name,
        project_id="demo",
        host="rack1",
        state=InstanceState.RUNNING,
        consoles=(Console(0, *place),),
    )


def outcome(deferred: Deferred[T]) -> T:
    """What a Deferred has come to: its result, or its error raised."""
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]  # type: ignore[return-value]  # a Failure was raised above
