"""Moves a guest while this process waits, shows how far it is, and heeds ^C."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.migrating import LibvirtMigrations
from consoled.compute.migration.values import Leaving, Order, Progress
from consoled.errors import Unavailable

INTERVAL = 0.5
"""Seconds between two looks how far a migration is."""


@define(eq=False)
class InlineEngine:
    """Implements :class:`consoled.compute.migration.migrator.Engine`; each Deferred has fired.

    :ivar cancelling: called when ^C was heard.
    """

    cancelling: Callable[[], None] = lambda: None
    libvirt: LibvirtMigrations = field()

    @libvirt.default
    def _library(self) -> LibvirtMigrations:
        return LibvirtMigrations()

    def look(self, uri: str, name: str) -> Deferred[Leaving | None]:
        """A domain that is to migrate."""
        return maybeDeferred(self.libvirt.look, uri, name)

    def run(self, order: Order, report: Callable[[Progress], None]) -> Deferred[None]:
        """Migrates; the first ^C has libvirt asked for the end of that, a second one leaves.

        libvirt then goes on alone.
        """
        return maybeDeferred(self._run, order, report)

    def progress(self, uri: str, uuid: str) -> Deferred[Progress | None]:
        """How far a domain's migration is."""
        return maybeDeferred(self.libvirt.progress, uri, uuid)

    def abort(self, uri: str, uuid: str) -> Deferred[bool]:
        """Asks libvirt to end a domain's migration."""
        return maybeDeferred(self.libvirt.abort, uri, uuid)

    def _run(self, order: Order, report: Callable[[Progress], None]) -> None:
        # Not the thread's own join: ^C in it makes a thread that runs look like one that ended.
        outcome: SimpleQueue[Exception | None] = SimpleQueue()

        def perform() -> None:
            try:
                self.libvirt.perform(order)
            except Exception as error:  # it is told by whoever waits
                outcome.put(error)
            else:
                outcome.put(None)

        Thread(target=perform, daemon=True).start()
        error = self._wait(order, report, outcome)
        if isinstance(error, ClientError):
            raise Unavailable(f"libvirt was lost in the middle: {error}.") from None
        if error is not None:
            raise error

    def _wait(
        self,
        order: Order,
        report: Callable[[Progress], None],
        outcome: SimpleQueue[Exception | None],
    ) -> Exception | None:
        cancelling = False
        while True:
            try:
                # Whoever performs it says what is wrong.
                with suppress(ClientError):
                    progress = self.libvirt.progress(order.source_uri, order.uuid)
                    if progress is not None:
                        report(progress)
                with suppress(Empty):
                    return outcome.get(timeout=INTERVAL)
            except KeyboardInterrupt:
                if cancelling:
                    raise CancelledError from None
                cancelling = True
                self.cancelling()
                with suppress(ClientError):
                    self.libvirt.abort(order.source_uri, order.uuid)
