"""Two allocators on one real database: never one port for two, none lost (fault F8)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from databases import ALL, new_database

from consoled.db import port_rows, schema
from consoled.db.engine import make_engine

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("port_racer.py")

Racer = subprocess.Popen[str]

RACES = {"sqlite": 200, "postgresql": 1000, "mariadb": 1000}


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty cell database of the kind that the test names."""
    made = new_database(request.session, request.param, tmp_path)
    engine = make_engine(made, None)
    schema.upgrade(engine)
    engine.dispose()
    return made


@pytest.fixture
def racer(url: str) -> Iterator[Callable[[str, str], Racer]]:
    """Starts processes with an allocator each; they end with the test."""
    started: list[Racer] = []

    def start(name: str, ports: str) -> Racer:
        started.append(
            subprocess.Popen(
                [sys.executable, SCRIPT, url, ports, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def line(racer: Racer) -> str:
    """What a process says next."""
    assert racer.stdout is not None
    return racer.stdout.readline()


def go(racer: Racer) -> None:
    """Makes a process take a port."""
    assert racer.stdin is not None
    racer.stdin.write("go\n")
    racer.stdin.flush()


@pytest.mark.parametrize("url", ALL, indirect=True)
def test_a_thousand_races_for_ports(racer: Callable[[str, str], Racer], url: str) -> None:
    """Each port is given once, also the last ones; then both are told that none is left."""
    count = RACES[url.partition("+")[0].partition(":")[0]]
    # Too few for the last five rounds.
    ports = range(10000, 10000 + 2 * count - 10)
    both = [racer(name, f"{ports[0]}:{ports[-1] + 1}") for name in "ab"]
    assert [line(one) for one in both] == ["ready\n"] * 2
    given: list[int] = []
    first = [0, 0]
    for number in range(count):
        # In turn, or on a busy machine the first to be told would win each time.
        for one in both[:: 1 if number % 2 else -1]:
            go(one)
        won = [int(line(one)) for one in both]
        first[won.index(min(won))] += 1
        given += filter(None, won)
    assert len(given) == len(ports)
    assert set(given) == set(ports)
    assert min(first) > 5, "one of them was always the first: that was no race"
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = port_rows.rows(connection, "rack1")
    engine.dispose()
    assert [row.port for row in rows] == list(ports)
    assert len({row.instance_uuid for row in rows}) == len(ports)
