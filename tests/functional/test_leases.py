"""Leases between real processes on real databases (faults: T2, F8, F9, F13, D1, D2, D4, D6)."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from attrs import astuple
from databases import ALL, REPLICATED, new_database, server

from consoled.db import instances, leases, ports, replicas, schema
from consoled.db.engine import make_engine
from consoled.leasing.values import Claim, ConsoleKey, Holder, Timings, Wish
from consoled.model import Console, Instance, InstanceState

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("lease_replica.py")
WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"

QUICK = Timings(beat=0.4, validity=3.0, silence=3.6, poll=0.2)
"""The rules are about proportions; validity leaves room for a busy machine."""

PATIENCE = 60.0
"""Seconds after which an answer does not come any more."""


class Replica:
    """A process with the leases of one replica."""

    def __init__(self, url: str, timings: Timings, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), url, *map(str, astuple(timings))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )
        self._buffer = b""
        self._unasked: list[list[Any]] = []

    def send(self, *command: Any) -> None:
        """A command; its answer is for :meth:`answer`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        while "ended" in (said := self._line()):
            self._unasked.append(said["ended"])
        assert "error" not in said, said["error"]
        return said

    def ask(self, *command: Any) -> dict[str, Any]:
        """A command and its answer."""
        self.send(*command)
        return self.answer()

    def ended(self) -> list[Any]:
        """The next session that is told to end: [id, close code, reason]."""
        return self._unasked.pop(0) if self._unasked else self._line()["ended"]

    def nothing_ended(self) -> bool:
        """Whether no session was told to end so far."""
        return not self._unasked

    def signal(self, number: int) -> None:
        """Sends the process a signal."""
        self._process.send_signal(number)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            assert select.select([self._process.stdout], [], [], max(left, 0))[0], "no answer"
            more = self._process.stdout.read1(65536)
            assert more, "the replica has ended"
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A cell database with one console, of the kind that the test names."""
    made = new_database(request.session, request.param, tmp_path)
    engine = make_engine(made, None)
    schema.upgrade(engine)
    console = Console(0, "192.0.2.1", 10000)
    web = Instance(WEB, "web", "demo", "rack1", InstanceState.RUNNING, (console,))
    with engine.begin() as connection:
        instances.upsert(connection, web, "static")
        ports.claim(connection, WEB, console, 10000)
    engine.dispose()
    return made


@pytest.fixture
def replica(url: str, tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    """Starts replicas of that cell; they end with the test."""
    started: list[Replica] = []

    def start(timings: Timings = QUICK) -> Replica:
        started.append(Replica(url, timings, tmp_path / "log"))
        return started[-1]

    yield start
    for one in started:
        one.__exit__(None, None, None)


Start = Callable[..., Replica]


RACES = {"sqlite": 300, "postgresql": 1000, "mariadb": 1000}


@pytest.mark.parametrize("url", ALL, indirect=True)
def test_a_thousand_races(replica: Start, url: str) -> None:
    """F8: two replicas want one console at once: never two owners, never none; epochs grow."""
    both = replica(Timings()), replica(Timings())
    wins = [0, 0]
    for number in range(1, RACES[url.partition("+")[0].partition(":")[0]] + 1):
        # In turn, or on a busy machine the first to be told would win each time.
        for one in both[:: 1 if number % 2 else -1]:
            one.send("take", f"s{number}")
        answers = [one.answer() for one in both]
        won = [index for index, answer in enumerate(answers) if "epoch" in answer]
        assert len(won) == 1, answers
        assert answers[won[0]] == {"epoch": number, "seized": False}
        assert answers[1 - won[0]]["refused"] == "busy"
        wins[won[0]] += 1
        both[won[0]].ask("release", f"s{number}")
    assert all(wins), "one of them never had a chance: that was no race"
    _crowd(both)
    assert all(one.nothing_ended() for one in both)


@pytest.mark.parametrize("url", ALL, indirect=True)
def test_consoles_that_are_taken_together(url: str) -> None:
    """One look and one statement for all of them; who was faster, and what is gone, is told."""
    keys = [ConsoleKey(WEB, index) for index in range(4)]
    engine = make_engine(url)
    with engine.begin() as connection:
        for key in keys[1:]:
            console = Console(key.index, "192.0.2.1", 10000 + key.index)
            ports.claim(connection, WEB, console, 10000 + key.index)
        assert leases.take(connection, Claim(keys[2], "another", "s0", 1), None, Holder())
        replicas.register(connection, "another", "lab", "http://192.0.2.2/")
    wishes = [
        *(Wish(key, "mine", f"s{key.index}") for key in reversed(keys)),
        Wish(keys[0], "mine", "late"),
        Wish(ConsoleKey(WEB, 9), "mine", "s9"),
    ]
    with engine.begin() as connection:
        takings = leases.obtain.many(connection, wishes)
    owners = [None if one.row is None else one.row.replica_id for one in takings]
    assert [one.claim is not None for one in takings] == [True, False, True, True, False, False]
    assert owners == [None, "another", None, None, "mine", None]
    with engine.begin() as connection:
        assert all(leases.holds(connection, one.claim) for one in takings if one.claim)
        assert leases.granted(connection, wishes[0]) == takings[0].claim
    engine.dispose()


def _crowd(both: tuple[Replica, Replica]) -> None:
    """T2: 25 viewers at each of two replicas, all at once: one gets the console."""
    for name, one in zip("ab", both, strict=True):
        one.send("crowd", 25, name)
    assert sum(one.answer()["won"] for one in both) == 1


@pytest.mark.parametrize("url", REPLICATED, indirect=True)
def test_an_owner_that_is_stopped_past_its_lease(replica: Start) -> None:
    """F13: when it goes on it finds its lease invalid, first of all; its successor stays."""
    owner, other = replica(), replica()
    first = owner.ask("take", "old")
    assert other.ask("take", "new") == {"refused": "busy", "user": "alice", "session": "old"}
    owner.signal(signal.SIGSTOP)
    taken = other.ask("take_when_free", "new")
    assert taken == {"epoch": first["epoch"] + 1, "seized": True}
    owner.send("valid", "old")
    owner.signal(signal.SIGCONT)
    assert owner.answer()["valid"] is False
    session, code, reason = owner.ended()
    assert (session, code) == ("old", 1013)
    assert reason
    owner.ask("release", "old")
    owner.ask("ready")
    assert owner.ask("take", "again")["session"] == "new"
    assert other.ask("valid", "new")["valid"] is True
    assert other.nothing_ended()


@pytest.mark.parametrize("url", [REPLICATED[1]], indirect=True)
def test_an_owner_that_is_killed(replica: Start) -> None:
    """D4 with quick timings: its console is free, and known as seized."""
    owner, other = replica(), replica()
    owner.ask("take", "old")
    owner.signal(signal.SIGKILL)
    assert other.ask("take_when_free", "new") == {"epoch": 2, "seized": True}


@pytest.mark.parametrize("url", [REPLICATED[0]], indirect=True)
def test_a_killed_owner_is_free_in_time(replica: Start) -> None:
    """D4 with the default timings: 15 seconds from SIGKILL to another owner."""
    owner, other = replica(Timings()), replica(Timings())
    other.ask("wait", 2)
    owner.ask("take", "old")
    killed = time.monotonic()
    owner.signal(signal.SIGKILL)
    assert other.ask("take_when_free", "new") == {"epoch": 2, "seized": True}
    taken = time.monotonic() - killed
    assert taken <= 15
    assert taken > Timings().validity - Timings().beat, "it may have been valid still"


@pytest.mark.parametrize("url", [REPLICATED[1]], indirect=True)
def test_an_orderly_end_frees_at_once(replica: Start) -> None:
    """A restart holds nobody up."""
    owner, other = replica(Timings()), replica(Timings())
    owner.ask("take", "old")
    assert owner.ask("stop") == {"stopped": True}
    assert owner.ended()[:2] == ["old", 1013]
    assert other.ask("take", "new") == {"epoch": 2, "seized": True}


@pytest.mark.parametrize("url", REPLICATED, indirect=True)
def test_a_disconnect_from_the_other_replica(replica: Start) -> None:
    """F9: the owner's session is told within a poll; then the console is free."""
    owner, other = replica(), replica()
    owner.ask("take", "old")
    assert other.ask("disconnect", "old", "maintenance") == {"asked": ["old"]}
    assert owner.ended() == ["old", 4410, "maintenance"]
    owner.ask("release", "old")
    assert other.ask("take", "new") == {"epoch": 2, "seized": False}
    assert other.ask("disconnect", "old", "maintenance") == {"asked": []}


@pytest.mark.parametrize("url", [REPLICATED[0]], indirect=True)
def test_a_wall_clock_that_is_set(replica: Start) -> None:
    """D6: an hour forth and two back, in one replica: nothing ends, nothing is taken."""
    owner, other = replica(), replica()
    owner.ask("take", "old")
    before = owner.ask("valid", "old")
    for step in (3600, -7200):
        owner.ask("step", step)
        owner.ask("wait", QUICK.silence + QUICK.beat)
        assert other.ask("take", "new")["session"] == "old"
        assert owner.ask("valid", "old") == before
    assert before["valid"] is True
    assert owner.nothing_ended()


@pytest.mark.parametrize("url", REPLICATED, indirect=True)
def test_a_database_that_goes_away(
    replica: Start, url: str, request: pytest.FixtureRequest
) -> None:
    """D1, D2: the session ends with a reason, new ones are refused, then all is well again."""
    name = url.partition("+")[0]
    owner, other = replica(), replica()
    owner.ask("take", "old")
    server(request.session, name).stop()
    try:
        session, code, reason = owner.ended()
        assert (session, code) == ("old", 1013)
        assert "database" in reason
        assert owner.ask("valid", "old")["valid"] is False
        assert other.ask("take", "new") == {"refused": "Unavailable"}
    finally:
        server(request.session, name).start()
    owner.ask("release", "old")
    assert other.ask("take_when_free", "new")["epoch"] == 2
