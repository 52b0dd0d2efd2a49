"""Workers: blocking calls away from the reactor thread, or at once in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


@define
class ThreadWorker:
    """A thread pool of its own for one kind of blocking work.

    :ivar reactor: where results come back.
    :ivar name: shown in thread lists.
    :ivar threads: how many calls run at once.
    """

    reactor: IReactorFromThreads
    name: str
    threads: int = 1
    _pool: ThreadPool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pool = ThreadPool(minthreads=0, maxthreads=self.threads, name=self.name)

    def start(self) -> None:
        """Starts the pool; called after twistd's fork."""
        self._pool.start()

    def stop(self) -> None:
        """Waits for the running calls and ends the threads."""
        self._pool.stop()

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of ``fn`` from a thread of the pool."""
        result: Deferred[T] = deferToThreadPool(self.reactor, self._pool, fn, *args, **kwargs)
        return result


class InlineWorker:
    """Runs each call at once in the calling thread: deterministic tests."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """An already fired Deferred."""
        return maybeDeferred(fn, *args, **kwargs)
