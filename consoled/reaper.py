"""Deletes expired console tokens now and then (specification: a periodic task, by host).

A round cleans the hosts that this daemon serves, and one more host that it finds in the
table: so, in turn, those that nobody serves any more are cleaned too. A round works in
bounded batches with a pause after each, so that the issue and check of tokens never wait
for more than one batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from consoled.db import tokens
from consoled.errors import ConsoledError
from consoled.interfaces import Database


@define(eq=False)
class Reaper(Service):
    """The expiry loop.

    :ivar hosts: the addresses of the consoles that this daemon serves, as they are now.
    :ivar interval: seconds between rounds; the first comes after a random part of it, so
        that the replicas of a cell do not work at the same moment.
    :ivar batch: how many rows one transaction deletes at most.
    :ivar pause: seconds between two batches.
    :ivar jitter: gives the random part, 0 <= part < 1.
    :ivar further: delete other rows whose time is over, so many at most; how many there were.
    """

    database: Database
    hosts: Callable[[], Deferred[Iterable[str]]]
    clock: IReactorTime
    interval: float = 60.0
    batch: int = 50
    pause: float = 0.02
    jitter: Callable[[], float] = random.random
    further: Sequence[Callable[[int], Deferred[int]]] = ()
    _log: Logger = field(factory=Logger, init=False)
    _first: IDelayedCall | None = field(default=None, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[LoopingCall] | None = field(default=None, init=False)
    _pausing: Deferred[None] | None = field(default=None, init=False)
    _stranger: str = field(default="", init=False)

    def startService(self) -> None:
        """Schedules the first round."""
        super().startService()
        self._first = self.clock.callLater(self.jitter() * self.interval, self._begin)

    def stopService(self) -> Deferred[LoopingCall] | None:
        """Ends the loop; the Deferred fires when no batch runs any more."""
        super().stopService()
        if self._first is not None and self._first.active():
            self._first.cancel()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._pausing is not None:
            self._pausing.cancel()
        return self._ended

    def _begin(self) -> None:
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self.clock
        self._ended = self._loop.start(self.interval)

    async def _round(self) -> None:
        """One round; an exception that left it would end the loop for good."""
        try:
            served = sorted(set(await self.hosts()))
            for host in served:
                await self._clean(host)
            self._stranger = await self._next_stranger()
            if self._stranger and self._stranger not in served:
                await self._clean(self._stranger)
            for delete in self.further:
                await self._repeat(delete)
        except CancelledError:
            pass
        except ConsoledError as error:
            self._log.warn("expired tokens stay until the next round: {cause}", cause=str(error))
        except Exception:
            self._log.failure("deleting expired tokens failed; the next round tries again")

    async def _next_stranger(self) -> str:
        if not self.running:
            return ""
        following = await self.database.run(tokens.next_host, self._stranger)
        if following is None and self._stranger:
            following = await self.database.run(tokens.next_host, "")
        return following or ""

    async def _clean(self, host: str) -> None:
        deleted = await self._repeat(partial(self.database.run, tokens.delete_expired, host))
        if deleted:
            self._log.info("deleted {count} expired tokens of {host}", count=deleted, host=host)

    async def _repeat(self, delete: Callable[[int], Deferred[int]]) -> int:
        """Batch by batch; how many rows that were."""
        deleted = 0
        while self.running:
            count = await delete(self.batch)
            deleted += count
            if count < self.batch or not self.running:
                break
            self._pausing = deferLater(self.clock, self.pause)
            await self._pausing
            self._pausing = None
        return deleted
