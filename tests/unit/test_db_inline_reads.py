"""consoled.db.inline_reads over a scripted libpq, with threads that are always there instead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from attrs import define, field
from cells import outcome
from psycopg import OperationalError
from psycopg.pq import ExecStatus
from sqlalchemy import Connection, Select, bindparam, event, insert, select
from sqlalchemy.exc import OperationalError as AwayError
from test_db_grouping import Pumped
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from consoled.db.database import ANSWER_LIMIT, READS_TOGETHER, CellDatabase
from consoled.db.direct import Query, Row, key_names
from consoled.db.engine import make_engine
from consoled.db.inline_reads import LATE, SOON, InlineReads
from consoled.db.libpq import ANSWER_TIME, Opened, PostgreSQLLink, dialect
from consoled.db.queries import one_query
from consoled.db.tables import replicas
from consoled.errors import Unavailable
from consoled.workers import InlineWorker


def _by_id(size: int) -> Select[Any]:
    ids: list[Any] = [bindparam(name) for n in range(size) for name in key_names(n)]
    return select(replicas.c.id, replicas.c.url).where(replicas.c.id.in_(ids))


def _keys(names: Sequence[object]) -> list[tuple[object]]:
    return [(name,) for name in names]


@one_query(Query(_by_id), _keys)
def way(rows: Sequence[Row], names: Sequence[str]) -> list[str | None]:
    """Which way the row of each name came."""
    found = dict(rows)
    return [found.get(name) for name in names]


@one_query(Query(_by_id), _keys)
def other(rows: Sequence[Row], names: Sequence[str]) -> list[int]:
    """Another query: how many rows there are."""
    return [len(rows) for _ in names]


@define(eq=False)
class Result:
    """What the server answers to one message of ours."""

    status: ExecStatus
    rows: list[Row] = field(factory=list)

    def get_error_message(self) -> str:
        return "ERROR: it is refused" if self.status == ExecStatus.FATAL_ERROR else ""


PREPARED = Result(ExecStatus.COMMAND_OK)


def found(*names: str) -> Result:
    """Rows that came without a thread."""
    return Result(ExecStatus.TUPLES_OK, [(name, "inline") for name in names])


@define(eq=False)
class FakeConnection:
    """A PGconn that says what the test lets it say.

    :ivar sent: the messages to the server: a statement's text, or parameters.
    :ivar broken: the function that fails from now on.
    :ivar room: what flush() answers, once each; then that all is sent.
    """

    sent: list[str | list[bytes]] = field(factory=list)
    broken: str = ""
    room: deque[int] = field(factory=deque)
    closed: bool = False
    _arrived: deque[Result | None] = field(factory=deque)
    _read: deque[Result | None] = field(factory=deque)
    _prepared: list[bytes] = field(factory=list)

    def _works(self, name: str) -> None:
        assert not self.closed, f"{name} after the end"
        if self.broken == name:
            raise OperationalError(f"{name} failed")

    def send_prepare(self, name: bytes, command: bytes) -> None:
        self._works("send")
        self._prepared.append(name)
        self.sent.append(command.decode())

    def send_query_prepared(self, name: bytes, parameters: list[bytes]) -> None:
        self._works("send")
        assert name in self._prepared
        self.sent.append(parameters)

    def flush(self) -> int:
        self._works("flush")
        return self.room.popleft() if self.room else 0

    def consume_input(self) -> None:
        self._works("consume")
        self._read.extend(self._arrived)
        self._arrived.clear()

    def is_busy(self) -> bool:
        return not self._read

    def get_result(self) -> Result | None:
        return self._read.popleft()

    def says(self, *results: Result | None) -> None:
        """What arrives from the server."""
        self._arrived.extend(results)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def load(result: Any) -> list[Row]:
    """A result's rows; some cannot be read."""
    if ("unreadable", "inline") in result.rows:
        raise ValueError("no such encoding")
    return cast(list[Row], result.rows)


@define
class World:
    """A database in memory, and in front of it a server that the test speaks for.

    :ivar opening: where connections are opened.
    :ivar threads: where groups go otherwise.
    :ivar refused: how many connections the server refuses.
    """

    opening: Any = field(factory=InlineWorker)
    threads: Any = field(factory=InlineWorker)
    refused: int = 0
    reactor: Any = field(factory=MemoryReactorClock)
    servers: list[FakeConnection] = field(factory=list)
    inline: InlineReads = field(init=False)
    cell: CellDatabase = field(init=False)

    def __attrs_post_init__(self) -> None:
        engine = make_engine("sqlite://")
        replicas.create(engine)
        rows = [
            {"id": name, "cell": "", "url": "thread", "beat": 0, "dead": False}
            for name in ("a", "b", "c", "unreadable", "é", "1")
        ]
        with engine.begin() as connection:
            connection.execute(insert(replicas), rows)
        self.inline = InlineReads(
            self.threads, self.opening, self.open, dialect(), cast(Any, self.reactor)
        )
        self.cell = CellDatabase(
            engine, InlineWorker(), self.threads, clock=self.reactor, inline=self.inline
        )

    def open(self) -> PostgreSQLLink:
        """A connection, unless it is refused."""
        if self.refused:
            self.refused -= 1
            raise OperationalError("refused")
        server = FakeConnection()
        self.servers.append(server)
        return PostgreSQLLink(Opened(cast(Any, server), 7, load, server.close), self.reactor)

    @property
    def server(self) -> FakeConnection:
        """The newest connection."""
        return self.servers[-1]

    def answers(self, *results: Result) -> None:
        """The server's answer to one message arrives."""
        self.server.says(*results, None)
        (reader,) = self.reactor.readers
        reader.doRead()

    def ask(self, name: Any = "a") -> Deferred[Any]:
        return self.cell.read(way, name)

    def prepare(self) -> None:
        """The first question of one key, which prepares the statement."""
        answer = self.ask()
        self.answers(PREPARED)
        self.answers(found("a"))
        assert outcome(answer) == "inline"
        self.server.sent.clear()

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.reactor.advance(seconds)

    def is_clean(self) -> bool:
        """Whether nothing of it is in the reactor."""
        left = [*self.reactor.readers, *self.reactor.writers, *self.reactor.getDelayedCalls()]
        return not left


@pytest.fixture
def world() -> World:
    """A connection stands."""
    made = World()
    made.inline.start()
    return made


def test_a_query_is_prepared_and_then_asked(world: World) -> None:
    """Both without a thread, in one statement that the server is told once."""
    answer = world.ask()
    (text,) = world.server.sent
    assert isinstance(text, str)
    assert "replicas.id IN ($1)" in text
    world.answers(PREPARED)
    assert world.server.sent[1:] == [[b"a"]]
    world.answers(found("a"))
    assert outcome(answer) == "inline"
    again = world.ask("unknown")
    assert world.server.sent[2:] == [[b"unknown"]]
    world.answers(found())
    assert outcome(again) is None


def test_what_comes_meanwhile_goes_together(world: World) -> None:
    """One statement is under way at a time, with as many keys as a group may have."""
    world.prepare()
    names = [f"name{number}" for number in range(READS_TOGETHER + 3)]
    first, *waiting = [world.ask(name) for name in ("a", *names)]
    assert world.server.sent == [[b"a"]]
    world.answers(found("a"))
    assert outcome(first) == "inline"
    assert not any(answer.called for answer in waiting)
    world.answers(PREPARED)
    keys = [name.encode() for name in names]
    assert world.server.sent[-1] == keys[:READS_TOGETHER]
    world.answers(found(*names[:READS_TOGETHER]))
    world.answers(PREPARED)
    assert world.server.sent[-1] == [*keys[READS_TOGETHER:], keys[-1]]
    world.answers(found(*names[READS_TOGETHER:]))
    world.later(0)
    assert {outcome(answer) for answer in waiting} == {"inline"}


def test_rows_that_come_in_pieces(world: World) -> None:
    """Nothing is waited for: what is not there yet is heard of later."""
    answer = world.ask()
    (reader,) = world.reactor.readers
    for result in (PREPARED, None, found("a")):
        reader.doRead()
        world.server.says(result)
    reader.doRead()
    assert not answer.called
    world.server.says(None)
    reader.doRead()
    assert outcome(answer) == "inline"


def test_what_does_not_fit_at_once(world: World) -> None:
    """The rest of a statement goes when there is room, and no longer than that is asked for."""
    world.server.room.extend([1, 1, 1])
    answer = world.ask()
    (writer,) = world.reactor.writers
    writer.doRead()
    writer.doWrite()
    assert world.reactor.writers == {writer}
    writer.doWrite()
    assert not world.reactor.writers
    world.answers(PREPARED)
    world.answers(found("a"))
    assert outcome(answer) == "inline"


def _breaks(function: str) -> Callable[[World], None]:
    def fail(world: World) -> None:
        world.server.broken = function
        for reader in list(world.reactor.readers):
            reader.doRead()

    return fail


def _socket_dies(world: World) -> None:
    for reader in list(world.reactor.readers):
        reader.connectionLost(Failure(ConnectionLost()))


def _answered(*results: Result) -> Callable[[World], None]:
    return lambda world: world.answers(*results)


FAILURES: dict[str, Callable[[World], None]] = {
    "cannot be read": _breaks("consume"),
    "dead": _socket_dies,
    "refused": _answered(Result(ExecStatus.FATAL_ERROR)),
    "another answer": _answered(Result(ExecStatus.EMPTY_QUERY)),
    "no result": _answered(),
    "too long": lambda world: world.later(ANSWER_TIME),
}


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_not_visible(world: World, failure: str, prepared: bool) -> None:
    """What was under way and what waited go through threads; another connection comes later."""
    if prepared:
        world.prepare()
    answers = [world.ask(name) for name in "abc"]
    FAILURES[failure](world)
    assert [outcome(answer) for answer in answers] == ["thread"] * 3
    assert world.server.closed
    assert not world.reactor.readers
    assert not world.inline.stands
    assert outcome(world.ask()) == "thread"
    world.later(SOON)
    assert [server.closed for server in world.servers] == [True, False]
    world.prepare()


@pytest.mark.parametrize("function", ["send", "flush"])
def test_a_statement_that_cannot_be_sent(world: World, function: str) -> None:
    """It goes through a thread at once."""
    world.prepare()
    world.server.broken = function
    assert outcome(world.ask()) == "thread"
    assert world.server.closed
    assert len(world.reactor.getDelayedCalls()) == 2  # The next attempt, and the calls' limit.


@pytest.mark.parametrize("rows", [found("unreadable"), Result(ExecStatus.TUPLES_OK, [("a",)])])
def test_rows_that_cannot_be_read(world: World, rows: Result) -> None:
    """They end the connection as well."""
    world.prepare()
    answer = world.ask()
    world.answers(rows)
    assert outcome(answer) == "thread"
    assert world.server.closed
    assert not world.inline.stands


def test_a_connection_that_dies_while_nothing_is_asked(world: World) -> None:
    """Its end is heard of, and what comes next goes through a thread."""
    (reader,) = world.reactor.readers
    reader.doRead()
    assert world.inline.stands
    _breaks("consume")(world)
    assert world.server.closed
    assert outcome(world.ask()) == "thread"


def test_a_reactor_that_was_late(world: World) -> None:
    """An answer that is there counts, however late the reactor comes to it."""
    world.prepare()
    answer = world.ask()
    world.server.says(found("a"), None)
    world.later(3 * ANSWER_TIME)
    assert outcome(answer) == "inline"
    assert world.inline.stands


def test_each_statement_has_its_time(world: World) -> None:
    """One timer serves them all, and is not left when nothing is asked."""
    world.prepare()
    for _ in range(4):
        answer = world.ask()
        world.later(ANSWER_TIME * 0.9)
        assert not answer.called
        world.answers(found("a"))
        assert outcome(answer) == "inline"
    world.later(ANSWER_LIMIT + ANSWER_TIME)
    assert not world.reactor.getDelayedCalls()
    assert world.inline.stands


def test_until_it_stands_threads_do_it() -> None:
    """A start waits for no connection."""
    opening = Pumped()
    world = World(opening)
    assert world.is_clean()
    world.inline.start()
    assert outcome(world.ask()) == "thread"
    opening.pump()
    world.prepare()


def test_attempts_become_rarer() -> None:
    """A server that refuses is asked again after longer and longer; an answer ends that."""
    world = World(refused=8)
    world.inline.start()
    waits = []
    while not world.inline.stands:
        (timer,) = world.reactor.getDelayedCalls()
        waits.append(timer.getTime() - world.reactor.seconds())
        assert outcome(world.ask()) == "thread"
        world.later(waits[-1])
    assert waits == [SOON, 4, 8, 16, 32, LATE, LATE, LATE]
    world.prepare()
    world.refused = 1
    _breaks("consume")(world)
    world.later(SOON)
    assert not world.inline.stands
    world.later(2 * SOON)
    assert world.inline.stands


def test_a_connection_that_is_dead_on_arrival() -> None:
    """It counts as one that was refused."""
    world = World()

    def no_socket(_: object) -> None:
        raise OSError("the descriptor is bad")

    world.reactor.addReader = no_socket
    world.inline.start()
    assert world.server.closed
    assert outcome(world.ask()) == "thread"
    del world.reactor.addReader
    world.later(SOON)
    world.prepare()


def test_stop_leaves_nothing(world: World) -> None:
    """What was asked is answered first; then there is neither a connection nor a timer."""
    answer = world.ask()
    finished = Deferred.fromCoroutine(world.cell.finish())
    assert not finished.called
    world.answers(PREPARED)
    world.answers(found("a"))
    assert outcome(answer) == "inline"
    assert finished.called
    world.inline.stop()
    assert world.server.closed
    assert world.is_clean()
    with pytest.raises(Unavailable, match="restarting"):
        outcome(world.ask())


def test_stop_with_a_statement_under_way(world: World) -> None:
    """It closes all the same, and opens nothing more."""
    answer = world.ask()
    world.inline.stop()
    assert world.server.closed
    assert outcome(answer) == "thread"
    assert not world.reactor.readers
    world.later(LATE)
    assert len(world.servers) == 1


def test_stop_while_one_is_opened() -> None:
    """The one that comes too late is closed."""
    opening = Pumped()
    world = World(opening)
    world.inline.start()
    world.inline.stop()
    opening.pump()
    assert world.server.closed
    assert world.is_clean()


@pytest.mark.parametrize("refused", [1, 0])
def test_stop_between_two_attempts(refused: int) -> None:
    """No timer is left, whatever comes of an attempt."""
    world = World(refused=1 + refused)
    world.inline.start()
    world.inline.stop()
    assert world.is_clean()
    late = World(Pumped(), refused=refused)
    late.inline.start()
    late.inline.stop()
    late.opening.pump()
    assert late.is_clean()


def test_a_call_that_is_cancelled(world: World) -> None:
    """One that waits is taken back; nobody hears of one that is on its way."""
    world.prepare()
    under_way, waits, goes = (world.ask(name) for name in "abc")
    for answer in (under_way, waits):
        answer.cancel()
        with pytest.raises(CancelledError):
            outcome(answer)
    world.answers(found("a"))
    assert world.server.sent == [[b"a"], [b"c"]]
    world.answers(found("c"))
    assert outcome(goes) == "inline"


def test_the_limit_of_an_answer_holds() -> None:
    """A call that comes to no answer on either way is given up when its whole time is over."""
    world = World(threads=Pumped())
    world.inline.start()
    answer = world.ask()
    world.later(ANSWER_TIME)
    assert not answer.called
    world.later(ANSWER_LIMIT - ANSWER_TIME)
    with pytest.raises(Unavailable):
        outcome(answer)


@pytest.mark.parametrize("key", ["é", "a\0b", "a\nb", None, True, b"a"])
def test_a_key_that_is_no_plain_text(world: World, key: object) -> None:
    """It is left to psycopg, which knows about encodings and types."""
    answer = world.ask(key)
    assert answer.called
    assert not world.server.sent
    answer.addErrback(lambda _: None)
    assert world.inline.stands


def test_a_whole_number_is_a_key(world: World) -> None:
    """It goes as its digits."""
    world.prepare()
    world.ask(-12)
    assert world.server.sent == [[b"-12"]]


def test_only_one_query_goes_so(world: World) -> None:
    """Other reads have threads, and so has a group of two queries."""

    def count(connection: Connection, name: str) -> int:
        return len(connection.execute(select(replicas).where(replicas.c.id == name)).all())

    assert outcome(world.cell.read(count, "a")) == 1
    assert not world.server.sent
    first = world.ask()
    mixed = world.cell.read(other, "a"), world.ask("b")
    world.answers(PREPARED)
    world.answers(found("a"))
    assert outcome(first) == "inline"
    assert [outcome(answer) for answer in mixed] == [1, "thread"]


def test_an_outage_is_left_to_threads(world: World) -> None:
    """While the database counts as away, they find out that it is back."""
    engine, down = world.cell.engine, [True]

    @event.listens_for(engine, "begin")
    def begin(_: Connection) -> None:
        if down:
            raise AwayError("BEGIN", None, Exception("gone"))

    with pytest.raises(Unavailable):
        outcome(world.cell.read(lambda _: None))
    with pytest.raises(Unavailable):
        outcome(world.ask())
    assert not world.server.sent
    down.clear()
    assert outcome(world.ask()) == "thread"
    world.prepare()
