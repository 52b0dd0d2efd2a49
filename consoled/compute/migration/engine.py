"""What moves guests for a daemon: libvirt, asked in threads of their own.

One thread performs a migration from its beginning to its end, another one asks how far it is.
Both end with it; neither is waited for when the daemon stops, and libvirt goes on alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.compute.libvirt.asking import Asker, OwnWorker
from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.migrating import LibvirtMigrations
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.migration.values import Leaving, Order, Progress
from consoled.errors import Unavailable

T = TypeVar("T")

TIMEOUT = 15.0
"""Seconds for an answer of libvirt's."""

INTERVAL = 1.0
"""Seconds between two questions how far a migration is."""


@define(eq=False)
class ThreadedEngine:
    """Implements :class:`consoled.compute.migration.migrator.Engine`.

    :ivar new_thread: makes a thread's worker, of that name.
    """

    reactor: Any
    libvirt: LibvirtMigrations = field(factory=LibvirtMigrations)
    new_thread: Callable[[str], OwnWorker] = field()

    @new_thread.default
    def _daemon_threads(self) -> Callable[[str], OwnWorker]:
        return lambda name: DaemonThread(self.reactor, name)

    def look(self, uri: str, name: str) -> Deferred[Leaving | None]:
        """A domain that is to migrate."""
        return self._ask(uri, lambda: self.libvirt.look(uri, name))

    def run(self, order: Order, report: Callable[[Progress], None]) -> Deferred[None]:
        """Migrates, and reports every second."""
        performer = self.new_thread(f"migration-{order.name}")
        watcher = self.new_thread(f"progress-{order.name}")
        asker = Asker(f"libvirt at {order.source_uri}", watcher, self.reactor, TIMEOUT)
        performer.start()
        watcher.start()
        running = True

        def look() -> None:
            asker.ask(lambda: self.libvirt.progress(order.source_uri, order.uuid)).addBoth(heard)

        def heard(progress: Progress | Failure | None) -> None:
            if running:
                if isinstance(progress, Progress):
                    report(progress)
                self.reactor.callLater(INTERVAL, begin_again)

        def begin_again() -> None:
            if running:
                look()

        def over(outcome: T) -> T:
            nonlocal running
            running = False
            performer.stop()
            watcher.stop()
            return outcome

        look()
        return performer.run(self.libvirt.perform, order).addErrback(_away).addBoth(over)

    def progress(self, uri: str, uuid: str) -> Deferred[Progress | None]:
        """How far a domain's migration is, whoever began it."""
        return self._ask(uri, lambda: self.libvirt.progress(uri, uuid))

    def abort(self, uri: str, uuid: str) -> Deferred[bool]:
        """Asks libvirt to end a domain's migration, whoever began it."""
        return self._ask(uri, lambda: self.libvirt.abort(uri, uuid))

    def _ask(self, uri: str, question: Callable[[], T]) -> Deferred[T]:
        worker = self.new_thread("migrations")
        worker.start()
        asker = Asker(f"libvirt at {uri}, about migrations,", worker, self.reactor, TIMEOUT)

        def over(outcome: T | Failure) -> T | Failure:
            worker.stop()
            return outcome

        return asker.ask(question).addBoth(over)


def _away(failure: Failure) -> None:
    failure.trap(ClientError)
    raise Unavailable(f"libvirt was lost in the middle: {failure.getErrorMessage()}")
