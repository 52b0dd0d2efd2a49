"""The cell database: plain functions over a Connection, run in a worker.

What waits together shares one transaction and one COMMIT, and is answered after that COMMIT
only. A group that fails is rolled back whole and run again call by call, so that a call that
fails takes no other along. A COMMIT whose end is unknown is never run again: each of its
calls is answered with Unavailable, and who needs to know looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from consoled.db.deadlines import Deadlines
from consoled.db.engine import for_reading
from consoled.db.faults import Meaning, meaning
from consoled.db.grouping import Batch, Call, Lane, Outcome, Success, results
from consoled.db.inline_reads import InlineReads
from consoled.db.kept import KeptConnections
from consoled.db.queries import QueryBatch
from consoled.errors import Unavailable
from consoled.interfaces import Database, Worker

T = TypeVar("T")

ATTEMPTS = 3
"""How often a transaction that lost a race runs, the first time included."""

WRITES_TOGETHER = 64
"""Calls that share a COMMIT at most: a few tens of milliseconds of work."""

READS_TOGETHER = 32
"""Reads that share a way to the worker at most; the first waits for the last."""

ANSWER_LIMIT = 8.0
"""Seconds until an answer that does not come counts as none: a server that hangs obeys none of
its own limits. What was sent may still be carried out."""

AWAY = "The database is not available now; try again in a moment."
STOPPED = "The console server is restarting; try again in a moment."


@define
class CellDatabase:
    """Implements :class:`consoled.interfaces.Database` over an engine.

    A function gets a :class:`sqlalchemy.Connection` inside a transaction and returns plain
    data, never a Result. It shares the transaction with others, and may run up to
    1 + :data:`ATTEMPTS` times, so it has no other effect.

    :ivar worker: where the transactions run; the reactor thread never does.
    :ivar reader: where those run that only read; None for the same worker, as where all
        of them share one connection.
    :ivar writers: how many groups of writes run at once, of those ``worker`` has threads for.
    :ivar readers: how many groups of reads run at once.
    :ivar spare: one more thread of ``worker``, for what is urgent.
    :ivar clock: for the limit of an answer's time; None sets none.
    :ivar inline: carries out what is one query without a thread, while it can.
    """

    engine: Engine
    worker: Worker
    reader: Worker | None = None
    writers: int = 1
    readers: int = 1
    spare: int = 0
    clock: IReactorTime | None = None
    inline: InlineReads | None = None
    _connections: KeptConnections = field(init=False)
    _reading: KeptConnections = field(init=False)
    _writes: Lane = field(init=False)
    _reads: Lane = field(init=False)
    _queries: Lane | None = field(default=None, init=False)
    _deadlines: Deadlines | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)
    _away: set[str] = field(factory=set, init=False)
    _finished: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._connections = KeptConnections(self.engine)
        self._reading = KeptConnections(for_reading(self.engine))
        if self.clock is not None:
            self._deadlines = Deadlines(self.clock, ANSWER_LIMIT, lambda: Unavailable(AWAY))
        self._writes = Lane(
            self.worker, partial(self._carry, False), self.writers, self.spare, WRITES_TOGETHER
        )
        self._reads = Lane(
            self.reader or self.worker,
            partial(self._carry, True),
            self.readers,
            0,
            READS_TOGETHER,
        )
        if self.inline is not None:
            carry = partial(self._carry, True)
            self._queries = Lane(self.inline, carry, 1, 0, READS_TOGETHER)

    @property
    def urgent(self) -> Database:
        """The same database, for what must not wait behind a queue: the heartbeat."""
        return _Urgent(self)

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """The result of ``fn(connection, *args)`` after COMMIT.

        :raises consoled.errors.Unavailable: the database is away, or too busy.
        """
        return self._send(self._writes, fn, args)

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As :meth:`run`, for a function that only reads: it waits for no writer.

        :raises consoled.errors.Unavailable: the database is away.
        """
        return self._send(self._way(fn), fn, args)

    async def finish(self) -> None:
        """Returns when nothing waits or runs any more; from then on, all is refused.

        The workers may stop then: nobody would hear of what they are given later.
        """
        lanes = [lane for lane in (self._writes, self._reads, self._queries) if lane is not None]
        while not all(lane.is_idle for lane in lanes):
            for lane in lanes:
                await lane.idle()
        self._finished = True
        if self._deadlines is not None:
            self._deadlines.stop()

    def stop(self) -> None:
        """Closes the connections; called when the workers run nothing any more."""
        self._connections.close()
        self._reading.close()
        self.engine.dispose()

    def _way(self, fn: Callable[..., object]) -> Lane:
        """The lane of a read. In an outage it is the threads', who notice its end."""
        if (
            self._queries is not None
            and self.inline is not None
            and self.inline.stands
            and isinstance(fn, QueryBatch)
            and _kind(True) not in self._away
        ):
            return self._queries
        return self._reads

    def _send(
        self, lane: Lane, fn: Callable[..., T], args: tuple[Any, ...], *, urgent: bool = False
    ) -> Deferred[T]:
        if self._finished:
            return fail(Unavailable(STOPPED))
        call = lane.send(fn, args, urgent=urgent)
        if self._deadlines is not None:
            self._deadlines.watch(call)
        return call.answer

    def _carry(self, reads: bool, calls: list[Call]) -> list[Outcome]:
        """The outcomes of a group, in its order; runs in a worker."""
        if len(calls) == 1:
            return self._one_by_one(reads, calls)
        found: list[Any] | None = None
        try:
            with self._transaction(reads) as connection:
                found = []
                results(calls, connection, found)
            return [Success(result) for result in found]
        except Exception as error:
            if meaning(error) is not Meaning.AWAY:
                return self._one_by_one(reads, calls)
            if found is None or len(found) == len(calls):
                # It did not begin, or its COMMIT may or may not have come about.
                self._note_away(reads, error)
                return [Unavailable(AWAY) for _ in calls]
            return self._one_by_one(reads, calls, failed=self._culprit(calls, len(found)))

    @staticmethod
    def _culprit(calls: list[Call], done: int) -> int | None:
        """The call that was under way when so many were done, where that is known."""
        return None if isinstance(calls[done].fn, Batch) else done

    def _one_by_one(
        self, reads: bool, calls: list[Call], failed: int | None = None
    ) -> list[Outcome]:
        """As a group could not be carried out, each for itself.

        :param failed: the position of one that the database did not answer: a lock that it
            waits for, say. It has had its time. If the next one gets no answer either,
            nobody's waits are added up: the rest is not tried.
        """
        outcomes: list[Outcome] = []
        away = False
        for at, call in enumerate(calls):
            if away or at == failed:
                outcomes.append(Unavailable(AWAY))
            else:
                outcome, away = self._attempts(reads, call)
                outcomes.append(outcome)
        return outcomes

    def _attempts(self, reads: bool, call: Call) -> tuple[Outcome, bool]:
        """One call's outcome, and whether the database did not answer."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._transaction(reads) as connection:
                    result = call(connection)
                return Success(result), False
            except Exception as error:
                verdict = meaning(error)
                if verdict is Meaning.BUG:
                    return error, False
                if verdict is Meaning.AWAY or attempt == ATTEMPTS:
                    self._note_away(reads, error)
                    break
        return Unavailable(AWAY), verdict is Meaning.AWAY

    @contextmanager
    def _transaction(self, reads: bool) -> Iterator[Connection]:
        with (self._reading if reads else self._connections).transaction() as connection:
            yield connection
        if self._away:
            self._away.discard(_kind(reads))
            if not self._away:
                self._log.info("the database is back")

    def _note_away(self, reads: bool, error: Exception) -> None:
        """One line an outage; the statement and its parameters are not in it.

        A full disk takes no writes and is read all the same: that ends no outage.
        """
        first = not self._away
        self._away.add(_kind(reads))
        if first:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            self._log.error("the database is away: {cause}", cause=cause)


def _kind(reads: bool) -> str:
    return "reads" if reads else "writes"


@frozen
class _Urgent:
    """Implements :class:`consoled.interfaces.Database`: its writes go before all others."""

    cell: CellDatabase

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As :meth:`CellDatabase.run`, before what waits and in a transaction of its own."""
        return self.cell._send(self.cell._writes, fn, args, urgent=True)

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As :meth:`CellDatabase.read`."""
        return self.cell.read(fn, *args)
