"""The node groups as the daemon knows them: in memory, so that no opening asks for them.

They are read at the start; after that, a look at one row every few seconds tells whether
somebody has changed them. What this daemon changes itself, it sees at once.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.db import node_groups as rows
from consoled.errors import ConsoledError
from consoled.interfaces import Database
from consoled.reaching.values import Groups

LOOK = 5.0
"""Seconds between two looks; what another replica changes is in force after that."""


@define(eq=False)
class GroupBook:
    """Knows the groups of the cell."""

    database: Database
    clock: IReactorTime
    _known: Groups | None = field(default=None, init=False)
    _asked: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[LoopingCall] | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def start(self) -> None:
        """Begins to look."""
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self.clock
        self._ended = self._loop.start(LOOK)

    def stop(self) -> Deferred[LoopingCall] | None:
        """Ends that; the Deferred fires when no look is under way any more."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        return self._ended

    @property
    def known(self) -> Groups | None:
        """The groups, or None before they have been read."""
        return self._known

    def groups(self) -> Deferred[Groups]:
        """The groups, at once unless they have not been read yet.

        :raises consoled.errors.Unavailable: they could not be read so far.
        """
        if self._known is not None:
            return succeed(self._known)
        return Deferred.fromCoroutine(self._first())

    async def refresh(self) -> None:
        """Reads what has changed now.

        :raises consoled.errors.Unavailable: the database is away.
        """
        turn = None if self._known is None else self._known.turn
        self._asked += 1
        number = self._asked
        found = await self.database.read(rows.changed_since, turn)
        # Reads may overtake each other; turns of a restored database may be lower ones.
        if found is not None and number > self._taken:
            self._taken = number
            if self._known is not None or found.by_id:
                self._log.info(
                    "read {count} node groups", event="node_groups_read", count=len(found.by_id)
                )
            self._known = found

    async def _first(self) -> Groups:
        await self.refresh()
        assert self._known is not None
        return self._known

    async def _round(self) -> None:
        """One look; an exception that left it would end the loop for good."""
        try:
            await self.refresh()
        except CancelledError:
            pass
        except ConsoledError as error:
            # The database says itself, once, that it is away.
            self._log.debug("node groups stay as they were read: {cause}", cause=str(error))
        except Exception:
            self._log.failure("node groups could not be read; the next look tries again")
