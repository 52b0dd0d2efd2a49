"""consoled.db.threads: real threads, and an end that forgets nobody."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from threading import current_thread

from sqlalchemy import Connection, func, insert, select
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from consoled.db import tokens
from consoled.db.engine import make_engine
from consoled.db.tables import replicas
from consoled.db.threads import DatabaseThreads
from consoled.errors import Unavailable


def write(connection: Connection, number: int) -> int:
    connection.execute(
        insert(replicas), {"id": str(number), "cell": "", "url": "", "beat": 0, "dead": False}
    )
    return number


def count(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(replicas)) or 0)


class Threads(TestCase):
    """A database file with threads of its own."""

    def make(self, url: str) -> DatabaseThreads:
        engine = make_engine(url)
        replicas.create(engine)
        return DatabaseThreads.of(engine, reactor)

    def file(self) -> DatabaseThreads:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return self.make(f"sqlite:///{folder.name}/cell.sqlite")

    async def test_many_at_once(self) -> None:
        """Everybody gets the own answer, reads among the writes too."""
        threads = self.file()
        threads.start()
        writes = [threads.database.run(write, number) for number in range(300)]
        reads = [threads.database.read(count) for _ in range(50)]
        self.assertEqual(await gatherResults(writes), list(range(300)))
        self.assertTrue(all(0 <= seen <= 300 for seen in await gatherResults(reads)))
        self.assertEqual(await threads.database.read(count), 300)
        await threads.stop()

    async def test_the_end_waits_for_what_was_asked(self) -> None:
        """Writes that wait when the daemon stops are done and answered; later ones refused."""
        threads = self.file()
        threads.start()
        writes = [threads.database.run(write, number) for number in range(200)]
        await threads.stop()
        self.assertTrue(all(answer.called for answer in writes))
        self.assertEqual(await gatherResults(writes), list(range(200)))
        with self.assertRaises(Unavailable):
            await threads.database.run(write, 200)

    async def test_each_kind_has_threads_of_its_own(self) -> None:
        """Reads do not stand behind writes; a database in memory has one thread for all."""

        def where(_: Connection) -> str:
            return current_thread().name

        for make, same in ((self.file, False), (lambda: self.make("sqlite://"), True)):
            threads = make()
            threads.start()
            writer = await threads.database.run(where)
            self.assertEqual(writer, await threads.database.urgent.run(where))
            self.assertEqual(writer == await threads.database.read(where), same)
            await threads.stop()

    async def test_a_server_that_is_not_there(self) -> None:
        """Nothing is opened before the start; an end leaves nothing in the reactor."""
        engine = make_engine("postgresql+psycopg://nobody@/cell?host=/nonexistent")
        threads = DatabaseThreads.of(engine, reactor)
        inline = threads.database.inline
        assert inline is not None
        self.assertEqual(engine.pool.checkedin(), 0)
        self.assertFalse(inline.stands)
        threads.start()
        with self.assertRaises(Unavailable):
            await threads.database.read(tokens.find, "0" * 64)
        await threads.stop()
        self.assertFalse(inline.stands)
