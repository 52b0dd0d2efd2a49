"""The measurements of tokens: issued, checked, both at a steady rate, and while rows expire."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from bench.bars import Bar
from bench.cells import DATABASES, KEY, Cell, Databases, cell
from bench.figures import Kind, percentiles
from bench.processes import Client, ask
from bench.rows import expired, fill

Found = dict[str, Mapping[str, float]]


@frozen
class TokenScale:
    """How long the measurements of tokens are.

    :ivar replicas: numbers of daemons in a cell.
    :ivar clients: numbers of connections, or of checks at a time.
    :ivar each: tokens that are issued for each client, within ``most``.
    :ivar checks: that are made for each client, within ``most``.
    :ivar rate: tokens issued, and as many checked, each second of the mixed load.
    :ivar seconds: of the mixed load, and of each look at it while rows expire.
    :ivar rows: of the table that is cleaned; nine of ten are expired.
    :ivar gentle: tokens issued each second while it is cleaned; as many are checked.
    :ivar cleaning: seconds that the cleaning is watched at most.
    """

    replicas: tuple[int, ...] = (1, 2)
    clients: tuple[int, ...] = (1, 10, 100)
    each: int = 300
    checks: int = 1000
    most: int = 3000
    rate: int = 500
    seconds: float = 5.0
    rows: int = 1_000_000
    gentle: int = 100
    cleaning: float = 60.0


FULL = TokenScale()
QUICK = TokenScale(
    replicas=(1,),
    clients=(4,),
    each=5,
    checks=5,
    most=20,
    rate=40,
    seconds=0.5,
    rows=2000,
    gentle=20,
    cleaning=10.0,
)
CONNECTIONS = 100
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


_RATE_BARS = {("issued", "postgresql", 1, 100): (Bar(800.0),)}
_STEADY_BARS = {"check": (Bar(5.0, "p99"),), "lag": (Bar(10.0, "p99"),)}
_CLEANED_BARS = (Bar(3.0),)


def _each(what: str, title: str, database: str, replicas: int, clients: int) -> Kind:
    many = "a replica" if replicas == 1 else f"{replicas} replicas"
    client = "a client" if clients == 1 else f"{clients} clients"
    return Kind(
        f"{what}_{database}_{replicas}x{clients}",
        f"{title}, {TITLES[database]}, {many}, {client}",
        "1/s",
        True,
        plotted=replicas == 1,
        bars=_RATE_BARS.get((what, database, replicas, clients), ()),
    )


def throughput_kinds(scale: TokenScale) -> tuple[Kind, ...]:
    """Issued and checked per second, for every database, number of replicas and of clients."""
    return tuple(
        _each(what, title, database, replicas, clients)
        for what, title in (("issued", "URLs issued"), ("checked", "tokens checked"))
        for database in DATABASES
        for replicas in scale.replicas
        for clients in scale.clients
    )


def throughput(scale: TokenScale, databases: Databases) -> Found:
    """Tokens are issued over REST and checked in the daemons, as fast as they come."""
    found: Found = {}
    for database in databases.names:
        for replicas in scale.replicas:
            with cell(databases, database, replicas) as running:
                for clients in scale.clients:
                    for what, rate in _rates(running, scale, clients).items():
                        name = f"{what}_{database}_{replicas}x{clients}"
                        found[name] = {"value": rate}
    return found


def _rates(running: Cell, scale: TokenScale, clients: int) -> dict[str, float]:
    issues = min(scale.most, scale.each * clients)
    paths = (running.paths * (issues // len(running.paths) + 1))[:issues]
    issued = ask(action="issue", ports=running.ports, key=KEY, paths=paths, at_once=clients)
    checks = min(scale.most, scale.checks * clients)
    share = max(1, clients // len(running.replicas))
    asked = [
        replica.tell(
            action="check",
            tokens=running.tokens,
            at_once=share,
            count=checks // len(running.replicas),
        )
        for replica in running.replicas[:clients]
    ]
    counted = checks // len(running.replicas)
    return {
        "issued": issues / issued["seconds"],
        "checked": sum(counted / each.answer()["seconds"] for each in asked),
    }


def mixed_kinds() -> tuple[Kind, ...]:
    """The latencies of a steady load."""
    return tuple(
        Kind(
            f"mixed_{what}_{database}",
            f"{title}, {TITLES[database]}",
            "ms",
            False,
            "p99",
            bars=_STEADY_BARS.get(what, ()),
        )
        for database in DATABASES
        for what, title in (
            ("check", "check beside 500 issued and 500 checked a second"),
            ("lag", "reactor lag at that load"),
            ("issue", "URL issued at that load"),
        )
    )


def mixed(scale: TokenScale, databases: Databases) -> Found:
    """A steady load of issues and checks on one daemon."""
    found: Found = {}
    for database in databases.names:
        with cell(databases, database, 1) as running:
            _steady(running, evolve(scale, seconds=scale.seconds / 4), scale.rate)
            for what, samples in _steady(running, scale, scale.rate).items():
                found[f"mixed_{what}_{database}"] = percentiles(samples)
    return found


def _steady(running: Cell, scale: TokenScale, rate: int) -> dict[str, list[float]]:
    """Milliseconds of each check, issue and delay of the reactor at that rate."""
    (daemon,) = running.replicas
    order: dict[str, Any] = {
        "port": daemon.api_port,
        "key": KEY,
        "paths": running.paths,
        "rate": rate,
        "count": int(rate * scale.seconds),
        "connections": CONNECTIONS,
    }
    with Client(action="pace", **order) as client:
        asked = daemon.tell(action="watch", tokens=running.tokens, rate=rate, seconds=scale.seconds)
        issued, watched = client.result(), asked.answer()
    return {
        "check": [1000 * seconds for seconds in watched["checks"]],
        "lag": [1000 * seconds for seconds in watched["lags"]],
        "issue": [1000 * seconds for seconds in issued["issues"]],
    }


def expiry_kinds() -> tuple[Kind, ...]:
    """How fast expired rows go, and what issue and check notice of it."""
    kinds = []
    for database in DATABASES:
        name = TITLES[database]
        kinds.append(Kind(f"expiry_rows_{database}", f"expired rows deleted, {name}", "1/s", True))
        for what, title in (("check", "check"), ("issue", "URL issued")):
            kinds += [
                Kind(
                    f"expiry_{what}_idle_{database}",
                    f"{title}, full table, {name}",
                    "ms",
                    False,
                    "p99",
                ),
                Kind(
                    f"expiry_{what}_{database}",
                    f"{title}, while it is cleaned, {name}",
                    "ms",
                    False,
                    "p99",
                ),
                Kind(
                    f"expiry_{what}_ratio_{database}",
                    f"{title}, p99 cleaned / idle, {name}",
                    "x",
                    False,
                    bars=_CLEANED_BARS,
                ),
            ]
    return tuple(kinds)


def expiry(scale: TokenScale, databases: Databases) -> Found:
    """A full table is cleaned by the daemon's own loop while tokens are issued and checked."""
    found: Found = {}
    for database in databases.names:
        with cell(databases, database, 1) as running:
            fill(running.url, scale.rows, scale.rows * 9 // 10)
            found |= {
                f"expiry_{what}_{database}": values
                for what, values in _cleaned(running, scale).items()
            }
    return found


def _cleaned(running: Cell, scale: TokenScale) -> Found:
    before = expired(running.url)
    _steady(running, evolve(scale, seconds=scale.seconds / 4), scale.gentle)
    idle = _steady(running, evolve(scale, seconds=2 * scale.seconds), scale.gentle)
    reaping = running.replicas[0].tell(action="reap")
    busy: dict[str, list[float]] = {what: [] for what in idle}
    looks = 0
    start = time.monotonic()
    while not looks or (not reaping.done and time.monotonic() - start < scale.cleaning):
        for what, samples in _steady(running, scale, scale.gentle).items():
            busy[what] += samples
        looks += 1
    # The rest, if there is one, is cleaned by nobody: the cell ends here.
    done = reaping.done
    seconds = reaping.answer()["seconds"] if done else time.monotonic() - start
    gone = before if done else before - expired(running.url)
    found: Found = {"rows": {"value": gone / seconds}}
    for what in ("check", "issue"):
        quiet, under_load = percentiles(idle[what]), percentiles(busy[what])
        found |= {
            f"{what}_idle": quiet,
            what: under_load,
            f"{what}_ratio": {"value": under_load["p99"] / quiet["p99"]},
        }
    return found
