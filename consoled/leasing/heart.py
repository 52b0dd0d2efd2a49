"""The heartbeat: one UPDATE that renews everything this replica holds.

A beat counts from the moment before it was sent, and only when its COMMIT has come back. An
error or an unknown COMMIT extends nothing. A beat that finds no living row, or one that comes
back too late, ends the incarnation: whoever holds something is told, and the replica
registers under a new id.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.db import replicas
from consoled.errors import ConsoledError, Unavailable
from consoled.interfaces import Database
from consoled.leasing.standing import Standing
from consoled.leasing.values import Timings

NOT_REGISTERED = "The console server cannot reach its database now. Try again in a moment."
LAPSED = "The console server has lost its database for too long. Try again in a moment."
DECLARED_DEAD = "The console server was away for too long. Try again in a moment."
STOPPING = "The console server is restarting. Reconnect in a moment."


def make_replica_id() -> str:
    """A new id for each incarnation."""
    return str(uuid.uuid4())


@define(eq=False, repr=False)
class Heart:
    """Keeps this replica alive in the cell database.

    :ivar cell: the cell's name, kept with the replica.
    :ivar url: where other replicas reach this one.
    :ivar ended: called once when an incarnation has ended, with a reason for people.
    :ivar clock: runs the loops; its time is not looked at.
    :ivar seconds: the own clock of validity.
    """

    database: Database
    cell: str
    url: str
    timings: Timings
    clock: IReactorTime
    seconds: Callable[[], float]
    ended: Callable[[Standing, str], None]
    make_id: Callable[[], str] = make_replica_id
    _log: Logger = field(factory=Logger, init=False)
    _standing: Standing | None = field(default=None, init=False)
    _next: Standing | None = field(default=None, init=False)
    _former: str | None = field(default=None, init=False)
    _lapse: IDelayedCall | None = field(default=None, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _stopped: Deferred[LoopingCall] | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] | None = field(factory=list, init=False)

    @property
    def replica_id(self) -> str | None:
        """The id of the present incarnation."""
        return None if self._standing is None else self._standing.replica_id

    def standing(self) -> Standing:
        """The present incarnation, valid at this moment.

        :raises consoled.errors.Unavailable: there is none.
        """
        standing = self._standing
        if standing is None or not standing.valid(self.seconds()):
            raise Unavailable(NOT_REGISTERED)
        return standing

    def settled(self) -> Deferred[None]:
        """Fires when the first registration has succeeded or failed."""
        if self._waiting is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def start(self) -> None:
        """Registers, and beats from then on."""
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self.clock
        self._stopped = self._loop.start(self.timings.beat)

    async def stop(self) -> None:
        """Ends the incarnation; what it still holds is free for the others at once."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._stopped is not None:
            await self._stopped
        if self._standing is not None:
            self._end(self._standing, STOPPING)
        if self._former is not None:
            try:
                await self.database.run(replicas.end, self._former)
            except ConsoledError as error:
                self._log.warn(
                    "the other replicas must find out by themselves that this one has ended: "
                    "{cause}",
                    cause=str(error),
                )

    async def _round(self) -> None:
        """One beat; an exception that left it would end the loop for good."""
        try:
            if self._standing is not None:
                await self._beat(self._standing)
            if self._standing is None:
                await self._register()
        except ConsoledError:
            pass  # The database logs its outages; the validity goes on running out.
        except Exception:
            self._log.failure("the heartbeat failed; the next one comes in time")
        waiting, self._waiting = self._waiting or [], None
        for deferred in waiting:
            deferred.callback(None)

    async def _register(self) -> None:
        # After an unknown COMMIT the same id is sent again, so that no row is left behind.
        coming = self._next = self._next or Standing(self.make_id())
        sent = self.seconds()
        if not await self.database.run(
            replicas.register, coming.replica_id, self.cell, self.url, self._former
        ):
            self._next = None
            return
        self._next = None
        self._former = None
        coming.begin(sent + self.timings.validity)
        self._standing = coming
        self._log.info(
            "this replica is {replica_id} now",
            event="replica_registered",
            replica_id=coming.replica_id,
        )
        self._watch_validity(coming)

    async def _beat(self, standing: Standing) -> None:
        sent = self.seconds()
        alive = await self.database.run(replicas.beat, standing.replica_id)
        if standing is not self._standing:
            return
        if not alive:
            self._end(standing, DECLARED_DEAD)
        elif standing.extend(sent + self.timings.validity, self.seconds()):
            self._watch_validity(standing)
        else:
            self._end(standing, LAPSED)

    def _watch_validity(self, standing: Standing) -> None:
        self._forget_lapse()
        left = max(0.0, standing.until - self.seconds())
        self._lapse = self.clock.callLater(left, self._maybe_lapsed, standing)

    def _maybe_lapsed(self, standing: Standing) -> None:
        if standing.valid(self.seconds()):
            self._watch_validity(standing)  # The two clocks differ a little.
        else:
            self._end(standing, LAPSED)

    def _end(self, standing: Standing, reason: str) -> None:
        self._forget_lapse()
        standing.end()
        self._standing = None
        self._former = standing.replica_id
        self._log.warn(
            "this replica is {replica_id} no more: {reason}",
            event="replica_ended",
            replica_id=standing.replica_id,
            reason=reason,
        )
        self.ended(standing, reason)

    def _forget_lapse(self) -> None:
        if self._lapse is not None and self._lapse.active():
            self._lapse.cancel()
        self._lapse = None
