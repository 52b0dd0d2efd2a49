"""consoled.workers: threads of one kind of work."""

from __future__ import annotations

from threading import Barrier, Event, current_thread
from threading import enumerate as enumerate_threads

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import TestCase

from consoled.workers import ThreadWorker


class Workers(TestCase):
    """Real threads."""

    def worker(self, threads: int = 1) -> ThreadWorker:
        made = ThreadWorker(reactor, "work", threads)
        self.addCleanup(made.stop)
        return made

    async def test_results_and_errors_come_back(self) -> None:
        """What a call gives or raises arrives, from the worker's own thread."""
        worker = self.worker()
        worker.start()
        self.assertEqual(await worker.run(lambda a, b: a + b, 1, b=2), 3)
        self.assertEqual(await worker.run(lambda: current_thread().name), "work-0")
        with self.assertRaisesRegex(ValueError, "no"):
            await worker.run(int, "no")

    async def test_calls_before_the_start_wait_for_it(self) -> None:
        """No thread runs before twistd's fork, and nothing that was asked is lost."""
        worker = self.worker()
        early = [worker.run(abs, -number) for number in range(3)]
        worker.start()
        self.assertEqual(await gatherResults(early), [0, 1, 2])

    async def test_as_many_at_once_as_threads(self) -> None:
        """Calls that wait for each other are all under way."""
        worker = self.worker(3)
        worker.start()
        meeting = Barrier(3)
        met = [worker.run(meeting.wait, 30) for _ in range(3)]
        self.assertEqual(sorted(await gatherResults(met)), [0, 1, 2])

    async def test_the_end_waits_for_what_was_given(self) -> None:
        """A stop carries out what waits, and ends the threads."""
        worker = self.worker()
        worker.start()
        done: list[int] = []
        for number in range(50):
            worker.run(done.append, number)
        await worker.stop()
        self.assertEqual(done, list(range(50)))
        self.assertNotIn("work-0", [thread.name for thread in enumerate_threads()])

    async def test_a_cancelled_call_is_nobodys(self) -> None:
        """Its outcome is dropped without a word; the next call is answered."""
        worker = self.worker()
        cancelled = worker.run(int, "no")
        cancelled.cancel()
        worker.start()
        with self.assertRaises(CancelledError):
            await cancelled
        self.assertEqual(await worker.run(abs, -1), 1)

    async def test_a_stuck_call_holds_nobody_up_but_the_end(self) -> None:
        """The event loop goes on while a stop waits: so signals and deadlines are heard."""
        worker, release = self.worker(), Event()
        worker.start()
        worker.run(release.wait)
        ended = worker.stop()
        self.assertNoResult(ended)
        release.set()
        await ended
        self.assertIsNone(await worker.stop())
