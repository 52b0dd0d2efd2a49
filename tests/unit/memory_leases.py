"""Leases in memory: as many as the tests of a session need of the cell database's."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed

from consoled.errors import ConsoleBusy
from consoled.interfaces import Lease
from consoled.leasing.values import Holder, LeaseRow, Watcher
from consoled.model import SERIAL


@define(eq=False)
class MemoryLease:
    """One console's lease.

    :ivar key: ``(instance_uuid, index, console type)``.
    :ivar epoch: a number that only grows.
    """

    key: tuple[str, int, str]
    session_id: str
    epoch: int
    valid: bool = True
    seized: bool = False
    lingers: bool = False
    watchers: tuple[Watcher, ...] = ()


@define
class MemoryLeases:
    """The book of a cell with one replica (an interfaces.Leases).

    :ivar seizes: whether leases count as taken from a dead replica.
    """

    seizes: bool = False
    _held: dict[tuple[str, int, str], MemoryLease] = field(factory=dict, init=False)
    _epoch: int = field(default=0, init=False)

    def take(
        self,
        instance_uuid: str,
        index: int,
        session_id: str,
        *,
        holder: Holder,
        console_type: str = SERIAL,
    ) -> Deferred[Lease]:
        """The console's lease for that session.

        :raises consoled.errors.ConsoleBusy: another session holds it.
        """
        key = (instance_uuid, index, console_type)
        if key in self._held:
            return fail(
                ConsoleBusy("This console is in use by another session. Try again when it ends.")
            )
        self._epoch += 1
        lease = self._held[key] = MemoryLease(key, session_id, self._epoch, seized=self.seizes)
        return succeed(lease)

    def release(self, lease: Lease) -> Deferred[None]:
        """Gives it back; a lease that is held no more changes nothing."""
        assert isinstance(lease, MemoryLease)
        lease.valid = False
        if self._held.get(lease.key) is lease:
            del self._held[lease.key]
        return succeed(None)

    def note(self, lease: Lease, session_id: str, holder: Holder, lingers: bool) -> Deferred[None]:
        """Remembers it."""
        assert isinstance(lease, MemoryLease)
        lease.session_id, lease.lingers = session_id, lingers
        return succeed(None)

    def watch(self, lease: Lease, watchers: Sequence[Watcher]) -> Deferred[None]:
        """Remembers them."""
        assert isinstance(lease, MemoryLease)
        lease.watchers = tuple(watchers)
        return succeed(None)

    def elsewhere(
        self, instance_uuid: str | None, index: int, session_id: str | None
    ) -> Deferred[LeaseRow | None]:
        """There is no other replica."""
        return succeed(None)
