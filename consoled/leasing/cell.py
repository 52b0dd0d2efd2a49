"""The leases of one replica, kept in the cell database.

A lease is taken in two steps of one transaction: a look at the console's row, and an UPDATE
that finds the row only as it was seen. It counts after COMMIT, while this replica's standing
is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.db import leases, observers
from consoled.errors import ConsoleBusy, ConsoledError, InstanceNotRunning, NotFound, Unavailable
from consoled.interfaces import Database, Lease
from consoled.leasing.clock import boottime
from consoled.leasing.heart import STOPPING, Heart, make_replica_id
from consoled.leasing.lookout import Lookout
from consoled.leasing.standing import Standing
from consoled.leasing.values import (
    Claim,
    ConsoleKey,
    Holder,
    LeaseRow,
    News,
    Taking,
    Timings,
    Watcher,
    Wish,
)
from consoled.model import SERIAL

EndSession = Callable[[str, int, str], object]
"""Ends a session of this replica: its id, a close code, a reason for people."""

LoseConsole = Callable[[ConsoleKey, int, str], object]
"""Ends everything on one console of this replica: a close code, a reason for people."""

DISCONNECTED = 4410
"""The close code of a forced disconnect."""

ATTEMPTS = 3
"""How often a console is looked at again that was given back at that very moment."""

BUSY = "This console is in use by another session. Try again when it ends."
GONE = "This console does not exist any more."
TOO_LATE = "The console server has just been cut off from its database. Try again in a moment."


@define(eq=False)
class CellLease:
    """One console's lease (implements :class:`consoled.interfaces.Lease`).

    :ivar seized: it was taken from a dead replica, or may have been: QEMU's one client slot
        may still be occupied.
    :ivar unnoted: what the database has not heard yet of who has the console.
    :ivar company: what it has not heard yet of who watches it.
    :ivar watched: whether anybody has watched it.
    """

    claim: Claim
    seized: bool
    _standing: Standing
    _seconds: Callable[[], float] = field(repr=False)
    unnoted: tuple[Claim, Holder, bool] | None = field(default=None, init=False)
    company: tuple[Watcher, ...] | None = field(default=None, init=False)
    watched: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    _asked: set[str] = field(factory=set, init=False)

    @property
    def valid(self) -> bool:
        """Whether bytes may move now: two comparisons and a look at the clock."""
        return not self._over and self._seconds() < self._standing.until

    @property
    def epoch(self) -> int:
        """How often this console was taken until now."""
        return self.claim.epoch

    def of(self, standing: Standing) -> bool:
        """Whether it was taken in that incarnation."""
        return self._standing is standing

    def lose(self) -> None:
        """It is not valid any more, whatever its replica's standing."""
        self._over = True

    def ask_once(self, session_id: str) -> bool:
        """Whether that session is asked to end for the first time."""
        first = session_id not in self._asked
        self._asked.add(session_id)
        return first

    def same(self, claim: Claim) -> bool:
        """Whether the claim is of this taking of the console, for whichever session."""
        return _named(claim) == _named(self.claim)


@define(eq=False, repr=False)
class CellLeases:
    """Implements :class:`consoled.interfaces.Leases` over the cell database.

    :ivar cell: the cell's name.
    :ivar url: where other replicas reach this one.
    :ivar end: called when a session must end, because somebody disconnects it.
    :ivar lose: called when a console's lease is lost: fenced, or the console is gone.
        The backend socket is closed then, and the lease given back.
    :ivar saw: told the ids of all living replicas at each poll.
    :ivar clock: runs the loops.
    :ivar seconds: the clock of validity and silence; nobody may be able to set it.
    :ivar beats: the database for the heartbeat alone, where its writes wait behind no others.
    """

    database: Database
    cell: str
    url: str
    clock: IReactorTime
    end: EndSession
    lose: LoseConsole
    saw: Callable[[Collection[str]], object] = lambda living: None
    timings: Timings = field(factory=Timings)
    seconds: Callable[[], float] = boottime
    make_id: Callable[[], str] = make_replica_id
    beats: Database | None = None
    _heart: Heart = field(init=False)
    _lookout: Lookout = field(init=False)
    _log: Logger = field(factory=Logger, init=False)
    _held: dict[ConsoleKey, CellLease] = field(factory=dict, init=False)
    _taking: set[str] = field(factory=set, init=False)
    _differs: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)
    _former: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._heart = Heart(
            database=self.beats or self.database,
            cell=self.cell,
            url=self.url,
            timings=self.timings,
            clock=self.clock,
            seconds=self.seconds,
            ended=self._fence,
            make_id=self.make_id,
        )
        self._lookout = Lookout(
            database=self.database,
            timings=self.timings,
            clock=self.clock,
            seconds=self.seconds,
            own_id=lambda: self._heart.replica_id,
            heard=self._heard,
        )

    @property
    def replica_id(self) -> str | None:
        """This replica's present id; None while it has none."""
        return self._heart.replica_id

    def start(self) -> None:
        """Registers the replica; called after twistd's fork, when the database's worker runs."""
        self._heart.start()
        self._lookout.start()

    def stop(self) -> Deferred[None]:
        """Ends what is still held, and the replica; called before the database's worker stops.

        A console whose socket nobody has closed stays in the name of the dead replica: it is
        free at once, and whoever takes it is told that it was seized.
        """
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._lookout.stop()
        await self._heart.stop()

    def take(
        self,
        instance_uuid: str,
        index: int,
        session_id: str,
        *,
        console_type: str = SERIAL,
        holder: Holder = Holder(),  # noqa: B008  # frozen
    ) -> Deferred[Lease]:
        """The console's lease for that session. Cancelling leaves nothing behind.

        :param holder: for whom; shown to others as far as policy lets them know.
        :raises consoled.errors.ConsoleBusy: another session holds it.
        :raises consoled.errors.NotFound: there is no such console any more.
        :raises consoled.errors.Unavailable: the database is away.
        """
        key = ConsoleKey(instance_uuid, index, console_type)
        answer: Deferred[Lease] = Deferred()

        def taken(lease: CellLease) -> None:
            # A cancelled answer has been called already.
            if answer.called:
                self.release(lease)
            else:
                answer.callback(lease)

        def failed(failure: Failure) -> None:
            if not answer.called:
                answer.errback(failure)

        taking = Deferred.fromCoroutine(self._take(key, session_id, holder))
        taking.addCallbacks(taken, failed)
        return answer

    def release(self, lease: Lease) -> Deferred[None]:
        """Gives it back; called after the backend socket is closed.

        It never fails: what the database does not hear now, a later poll finds and repairs.
        """
        assert isinstance(lease, CellLease)
        lease.lose()
        key = lease.claim.key
        if self._held.get(key) is lease:
            del self._held[key]
        if lease.watched:
            return Deferred.fromCoroutine(self._release_watched(lease))
        return Deferred.fromCoroutine(self._release(lease.claim))

    async def _release_watched(self, lease: CellLease) -> None:
        await self.watch(lease, ())
        await self._release(lease.claim)

    def watch(self, lease: Lease, watchers: Sequence[Watcher]) -> Deferred[None]:
        """Tells the whole cell who watches the console now.

        As with :meth:`note`, it never fails, and only the last of several counts.
        """
        assert isinstance(lease, CellLease)
        waits = lease.company is not None
        lease.company, lease.watched = tuple(watchers), True
        return succeed(None) if waits else Deferred.fromCoroutine(self._watch(lease))

    async def _watch(self, lease: CellLease) -> None:
        while lease.company is not None:
            company = lease.company
            try:
                await self.database.run(observers.note, lease.claim, company)
            except Unavailable:
                pass  # It only tells others of them.
            except Exception:
                self._log.failure("noting who watches a console")
            if lease.company is company:
                lease.company = None

    def note(self, lease: Lease, session_id: str, holder: Holder, lingers: bool) -> Deferred[None]:
        """Tells the whole cell which session has the console now.

        It never fails, and notes reach the database in their order: of several that wait only
        the last one counts.

        :param lingers: whether it waits for its viewer, and yields to anybody.
        """
        assert isinstance(lease, CellLease)
        lease.claim = evolve(lease.claim, session_id=session_id)
        waits = lease.unnoted is not None
        lease.unnoted = (lease.claim, holder, lingers)
        return succeed(None) if waits else Deferred.fromCoroutine(self._note(lease))

    async def _note(self, lease: CellLease) -> None:
        while lease.unnoted is not None:
            note = lease.unnoted
            try:
                await self.database.run(leases.note, *note)
            except Unavailable:
                pass  # It only tells others whom they may ask.
            except Exception:
                self._log.failure("noting who has a console")
            if lease.unnoted is note:
                lease.unnoted = None

    def elsewhere(
        self,
        instance_uuid: str | None,
        index: int,
        session_id: str | None,
        *,
        console_type: str = SERIAL,
    ) -> Deferred[LeaseRow | None]:
        """The lease of that session, else of that console, if another living replica has it.

        While this replica is alone in its cell, nothing is asked.

        :param instance_uuid: None asks for the session only.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if not self._lookout.peers:
            return succeed(None)
        key = None if instance_uuid is None else ConsoleKey(instance_uuid, index, console_type)
        found = self.database.read(leases.owner, key, session_id)
        return found.addCallback(lambda row: row if self._foreign(row) else None)

    def _foreign(self, row: LeaseRow | None) -> bool:
        return row is not None and not row.free and row.replica_id != self.replica_id

    def sessions(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """What is held now, by all living replicas of the cell.

        :param instance_uuid: of this instance only.
        :param session_id: by this session only.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.read(leases.held, instance_uuid, session_id)

    def company(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """Every session of the cell's living replicas, those that watch included.

        :param instance_uuid: of this instance only.
        :param session_id: this session only.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.read(observers.company, instance_uuid, session_id)

    def request_disconnect(
        self,
        by: str,
        reason: str,
        *,
        session_id: str | None = None,
        instance_uuid: str | None = None,
    ) -> Deferred[list[LeaseRow]]:
        """Ends one session, or all of an instance, whichever replica they are in.

        :param by: the user who asks.
        :param reason: what the disconnected viewer is told.
        :returns: the leases whose sessions end now; an empty list where there are none.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if session_id is None and instance_uuid is None:
            raise ValueError("name a session or an instance")
        asked = self.database.run(observers.want, by, reason, session_id, instance_uuid)
        return asked.addCallback(self._asked, by, reason)

    def _asked(self, rows: list[LeaseRow], by: str, reason: str) -> list[LeaseRow]:
        for row in rows:
            self._disconnect(row, by, reason)
        return rows

    async def _take(self, key: ConsoleKey, session_id: str, holder: Holder) -> CellLease:
        await self._heart.settled()
        for _ in range(ATTEMPTS):
            lease = await self._attempt(key, session_id, holder)
            if lease is not None:
                return lease
        raise ConsoleBusy(BUSY)

    async def _attempt(self, key: ConsoleKey, session_id: str, holder: Holder) -> CellLease | None:
        standing = self._present()
        # One of ours that was fenced may not have closed its socket yet.
        if key in self._held:
            raise _refusal(await self.database.read(leases.look, key))
        self._taking.add(session_id)
        try:
            taking, seized = await self._obtained(
                Wish(key, standing.replica_id, session_id, holder)
            )
            claim = taking.claim
            if claim is None:
                if taking.row is not None and taking.row.free:
                    return None
                raise _refusal(taking.row)
            lease = CellLease(claim, seized, standing, self.seconds)
            if lease.valid:
                self._held[key] = lease
                return lease
        finally:
            self._taking.discard(session_id)
        await self._release(claim)
        raise Unavailable(STOPPING if self._stopping else TOO_LATE)

    def _present(self) -> Standing:
        if self._stopping:
            raise Unavailable(STOPPING)
        return self._heart.standing()

    async def _obtained(self, wish: Wish) -> tuple[Taking, bool]:
        """What came of the wish, and whether the console was seized.

        An unknown COMMIT is read back. It does not say from whom the console was taken, so
        the worst is supposed.
        """
        try:
            taking = await self.database.run(leases.obtain, wish)
        except Unavailable:
            claim = await self.database.read(leases.granted, wish)
            if claim is None:
                raise
            return Taking(claim), True
        # What a former incarnation of this process held, it has closed itself.
        seized = taking.previous is not None and taking.previous not in self._former
        return taking, seized

    async def _release(self, claim: Claim) -> None:
        try:
            await self.database.run(leases.release, claim)
        except Unavailable:
            pass  # The poll finds it.
        except Exception:
            self._log.failure("giving back a console of session {id}", id=claim.session_id)

    async def _heard(self, own_id: str, news: News) -> None:
        """What a poll has found about this replica's own leases."""
        self.saw({peer.replica_id for peer in news.peers})
        for row in news.wanted:
            self._disconnect(row, row.wanted_by or "", row.wanted or "")
        # A take or release under way makes a difference too, but hardly for two polls.
        differed, self._differs = self._differs, news.held != len(self._held)
        if differed and self._differs:
            await self._repair(own_id)

    async def _repair(self, own_id: str) -> None:
        """Makes the database and this process agree about what is held.

        A lease without its row is lost: the instance was deleted. A row without its lease is
        left from a COMMIT that was never heard of.
        """
        before = [lease for lease in self._held.values() if lease.claim.replica_id == own_id]
        rows = await self.database.read(leases.held_by, own_id)
        there = {_named(claim) for claim in rows}
        known = {_named(lease.claim) for lease in self._held.values()}
        for lease in before:
            mark = _named(lease.claim)
            if mark in known and mark not in there and lease.ask_once(GONE):
                lease.lose()
                self._tell(lease, InstanceNotRunning.close_code, GONE)
        strays = [
            claim
            for claim in rows
            if _named(claim) not in known and claim.session_id not in self._taking
        ]
        for claim in strays:
            await self._release(claim)

    def _disconnect(self, row: LeaseRow, by: str, reason: str) -> None:
        lease = self._held.get(row.key)
        claim = row.claim
        if claim is None or lease is None or not lease.same(claim):
            return
        if lease.ask_once(claim.session_id):
            self._log.info(
                "session {session_id} is disconnected by {by}: {reason}",
                event="session_disconnected",
                session_id=row.session_id,
                by=by,
                reason=reason,
            )
            self._guard(self.end, claim.session_id, DISCONNECTED, reason)

    def _fence(self, standing: Standing, reason: str) -> None:
        """Every lease of an ended incarnation is invalid already; now its session hears it."""
        self._former.add(standing.replica_id)
        for lease in [lease for lease in self._held.values() if lease.of(standing)]:
            self._tell(lease, Unavailable.close_code, reason)

    def _tell(self, lease: CellLease, code: int, reason: str) -> None:
        self._guard(self.lose, lease.claim.key, code, reason)

    def _guard(self, call: Callable[..., object], *words: object) -> None:
        try:
            call(*words)
        except Exception:
            self._log.failure("ending what was on a console")


def _named(claim: Claim) -> tuple[ConsoleKey, str, int]:
    """What names one taking of a console; its session may change."""
    return claim.key, claim.replica_id, claim.epoch


def _refusal(row: LeaseRow | None) -> ConsoledError:
    if row is None:
        return NotFound(GONE)
    return ConsoleBusy(
        BUSY,
        user_id=row.holder.user_id,
        project_id=row.holder.project_id,
        session_id=row.session_id,
        since=row.since,
    )
