"""How many threads a database gets, what does without them, and the order in which they end."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from sqlalchemy import Engine
from twisted.internet.defer import Deferred

from consoled.db.database import CellDatabase
from consoled.db.engine import in_memory
from consoled.db.inline_reads import InlineReads
from consoled.workers import ThreadWorker

SERVER_WRITERS = 2
"""While one group waits for its COMMIT, the next one runs its statements."""

READERS = 2
"""A long list that somebody asks for must not keep the checks of tokens waiting."""


@frozen
class DatabaseThreads:
    """A cell database with threads of its own.

    SQLite has one writer at a time, and readers that do not wait for it. A server also gets
    a thread, and so a connection, that only what is urgent may use. A database in memory
    is one connection, and so one thread. With PostgreSQL by psycopg, reads that are one
    query go without a thread.

    :ivar database: serves from :meth:`start` to :meth:`stop`.
    """

    database: CellDatabase
    _workers: tuple[ThreadWorker, ...]
    _inline: InlineReads | None = None

    @classmethod
    def of(cls, engine: Engine, reactor: Any, name: str = "database") -> Self:
        """The database of that engine; no thread runs yet.

        :param name: shown in thread lists.
        """
        if in_memory(engine):
            only = ThreadWorker(reactor, name, 1)
            return cls(CellDatabase(engine, only), (only,))
        server = engine.dialect.name != "sqlite"
        writers, spare = (SERVER_WRITERS, 1) if server else (1, 0)
        writing = ThreadWorker(reactor, name, writers + spare)
        reading = ThreadWorker(reactor, f"{name}-reads", READERS)
        workers = [writing, reading]
        inline = None
        if (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg"):
            from consoled.db.libpq import dialect, opener  # Its driver is installed.

            opening = ThreadWorker(reactor, f"{name}-opens", 1)
            workers.append(opening)
            inline = InlineReads(reading, opening, opener(engine, reactor), dialect(), reactor)
        database = CellDatabase(engine, writing, reading, writers, READERS, spare, reactor, inline)
        return cls(database, tuple(workers), inline)

    def start(self) -> None:
        """Starts the threads; called after twistd's fork."""
        for worker in self._workers:
            worker.start()
        if self._inline is not None:
            self._inline.start()

    def stop(self) -> Deferred[None]:
        """Fires when all that was asked is done, and threads and connections have ended."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.database.finish()
        if self._inline is not None:
            self._inline.stop()
        for worker in self._workers:
            await worker.stop()
        self.database.stop()
