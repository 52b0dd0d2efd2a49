"""consoled.db.instances, ports and tokens: what the rows come to."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from cells import PLACE, file_database, instance, memory_database, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect

from consoled.db import instances, ports, tables, tokens
from consoled.db.clock import epoch_seconds
from consoled.db.database import CellDatabase
from consoled.model import Console, ConsoleAuthToken, hash_token


def claim(cell: CellDatabase, number: int, place: tuple[str, int], index: int = 0) -> int:
    def both(connection: Connection) -> int:
        instances.upsert(connection, instance(number), "static")
        console = Console(index, *place)
        return ports.claim(connection, instance(number).uuid, console, place[1])

    return outcome(cell.run(both))


def rows(cell: CellDatabase, table: str) -> int:
    statement = select(func.count()).select_from(tables.metadata.tables[table])
    return outcome(cell.read(lambda connection: connection.scalar(statement)))


def add_token(connection: Connection, name: str, number: int, ttl: int, host: str) -> None:
    """Its name stands in the place of its URL."""
    token = ConsoleAuthToken(hash_token(name), instance(number).uuid, 0, host, 1, 1, name, 0)
    tokens.add(connection, token, ttl)


def test_a_generation_grows_with_each_new_owner() -> None:
    """A place keeps its generation while a console stays, and grows when another comes."""
    cell = memory_database()
    assert [claim(cell, 1, PLACE), claim(cell, 1, PLACE)] == [1, 1]
    assert [claim(cell, 2, PLACE), claim(cell, 2, PLACE)] == [2, 2]
    assert claim(cell, 1, PLACE) == 3
    assert claim(cell, 1, PLACE, index=1) == 4


def test_a_generation_survives_its_instance() -> None:
    """Deleting the instance takes its console, and does not reset the place."""
    cell = memory_database()
    claim(cell, 1, PLACE)
    assert outcome(cell.run(instances.remove, instance(1).uuid)) is True
    assert rows(cell, "console_ports") == 0
    assert claim(cell, 1, PLACE) == 2


def test_a_console_that_moves_leaves_its_place() -> None:
    """A console has one place; coming back to an old one is a new generation there."""
    cell = memory_database()
    other = ("127.0.0.1", 10001)
    assert [claim(cell, 1, PLACE), claim(cell, 1, other), claim(cell, 1, PLACE)] == [1, 1, 2]
    assert rows(cell, "console_ports") == 1


def test_the_displaced_console_stays_without_a_port() -> None:
    """The loser keeps its row, so what hangs on the console (a lease) outlives the move."""
    cell = memory_database()
    claim(cell, 1, PLACE)
    claim(cell, 2, PLACE)
    statement = select(tables.console_ports.c.port).order_by(tables.console_ports.c.instance_uuid)
    found = outcome(cell.read(lambda connection: connection.scalars(statement).all()))
    assert found == [None, PLACE[1]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=12))
def test_no_two_consoles_ever_share_a_generation(moves: list[tuple[int, int]]) -> None:
    """Whatever the moves, (place, generation) names one console for good."""
    cell = memory_database()
    owners: dict[tuple[int, int], int] = {}
    newest: dict[int, int] = {}
    for number, port in moves:
        generation = claim(cell, number, ("h", port))
        assert owners.setdefault((port, generation), number) == number
        assert generation >= newest.get(port, 0)
        newest[port] = generation
    cell.stop()


def test_racing_claims_end_with_one_owner(tmp_path: Path) -> None:
    """Two daemons that claim one place in turn never get the same generation."""
    won: dict[int, list[int]] = {1: [], 2: []}
    cells = {number: file_database(tmp_path / "cell.sqlite") for number in won}

    def claims(number: int) -> None:
        won[number] = [claim(cells[number], number, PLACE) for _ in range(20)]

    threads = [Thread(target=claims, args=(number,)) for number in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won[1]) == len(won[2]) == 20
    assert not set(won[1]) & set(won[2])
    for cell in cells.values():
        cell.stop()


def test_an_instance_is_kept_in_step() -> None:
    """The row follows the driver, and a name beyond the column's length is cut."""
    cell = memory_database()
    for name in ("before", "x" * 300):
        outcome(cell.run(instances.upsert, instance(name=name), "static"))
    statement = select(tables.instances.c.name)
    assert outcome(cell.read(lambda connection: connection.scalars(statement).all())) == ["x" * 255]


def test_deleting_an_instance_takes_its_tokens() -> None:
    """The foreign key removes what hangs on the instance, and only that."""
    cell = memory_database()
    for number in (1, 2):
        claim(cell, number, ("127.0.0.1", 10000 + number))
        outcome(cell.run(add_token, f"hash-{number}", number, 60, "h"))
    assert outcome(cell.run(instances.remove, instance(1).uuid)) is True
    assert outcome(cell.run(instances.remove, instance(1).uuid)) is False
    assert rows(cell, "console_auth_tokens") == 1


def test_expired_rows_go_in_batches_by_host() -> None:
    """Each call deletes at most a batch, the oldest first, and nothing that is still valid."""
    cell = memory_database()
    claim(cell, 1, PLACE)
    for number in range(5):
        outcome(cell.run(add_token, f"old-{number}", 1, -100 + number, "h1"))
    outcome(cell.run(add_token, "valid", 1, 60, "h1"))
    outcome(cell.run(add_token, "other", 1, -100, "h2"))
    assert [outcome(cell.run(tokens.delete_expired, "h1", 2)) for _ in range(2)] == [2, 2]
    statement = select(tables.console_auth_tokens.c.access_url)
    left = set(outcome(cell.read(lambda connection: connection.scalars(statement).all())))
    assert left == {"old-4", "valid", "other"}
    assert [outcome(cell.run(tokens.delete_expired, "h1", 2)) for _ in range(2)] == [1, 0]
    assert rows(cell, "console_auth_tokens") == 2


def test_hosts_come_in_turn() -> None:
    """Hosts that have tokens are walked by name, and after the last comes none."""
    cell = memory_database()
    claim(cell, 1, PLACE)
    for host in ("b", "a", "c"):
        outcome(cell.run(add_token, host, 1, 60, host))
    walked = [outcome(cell.read(tokens.next_host, after)) for after in ("", "a", "b", "c")]
    assert walked == ["a", "b", "c", None]


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (sqlite.dialect(), "CAST(strftime('%s', 'now') AS INTEGER)"),
        (
            postgresql.dialect(),
            "CAST(floor(extract(epoch FROM statement_timestamp())) AS BIGINT)",
        ),
        (mysql.dialect(), "unix_timestamp()"),
    ],
)
def test_each_database_tells_its_own_time(dialect: Dialect, sql: str) -> None:
    """Expiry is never judged by the daemon's clock."""
    assert str(select(epoch_seconds()).compile(dialect=dialect)).startswith(f"SELECT {sql}")
