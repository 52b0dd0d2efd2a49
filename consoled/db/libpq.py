"""One connection of libpq's in the reactor: what psycopg's own would wait for, it hears of.

The functions are libpq's (PostgreSQL's manual: "Asynchronous Command Processing"), which
psycopg has as ``psycopg.pq``. None of those used here waits for the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from psycopg import Connection, OperationalError
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Dialect, Engine
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.db.direct import Row, Wording

ANSWER_TIME = 1.0
"""Seconds that a server may take for a statement here; a thread has more patience."""


@frozen(eq=False)
class Opened:
    """A connection to the server, fit for the reactor: idle, in autocommit, non-blocking.

    :ivar socket: a descriptor of its socket, of our own. libpq closes its one as soon as the
        connection is lost, and that number may be anybody's before the reactor lets go of it.
    :ivar load: a result's rows, as psycopg's own cursor would give them.
    """

    pgconn: PGconn
    socket: int
    load: Callable[[PGresult], list[Row]]
    close: Callable[[], None]


@define(eq=False)
class _Statement:
    """What is under way.

    :ivar since: when it was asked, in seconds of the reactor's.
    :ivar prepares: the name that it gets first, where the server does not know it yet.
    """

    wording: Wording
    parameters: list[bytes]
    since: float
    answer: Deferred[list[Row]] = field(factory=Deferred)
    prepares: bytes | None = None
    result: PGresult | None = None


@implementer(IReadWriteDescriptor)
@define(eq=False)
class PostgreSQLLink:
    """Implements :class:`consoled.db.inline_reads.Link`.

    Statements are prepared when they are first asked, each under a name of this connection.

    :ivar reactor: where its socket is looked after; its time.
    """

    opened: Opened
    reactor: Any
    _lost: Callable[[BaseException], None] | None = field(default=None, init=False)
    _names: dict[Wording, bytes] = field(factory=dict, init=False)
    _statement: _Statement | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _writing: bool = field(default=False, init=False)
    _socket: int = field(default=-1, init=False)
    _closed: bool = field(default=False, init=False)

    def start(self, lost: Callable[[BaseException], None]) -> None:
        """Begins to hear of the server.

        :param lost: called once, when the connection is of no use any more.
        :raises OSError: the reactor cannot look after it; it is closed then.
        """
        self._socket = self.opened.socket
        try:
            self.reactor.addReader(self)
        except Exception:
            self.close()
            raise
        self._lost = lost

    def ask(self, wording: Wording, parameters: list[bytes]) -> Deferred[list[Row]]:
        """The rows as psycopg gives them. Another statement is asked after the answer."""
        statement = _Statement(wording, parameters, self.reactor.seconds())
        self._statement = statement
        if self._timer is None:
            self._timer = self.reactor.callLater(ANSWER_TIME, self._look)
        self._carefully(self._send)
        return statement.answer

    def close(self) -> None:
        """Leaves the reactor, and closes. What is under way fails."""
        self._lost = None
        self._end(ConnectionDone())

    # IReadWriteDescriptor

    def fileno(self) -> int:
        """The socket; -1 when it is closed, as the reactor wants it."""
        return self._socket

    def logPrefix(self) -> str:
        """The name of this in the reactor's own messages."""
        return "database"

    def doRead(self) -> None:
        """The server has said something."""
        self._carefully(self._hear)

    def doWrite(self) -> None:
        """There is room for what could not be sent at once."""
        self._carefully(self._flush)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has found the socket dead."""
        self._end(reason.value or ConnectionDone())

    # What libpq wants to be done

    def _send(self) -> None:
        statement = self._statement
        assert statement is not None
        statement.result = None
        name = self._names.get(statement.wording)
        if name is None:
            name = statement.prepares = f"consoled_{len(self._names)}".encode()
            self.opened.pgconn.send_prepare(name, statement.wording.text.encode())
        else:
            self.opened.pgconn.send_query_prepared(name, statement.parameters)
        self._flush()

    def _flush(self) -> None:
        writes = bool(self.opened.pgconn.flush())
        if writes != self._writing:
            self._writing = writes
            (self.reactor.addWriter if writes else self.reactor.removeWriter)(self)

    def _hear(self) -> None:
        pgconn = self.opened.pgconn
        pgconn.consume_input()
        if self._writing:
            self._flush()
        # Asked when nothing is under way, too: it reads what a server says by itself.
        while not pgconn.is_busy() and self._statement is not None:
            result = pgconn.get_result()
            if result is None:
                self._done(self._statement)
            else:
                _check(result, self._statement)
                self._statement.result = result

    def _done(self, statement: _Statement) -> None:
        result = statement.result
        if result is None:
            raise OperationalError("the server gave no result")
        if statement.prepares is not None:
            self._names[statement.wording] = statement.prepares
            statement.prepares = None
            self._send()
            return
        rows = self.opened.load(result)
        self._statement = None
        statement.answer.callback(rows)

    def _look(self) -> None:
        """Whether a statement has taken too long."""
        self._timer = None
        overdue = self._statement
        if overdue is None:
            return
        left = overdue.since + ANSWER_TIME - self.reactor.seconds()
        if left <= 0:
            # The answer may be there, and it was the reactor that had no time.
            self._carefully(self._hear)
            if self._statement is overdue:
                self._end(OperationalError(f"no answer in {ANSWER_TIME:g} s"))
            return
        self._timer = self.reactor.callLater(left, self._look)

    def _carefully(self, work: Callable[[], None]) -> None:
        """Does it, or ends the connection."""
        if self._closed:
            self._end(ConnectionDone())
            return
        try:
            work()
        except Exception as error:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if self._socket != -1:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            self._socket = -1
        if not self._closed:
            self._closed = True
            self.opened.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(error)
        statement, self._statement = self._statement, None
        if statement is not None:
            statement.answer.errback(error)


def dialect() -> Dialect:
    """Words statements as the server itself takes them."""
    made: Dialect = psycopg_dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    return made


def opener(engine: Engine, reactor: Any) -> Callable[[], PostgreSQLLink]:
    """Opens connections as the engine does, with all that it tells the server.

    What it gives blocks; nothing is opened yet.
    """

    def open_link() -> PostgreSQLLink:
        return PostgreSQLLink(_open(engine), reactor)

    return open_link


def _open(engine: Engine) -> Opened:
    # A pool of its own, which has no old connection that would be asked for a sign of life.
    fresh = engine.pool.recreate().connect()
    connection = fresh.driver_connection
    fresh.detach()
    assert isinstance(connection, Connection)
    try:
        connection.autocommit = True
        connection.pgconn.nonblocking = 1
        socket = os.dup(connection.pgconn.socket)
    except BaseException:
        connection.close()
        raise
    adapted = Transformer(connection)

    def load(result: PGresult) -> list[Row]:
        adapted.set_pgresult(result)
        return adapted.load_rows(0, result.ntuples, tuple)

    def close() -> None:
        connection.close()
        os.close(socket)

    return Opened(connection.pgconn, socket, load, close)


def _check(result: PGresult, statement: _Statement) -> None:
    wanted = ExecStatus.TUPLES_OK if statement.prepares is None else ExecStatus.COMMAND_OK
    if result.status != wanted:
        said = result.get_error_message()
        raise OperationalError(said or f"the server answered {ExecStatus(result.status).name}")
