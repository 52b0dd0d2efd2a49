"""Watches the domains of one hypervisor: a connection for events that always comes back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import deferLater
from twisted.logger import Logger

from consoled.compute.backoff import Backoff
from consoled.compute.libvirt.asking import OwnWorker
from consoled.compute.libvirt.client import ClientError
from consoled.compute.rounds import Rounds

PATIENCE = 10.0
"""Seconds until a hypervisor that does not answer counts as away; its answer is waited for."""

STOP_PATIENCE = 2.0
"""Seconds that closing the connection may take."""


class EventSource(Protocol):
    """A connection that only listens (:class:`consoled.compute.libvirt.events.EventConnection`)."""

    def open(self, changed: Callable[[str], None], lost: Callable[[str], None]) -> None:
        """Connects and listens; blocks.

        :raises consoled.compute.libvirt.client.ClientError: it cannot.
        """

    def close(self) -> None:
        """Listens no more; blocks."""


@define(eq=False)
class DomainWatcher:
    """Connects, has everything looked at, then what events tell of; and again after a loss.

    Events that come while it connects are not lost: it listens before it looks. Those of the
    time without a connection are made good by the look at everything.

    :ivar name: the hypervisor's, for the figures.
    :ivar uri: ``[libvirt] uri``, for the log.
    :ivar worker: one thread, for the connection alone.
    :ivar rounds: has domains looked at.
    :ivar reactor: time, and the way back from libvirt's thread.
    """

    name: str
    uri: str
    source: EventSource
    worker: OwnWorker
    rounds: Rounds
    reactor: Any
    backoff: Backoff = field(factory=lambda: Backoff(1.0, 30.0))
    _log: Logger = field(factory=Logger, init=False)
    _life: Deferred[None] | None = field(default=None, init=False)
    _connected: bool | None = field(default=None, init=False)

    def start(self) -> None:
        """Connects for the first time; called after twistd's fork."""
        self.worker.start()
        self.rounds.start()
        self._life = Deferred.fromCoroutine(self._live())

    async def stop(self) -> None:
        """Ends the rounds and the connection; a stuck call is left behind."""
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await life
        await self.rounds.stop()
        # It does not matter any more whether libvirt answers.
        with suppress(TimedOut):
            await self.worker.run(self.source.close).addTimeout(STOP_PATIENCE, self.reactor)
        self.worker.stop()

    async def _live(self) -> None:
        try:
            while True:
                lost: Deferred[str] = Deferred()
                try:
                    await self._open(lost)
                except ClientError as error:
                    self._note_lost(str(error))
                else:
                    self._note_connected()
                    self.backoff.reset()
                    self.rounds.everything()
                    self._note_lost(await lost)
                    await self.worker.run(self.source.close)
                await deferLater(self.reactor, self.backoff.pause())
        except CancelledError:
            pass
        except Exception:
            self._log.failure(
                "watching {uri} failed; its domains are looked at now and then", uri=self.uri
            )

    async def _open(self, lost: Deferred[str]) -> None:
        def tell_lost(cause: str) -> None:
            if not lost.called:
                lost.callback(cause)

        late = self.reactor.callLater(PATIENCE, self._note_lost, f"no answer within {PATIENCE:g} s")
        try:
            await self.worker.run(
                self.source.open,
                lambda uuid: self.reactor.callFromThread(self.rounds.changed, uuid),
                lambda cause: self.reactor.callFromThread(tell_lost, cause),
            )
        finally:
            if late.active():
                late.cancel()

    def _note_connected(self) -> None:
        if self._connected is not True:
            self._log.info(
                "libvirt at {uri} tells what happens to its domains{again}",
                event="hypervisor_connected",
                hypervisor=self.name,
                uri=self.uri,
                again="" if self._connected is None else " again",
            )
        self._connected = True

    def _note_lost(self, cause: str) -> None:
        if self._connected is not False:
            self._log.error(
                "libvirt at {uri} does not tell what happens to its domains: {cause}; consoled "
                "tries again, and what is open goes on",
                event="hypervisor_lost",
                hypervisor=self.name,
                uri=self.uri,
                cause=cause.rstrip("."),
            )
        self._connected = False
