"""A worker of one daemon thread, for a library whose calls can hang for good.

Twisted's thread pools join their threads when they stop, and Python those that are not
daemons at exit: with a stuck libvirtd neither would ever end.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


@define
class DaemonThread:
    """Implements :class:`consoled.interfaces.Worker`: calls run one after the other.

    :ivar reactor: where results come back.
    :ivar name: shown in thread lists.
    """

    reactor: IReactorFromThreads
    name: str
    _jobs: SimpleQueue[Callable[[], None] | None] = field(factory=SimpleQueue, init=False)

    def start(self) -> None:
        """Starts the thread; called after twistd's fork."""
        Thread(target=self._work, name=self.name, daemon=True).start()

    def stop(self) -> None:
        """Lets the thread end after what it was given; waits for nothing."""
        self._jobs.put(None)

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of ``fn`` from the thread."""
        result: Deferred[T] = Deferred()

        def job() -> None:
            outcome: T | Failure
            try:
                outcome = fn(*args, **kwargs)
            except Exception:
                outcome = Failure()
            self.reactor.callFromThread(result.callback, outcome)

        self._jobs.put(job)
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
