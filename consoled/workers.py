"""Workers: blocking calls away from the reactor thread, or at once in tests."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


@define
class ThreadWorker:
    """Threads of its own for one kind of blocking work.

    Plain ones around one queue, which costs a call less than Twisted's pool does.

    :ivar reactor: where results come back.
    :ivar name: shown in thread lists.
    :ivar threads: how many calls run at once.
    """

    reactor: IReactorFromThreads
    name: str
    threads: int = 1
    _jobs: SimpleQueue[Callable[[], None] | None] = field(factory=SimpleQueue, init=False)
    _running: list[Thread] = field(factory=list, init=False)

    def start(self) -> None:
        """Starts the threads; called after twistd's fork."""
        for number in range(self.threads):
            thread = Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
            thread.start()
            self._running.append(thread)

    def stop(self) -> Deferred[None]:
        """Ends the threads; fires when all calls that were given are done.

        The reactor goes on meanwhile: a call that hangs holds up no signal and no deadline.
        """
        running, self._running = self._running, []
        ended: Deferred[None] = Deferred()
        if not running:
            return succeed(None)

        def watch() -> None:
            for thread in running:
                thread.join()
            self.reactor.callFromThread(ended.callback, None)

        for _ in running:
            self._jobs.put(None)
        Thread(target=watch, name=f"{self.name}-end", daemon=True).start()
        return ended

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of ``fn`` from one of the threads.

        Cancelling stops nothing that runs; only nobody hears of it.
        """
        result: Deferred[T] = Deferred()

        def job() -> None:
            outcome: T | Failure
            try:
                outcome = fn(*args, **kwargs)
            except BaseException:
                outcome = Failure()
            self.reactor.callFromThread(result.callback, outcome)

        self._jobs.put(job)
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class InlineWorker:
    """Runs each call at once in the calling thread: deterministic tests."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """An already fired Deferred."""
        return maybeDeferred(fn, *args, **kwargs)
