"""consoled.reaper: the expiry loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
from attrs import define, field
from cells import PLACE, instance, memory_database, outcome
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from consoled.db import instances, ports, tables, tokens
from consoled.db.database import CellDatabase
from consoled.errors import Unavailable
from consoled.interfaces import Database
from consoled.model import ConsoleAuthToken, hash_token
from consoled.reaper import Reaper

T = TypeVar("T")


def fill(connection: Connection, host: str, expired: int, valid: int) -> None:
    instances.upsert(connection, instance(), "static")
    ports.claim(connection, instance().uuid, instance().consoles[0], PLACE[1])
    for number in range(expired + valid):
        ttl = -100 if number < expired else 600
        name = f"{host}-{number}"
        token = ConsoleAuthToken(hash_token(name), instance().uuid, 0, host, 1, 1, name, 0)
        tokens.add(connection, token, ttl)


def left(cell: CellDatabase) -> list[str]:
    """The names of the tokens that are there; they stand in the place of URLs."""
    statement = select(tables.console_auth_tokens.c.access_url).order_by("access_url")
    return outcome(cell.read(lambda connection: list(connection.scalars(statement))))


@define
class Faulty:
    """A database that fails, or answers late, as the test wants."""

    cell: CellDatabase
    fault: Exception | None = None
    held: Deferred[None] | None = None
    calls: list[str] = field(factory=list)

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """Fails, waits or works."""
        self.calls.append(fn.__name__)
        if self.fault is not None:
            return fail(self.fault)
        if self.held is not None:
            return self.held.addCallback(lambda _: self.cell.run(fn, *args))
        return self.cell.run(fn, *args)


def reaper(
    database: Database, clock: Clock, hosts: Callable[[], Iterable[str]] = lambda: ["h1"]
) -> Reaper:
    return Reaper(
        database, lambda: execute(hosts), clock, interval=60, batch=2, pause=0.5, jitter=lambda: 0.5
    )


def test_it_deletes_in_batches_with_pauses() -> None:
    """A batch at a time, a pause between, and what is valid stays."""
    cell, clock = memory_database(), Clock()
    outcome(cell.run(fill, "h1", 5, 1))
    service = reaper(cell, clock)
    service.startService()
    clock.advance(29)
    assert len(left(cell)) == 6, "the first round waits for the jitter"
    sizes = []
    for step in (1, 0.5, 0.5):
        clock.advance(step)
        sizes.append(len(left(cell)))
    assert sizes == [4, 2, 1]
    assert left(cell) == ["h1-5"]
    service.stopService()
    assert clock.getDelayedCalls() == []


def test_hosts_that_nobody_serves_come_in_turn() -> None:
    """Each round cleans one stranger besides the served hosts, and all in the end."""
    cell, clock = memory_database(), Clock()
    for host in ("gone-a", "gone-b", "h1"):
        outcome(cell.run(fill, host, 1, 1))
    service = reaper(cell, clock)
    service.startService()
    clock.advance(30)
    assert left(cell) == ["gone-a-1", "gone-b-0", "gone-b-1", "h1-1"]
    clock.advance(60)
    assert left(cell) == ["gone-a-1", "gone-b-1", "h1-1"]
    for _ in range(3):
        outcome(cell.run(fill, f"gone-{len(left(cell))}", 1, 0))
        clock.pump([60, 60, 60, 60])
    assert left(cell) == ["gone-a-1", "gone-b-1", "h1-1"]
    service.stopService()


def _no_hosts() -> list[str]:
    raise RuntimeError("a mistake")


@pytest.mark.parametrize(
    ("fault", "hosts", "said"),
    [
        (Unavailable("The database is away."), lambda: ["h1"], "stay until the next round"),
        (RuntimeError("a mistake"), lambda: ["h1"], "failed; the next round tries again"),
        (None, _no_hosts, "failed; the next round tries again"),
    ],
)
def test_a_failure_does_not_end_the_loop(
    fault: Exception | None, hosts: Callable[[], Iterable[str]], said: str
) -> None:
    """It is logged, and the next round works again."""
    cell, clock = memory_database(), Clock()
    outcome(cell.run(fill, "h1", 1, 0))
    database = Faulty(cell, fault)
    service = reaper(database, clock, hosts)
    service.startService()
    with capturedLogs() as logs:
        clock.advance(30)
    assert [said in log["log_format"] for log in logs] == [True]
    database.fault, service.hosts = None, lambda: succeed(["h1"])
    clock.advance(60)
    assert left(cell) == []
    service.stopService()


def test_stopping_waits_for_the_batch_that_runs() -> None:
    """The Deferred of stopService fires when the database was let go, and no batch follows."""
    cell, clock = memory_database(), Clock()
    outcome(cell.run(fill, "h1", 5, 0))
    held: Deferred[None] = Deferred()
    database = Faulty(cell, held=held)
    service = reaper(database, clock)
    service.startService()
    clock.advance(30)
    ended = service.stopService()
    assert ended is not None
    assert not ended.called
    held.callback(None)
    assert ended.called
    assert database.calls == ["delete_expired"]
    assert clock.getDelayedCalls() == []


def test_stopping_in_a_pause_is_at_once() -> None:
    """Between batches nothing runs, so nothing is waited for, and nothing is logged."""
    cell, clock = memory_database(), Clock()
    outcome(cell.run(fill, "h1", 5, 0))
    service = reaper(cell, clock)
    service.startService()
    with capturedLogs() as logs:
        clock.advance(30)
        ended = service.stopService()
    assert ended is not None
    assert ended.called
    assert logs == []
    assert clock.getDelayedCalls() == []


def test_stopping_before_the_first_round() -> None:
    """The pending start is cancelled."""
    clock = Clock()
    service = reaper(memory_database(), clock)
    service.startService()
    assert service.stopService() is None
    assert clock.getDelayedCalls() == []
