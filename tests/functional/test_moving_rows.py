"""Tokens that follow their instance, in real databases: several move it at the same time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from databases import ALL, new_database
from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.db import moving, registration, schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import port_generations
from consoled.model import Caller, Console, Instance, InstanceState
from consoled.tokens.database import DatabaseAuthority
from consoled.workers import InlineWorker

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
ROUNDS = 15


def at(host: str, address: str, first: int) -> Instance:
    """The instance with two serial ports on a host."""
    consoles = (Console(0, address, first), Console(1, address, first + 1))
    return Instance(UUID, "web-1", "demo", host, InstanceState.RUNNING, consoles)


PLACES = [at("kvm1", "192.0.2.1", 10000), at("kvm2", "192.0.2.2", 20000)]


def outcome(deferred: Deferred[Any]) -> Any:
    """What has come of it."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


@pytest.mark.parametrize("kind", ALL)
def test_several_move_it_at_once(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """The look of the new host, a line that follows and a new token race, to and fro: the old
    tokens lead to the new place each time, and its generation grows once."""
    engine = make_engine(new_database(request.session, kind, tmp_path), None)
    schema.upgrade(engine)
    database = CellDatabase(engine, InlineWorker())
    authority = DatabaseAuthority(database, 600, "libvirt")
    caller = Caller("max", "demo")
    links = [
        outcome(authority.issue(PLACES[0], console, caller, "http://c/")).clear
        for console in PLACES[0].consoles
    ]
    errors: list[Exception] = []

    def race(barrier: Barrier, change: Any) -> None:
        barrier.wait()
        try:
            outcome(change())
        except Exception as error:  # shown by the test
            errors.append(error)

    # As three replicas: each has a database of its own over the same server.
    looks, follows, asks = (CellDatabase(engine, InlineWorker()) for _ in range(3))
    issuing = DatabaseAuthority(asks, 600, "libvirt")
    for number in range(1, ROUNDS + 1):
        there = PLACES[number % 2]
        first, second = there.consoles
        changes = [
            partial(looks.run, moving.settle_all, [there], "libvirt"),
            partial(follows.run, registration.record, there, second, second.port, "libvirt"),
            partial(issuing.issue, there, first, caller, "http://c/"),
        ]
        barrier = Barrier(len(changes))
        threads = [Thread(target=race, args=(barrier, change)) for change in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        tokens = [outcome(authority.validate(link)) for link in links]
        assert [(token.host, token.port) for token in tokens] == [
            (console.host, console.port) for console in there.consoles
        ]
    with engine.connect() as connection:
        most = connection.scalar(select(func.max(port_generations.c.generation)))
    assert most == ROUNDS // 2 + 1
    for one in (database, looks, follows, asks):
        one.stop()
    engine.dispose()
