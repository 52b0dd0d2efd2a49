"""consoled.db.grouping and its use in consoled.db.database: what waits together shares a COMMIT."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import pytest
from attrs import define, field
from cells import outcome
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from consoled.db.database import WRITES_TOGETHER, CellDatabase
from consoled.db.engine import make_engine
from consoled.db.grouping import Batch
from consoled.db.tables import replicas
from consoled.errors import ConsoledError, Unavailable
from consoled.workers import InlineWorker

P = ParamSpec("P")
T = TypeVar("T")


@define
class Pumped:
    """A worker that runs what it was given when the test says so."""

    given: list[Callable[[], None]] = field(factory=list)

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Keeps it until the next :meth:`pump`."""
        answer: Deferred[T] = Deferred()

        def work() -> None:
            maybeDeferred(fn, *args, **kwargs).chainDeferred(answer)

        self.given.append(work)
        return answer

    def pump(self) -> int:
        """Runs all that was given so far: how many."""
        given, self.given = self.given, []
        for work in given:
            work()
        return len(given)

    def pump_all(self) -> int:
        """Runs until nothing is given any more: how often."""
        times = 0
        while self.pump():
            times += 1
        return times


@define
class World:
    """A database in memory, its worker, and the COMMITs that it has seen."""

    worker: Pumped = field(factory=Pumped)
    commits: list[str] = field(factory=list)
    at_commit: Callable[[], None] = field(default=lambda: None)
    spare: int = 0
    cell: CellDatabase = field(init=False)

    def __attrs_post_init__(self) -> None:
        engine = make_engine("sqlite://")
        replicas.create(engine)
        self.cell = CellDatabase(engine, self.worker, spare=self.spare)

        @event.listens_for(engine, "commit")
        def committing(_: Connection) -> None:
            self.at_commit()
            self.commits.append("COMMIT")

    def busy(self) -> Deferred[None]:
        """Occupies the one place: what is asked from now on waits together."""
        return self.cell.run(lambda _: None)

    def rows(self) -> list[str]:
        """What was committed, in the order of writing."""
        with self.cell.engine.connect() as connection:
            return list(connection.scalars(select(replicas.c.id).order_by(replicas.c.beat)))


@pytest.fixture
def world() -> World:
    return World()


def write(connection: Connection, name: str) -> str:
    """A row that remembers how many came before it."""
    before = connection.scalar(select(func.count()).select_from(replicas))
    row = {"id": name, "cell": "", "url": "", "beat": before, "dead": False}
    connection.execute(insert(replicas), row)
    return f"{name} was {before}"


def refuse(connection: Connection, name: str) -> str:
    """Writes, then refuses."""
    write(connection, name)
    raise ConsoledError(f"{name} is refused")


def away(_: Connection, name: str) -> str:
    """Gets no answer from the database, as behind a lock that nobody lets go of."""
    raise OperationalError(name, {}, sqlite3.OperationalError("no answer"))


def test_what_waits_together_shares_one_commit(world: World) -> None:
    """The first goes alone; the others, in their order, in one transaction after it."""
    first = world.cell.run(write, "a")
    others = [world.cell.run(write, name) for name in "bcd"]
    assert world.worker.pump() == 1
    assert outcome(first) == "a was 0"
    assert not any(other.called for other in others)
    assert world.worker.pump() == 1
    assert [outcome(other) for other in others] == ["b was 1", "c was 2", "d was 3"]
    assert len(world.commits) == 2
    assert world.rows() == ["a", "b", "c", "d"]


def test_nobody_hears_of_anything_before_its_commit(world: World) -> None:
    """At the moment of COMMIT no answer has been given; then all are, in order."""
    world.busy()
    told: list[str] = []
    answers = [world.cell.run(write, name).addCallback(told.append) for name in "abc"]
    world.at_commit = lambda: told.append("COMMIT")
    world.worker.pump_all()
    assert told[1:] == ["COMMIT", "a was 0", "b was 1", "c was 2"]
    assert all(answer.called for answer in answers)


def test_one_that_fails_takes_no_other_along(world: World) -> None:
    """Its own writes are gone, the others' are there, and it alone gets its error."""
    world.busy()
    a, b, c = (world.cell.run(fn, n) for fn, n in ((write, "a"), (refuse, "b"), (write, "c")))
    world.worker.pump_all()
    assert (outcome(a), outcome(c)) == ("a was 0", "c was 1")
    with pytest.raises(ConsoledError, match="b is refused"):
        outcome(b)
    assert world.rows() == ["a", "c"]


def test_a_lost_race_is_run_again_one_by_one(world: World) -> None:
    """A group in which somebody lost a race is nobody's failure."""
    world.busy()
    races = [1, 1]

    def racing(connection: Connection, name: str) -> str:
        if races:
            races.pop()
            raise IntegrityError(name, {}, Exception("duplicate"))
        return write(connection, name)

    answers = [world.cell.run(fn, n) for fn, n in ((write, "a"), (racing, "b"), (write, "c"))]
    world.worker.pump_all()
    assert [outcome(answer) for answer in answers] == ["a was 0", "b was 1", "c was 2"]


def test_an_unknown_commit_is_run_by_nobody_again(world: World) -> None:
    """Each of the group is told that the database is away, and none was run twice."""
    world.busy()
    world.worker.pump_all()
    world.busy()
    runs: list[str] = []
    answers = [world.cell.run(lambda _, name: runs.append(name), name) for name in "abc"]
    world.worker.pump()

    def lost() -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("connection lost"))

    world.at_commit = lost
    world.worker.pump_all()
    for answer in answers:
        with pytest.raises(Unavailable):
            outcome(answer)
    assert runs == ["a", "b", "c"]


def test_one_that_gets_no_answer_has_had_its_time(world: World) -> None:
    """The one behind a stuck lock is not tried again; the others are."""
    world.busy()
    answers = [world.cell.run(fn, n) for fn, n in ((write, "a"), (away, "b"), (write, "c"))]
    world.worker.pump_all()
    with pytest.raises(Unavailable):
        outcome(answers[1])
    assert world.rows() == ["a", "c"]


def test_waits_for_a_dead_server_are_not_added_up(world: World) -> None:
    """When a second one gets no answer either, the rest is not tried at all."""
    world.busy()
    tried: list[str] = []

    def dead(connection: Connection, name: str) -> str:
        tried.append(name)
        return away(connection, name)

    answers = [world.cell.run(dead, name) for name in "abcd"]
    world.worker.pump_all()
    for answer in answers:
        with pytest.raises(Unavailable):
            outcome(answer)
    assert tried == ["a", "b"]


def test_a_cancelled_call_that_waits_is_never_run(world: World) -> None:
    """It leaves the queue, and those beside it do not notice."""
    world.busy()
    answers = [world.cell.run(write, name) for name in "abc"]
    answers[1].cancel()
    with pytest.raises(CancelledError):
        outcome(answers[1])
    world.worker.pump_all()
    assert world.rows() == ["a", "c"]


def test_a_cancelled_call_under_way_is_carried_out(world: World) -> None:
    """Nobody hears of it; the others of its group are answered."""
    world.busy()
    answers = [world.cell.run(write, name) for name in "ab"]
    world.worker.pump()
    answers[0].cancel()
    world.worker.pump_all()
    with pytest.raises(CancelledError):
        outcome(answers[0])
    assert outcome(answers[1]) == "b was 1"
    assert world.rows() == ["a", "b"]


def test_what_is_urgent_goes_first_and_alone(world: World) -> None:
    """The heartbeat passes a long queue, and shares no fate with it."""
    world.busy()
    others = [world.cell.run(refuse, "x"), world.cell.run(write, "a")]
    beat = world.cell.urgent.run(write, "beat")
    world.worker.pump()
    assert not beat.called
    world.worker.pump()
    assert outcome(beat) == "beat was 0"
    assert not any(other.called for other in others)
    world.worker.pump_all()
    assert world.rows() == ["beat", "a"]
    with pytest.raises(ConsoledError):
        outcome(others[0])


def test_a_spare_thread_is_for_what_is_urgent() -> None:
    """While the writers are stuck, the heartbeat still goes; nothing else does."""
    world = World(spare=1)
    stuck, waiting = world.busy(), world.cell.run(write, "a")
    (hold,) = world.worker.given
    world.worker.given.clear()
    beat = world.cell.urgent.run(write, "beat")
    world.worker.pump_all()
    assert outcome(beat) == "beat was 0"
    assert not (stuck.called or waiting.called)
    hold()
    world.worker.pump_all()
    assert outcome(waiting) == "a was 1"


def test_a_group_is_bounded(world: World) -> None:
    """More than a group holds makes more groups."""
    world.busy()
    answers = [world.cell.run(write, str(number)) for number in range(2 * WRITES_TOGETHER + 1)]
    world.worker.pump_all()
    assert len(world.commits) == 1 + 3
    assert all(answer.called for answer in answers)


def test_reads_wait_for_no_writer() -> None:
    """Reads have a worker of their own, and are answered while a write is under way."""
    world = World()
    reader = Pumped()
    cell = CellDatabase(world.cell.engine, world.worker, reader)
    writing, reading = cell.run(write, "a"), cell.read(lambda _: "read")
    reader.pump_all()
    assert (outcome(reading), writing.called) == ("read", False)


def test_finishing_waits_and_then_refuses(world: World) -> None:
    """Everything that was asked is answered first; later, nothing is left hanging."""
    answers = [world.cell.run(write, name) for name in "ab"]
    finished = Deferred.fromCoroutine(world.cell.finish())
    assert not finished.called
    world.worker.pump_all()
    assert finished.called
    assert [outcome(answer) for answer in answers] == ["a was 0", "b was 1"]
    with pytest.raises(Unavailable, match="restarting"):
        outcome(world.cell.run(write, "c"))
    with pytest.raises(Unavailable, match="restarting"):
        outcome(world.cell.read(write, "c"))


def test_orders_of_a_batch_are_carried_out_together(world: World) -> None:
    """Neighbours are one call; what stands between keeps its place."""
    calls: list[list[str]] = []

    def many(connection: Connection, names: Sequence[str]) -> list[str]:
        calls.append(list(names))
        return [write(connection, name) for name in names]

    batch = Batch(many)
    world.busy()
    orders: Sequence[tuple[Any, str]] = [
        (batch, "a"),
        (batch, "b"),
        (write, "c"),
        (batch, "d"),
    ]
    answers = [world.cell.run(fn, name) for fn, name in orders]
    world.worker.pump_all()
    assert [outcome(answer) for answer in answers] == [
        *("a was 0", "b was 1", "c was 2", "d was 3"),
    ]
    assert calls == [["a", "b"], ["d"]]


def test_a_batch_that_fails_is_run_one_by_one(world: World) -> None:
    """A bad order among many fails alone."""

    def many(connection: Connection, names: Sequence[str]) -> list[str]:
        found = [write(connection, name) for name in names]
        if "b" in names:
            raise ConsoledError("b is refused")
        return found

    batch = Batch(many)
    world.busy()
    answers = [world.cell.run(batch, name) for name in "abc"]
    world.worker.pump_all()
    with pytest.raises(ConsoledError):
        outcome(answers[1])
    assert world.rows() == ["a", "c"]


ACTIONS: dict[str, Callable[[Connection, str], str]] = {
    "write": write,
    "refuse": refuse,
    "batch": Batch(lambda connection, names: [write(connection, name) for name in names]),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.booleans()), max_size=12))
def test_a_group_does_what_one_by_one_does(script: list[tuple[str, bool]]) -> None:
    """Whatever waits together: results, errors and rows are those of one call after another."""
    world, plain = World(), World(worker=InlineWorker())  # type: ignore[arg-type]  # never pumped
    found: list[list[str]] = [[], []]
    for at, (action, pump) in enumerate(script):
        for world_, told in zip((world, plain), found, strict=True):
            answer = world_.cell.run(ACTIONS[action], str(at))
            answer.addCallbacks(told.append, lambda failure, told=told: told.append(str(failure)))
        if pump:
            world.worker.pump()
    world.worker.pump_all()
    assert [text.partition("Error")[2] or text for text in found[0]] == [
        text.partition("Error")[2] or text for text in found[1]
    ]
    assert world.rows() == plain.rows()
