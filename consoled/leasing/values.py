"""Frozen values of the lease protocol."""

from __future__ import annotations

from attrs import field, frozen

from consoled.model import OBSERVER, SERIAL, WRITER


@frozen
class ConsoleKey:
    """Names one console of the cell."""

    instance_uuid: str
    index: int
    console_type: str = SERIAL


@frozen
class Claim:
    """One session's right to one console: what a release must find unchanged.

    :ivar epoch: the console's epoch since the session took it.
    """

    key: ConsoleKey
    replica_id: str
    session_id: str
    epoch: int


@frozen
class Holder:
    """For whom a console is held."""

    user_id: str | None = None
    project_id: str | None = None


@frozen
class Wish:
    """A session that wants a console for its replica.

    :ivar holder: for whom; shown to others as far as policy lets them know.
    """

    key: ConsoleKey
    replica_id: str
    session_id: str
    holder: Holder = Holder()


@frozen
class LeaseRow:
    """A console's lease as the database has it.

    :ivar epoch: grows by one each time the console is taken.
    :ivar replica_id: who holds it, or None.
    :ivar owner_dead: that replica has been declared dead, so it may be taken from it.
    :ivar since: seconds since the epoch, in the database's time; for people.
    :ivar lingers: its session waits for its viewer to come back, and yields to anybody.
    :ivar wanted: the reason of a requested disconnect, or None.
    :ivar wanted_by: who requested it.
    :ivar url: where the holding replica is reached by the others.
    :ivar role: of the session: of those who watch there may be several on one console.
    """

    key: ConsoleKey
    epoch: int
    replica_id: str | None
    owner_dead: bool
    session_id: str | None = None
    holder: Holder = Holder()
    since: int | None = None
    lingers: bool = False
    wanted: str | None = None
    wanted_by: str | None = None
    url: str | None = None
    role: str = WRITER

    @property
    def free(self) -> bool:
        """Whether it may be taken now."""
        return self.replica_id is None or self.owner_dead

    @property
    def claim(self) -> Claim | None:
        """Who holds it, dead or alive."""
        if self.replica_id is None or self.session_id is None:
            return None
        return Claim(self.key, self.replica_id, self.session_id, self.epoch)


@frozen
class Taking:
    """What came of a wish.

    :ivar claim: the right to the console; None where it was not to be had.
    :ivar previous: the dead replica that it was taken from, or None.
    :ivar row: who has it instead; free where somebody was faster by a moment, None where
        there is no such console.
    """

    claim: Claim | None
    previous: str | None = None
    row: LeaseRow | None = None


@frozen
class Watcher:
    """A session on a console beside the one that writes.

    :ivar lingers: it waits for its viewer to come back.
    :ivar role: :data:`~consoled.model.OBSERVER`, or ``ASKER`` while it waits for the console.
    """

    session_id: str
    holder: Holder
    lingers: bool
    role: str = OBSERVER


@frozen
class Peer:
    """A replica that is not declared dead, with the beat that it had."""

    replica_id: str
    beat: int


@frozen
class Neighbour:
    """A replica that is not declared dead, and where the others reach it."""

    replica_id: str
    url: str


@frozen
class News:
    """What a poll finds.

    :ivar peers: every replica that is not declared dead, this one too.
    :ivar wanted: this replica's leases whose session somebody wants to end.
    :ivar held: how many leases the database has for this replica.
    """

    peers: tuple[Peer, ...]
    wanted: tuple[LeaseRow, ...]
    held: int


@frozen
class Timings:
    """Seconds of the lease protocol; the same in all replicas of a cell.

    :ivar beat: between two heartbeats.
    :ivar validity: how long a heartbeat lets its replica use its leases.
    :ivar silence: how long a beat must be seen unchanged until its replica may be declared
        dead. More than ``validity``: the difference bounds how unequal clocks may run.
    :ivar poll: between two looks at the other replicas and at requested disconnects.
    """

    beat: float = 2.0
    validity: float = 10.0
    silence: float = field(default=12.0)
    poll: float = 1.0

    @silence.validator
    def _longer_than_validity(self, _attribute: object, silence: float) -> None:
        if not 0 < self.beat < self.validity < silence:
            raise ValueError("the lease protocol needs 0 < beat < validity < silence")
