"""The poll: one look at the other replicas, and at what is asked of this one.

A peer whose beat has not changed for the time of silence is declared dead here, by an UPDATE
that finds nothing if it has beaten after all. So the consoles of a dead replica are usually
free before anybody asks for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.db import observers, replicas
from consoled.errors import ConsoledError
from consoled.interfaces import Database
from consoled.leasing.values import News, Timings
from consoled.leasing.watch import PeerWatch

NOBODY = ""
"""No replica's id."""


@define(eq=False, repr=False)
class Lookout:
    """Watches the cell for one replica.

    :ivar own_id: this replica's present id, or None.
    :ivar heard: what the poll of that id has found; its Deferred ends the round.
    :ivar seconds: the own clock of silence.
    """

    database: Database
    timings: Timings
    clock: IReactorTime
    seconds: Callable[[], float]
    own_id: Callable[[], str | None]
    heard: Callable[[str, News], Awaitable[None]]
    _watch: PeerWatch = field(init=False)
    _looked: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _stopped: Deferred[LoopingCall] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._watch = PeerWatch(self.timings.silence)

    @property
    def peers(self) -> bool:
        """Whether there may be another living replica: until the first poll, nobody knows."""
        return not self._looked or self._watch.sees_any

    def start(self) -> None:
        """Polls from now on."""
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self.clock
        self._stopped = self._loop.start(self.timings.poll)

    async def stop(self) -> None:
        """Returns when no poll runs any more."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._stopped is not None:
            await self._stopped

    async def _round(self) -> None:
        """One poll; an exception that left it would end the loop for good."""
        try:
            own_id = self.own_id()
            news = await self.database.read(observers.news, own_id or NOBODY)
            now = self.seconds()
            self._looked = True
            self._watch.saw((peer for peer in news.peers if peer.replica_id != own_id), now)
            if own_id is not None:
                await self.heard(own_id, news)
            await self._declare_dead(now)
        except ConsoledError:
            pass  # The database logs its outages.
        except Exception:
            self._log.failure("the poll of the cell failed; the next one comes in time")

    async def _declare_dead(self, now: float) -> None:
        for peer in self._watch.silent(now):
            if await self.database.run(replicas.declare_dead, peer):
                self._log.warn(
                    "replica {replica_id} has been silent for {silence} s: it is dead, and its "
                    "consoles may be taken",
                    event="replica_declared_dead",
                    replica_id=peer.replica_id,
                    silence=self.timings.silence,
                )
