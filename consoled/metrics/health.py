"""Whether this replica should be sent work, and why not."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from sqlalchemy import Connection, literal, select
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoledError
from consoled.interfaces import Database

PATIENCE = 2.0
"""Seconds that the database has for its answer."""

LAG_LIMIT = 1.0
"""Seconds by which an event loop is late that has too much to do."""


def ping(connection: Connection) -> None:
    """The least that a database can be asked."""
    connection.execute(select(literal(1)))


@define(eq=False)
class Readiness:
    """Asks each part that work needs.

    :ivar draining: whether the daemon is on its way down.
    :ivar registered: whether this replica has its standing in the cell.
    :ivar full: whether one more session would be refused.
    :ivar lag: the event loop's longest recent lag, in seconds.
    """

    database: Database
    clock: IReactorTime
    draining: Callable[[], bool]
    registered: Callable[[], bool]
    full: Callable[[], bool]
    lag: Callable[[], float]
    _log: Logger = field(factory=Logger, init=False)
    _asking: bool = field(default=False, init=False)
    _waiting: list[Deferred[bool]] = field(factory=list, init=False)

    async def obstacles(self) -> list[str]:
        """A sentence for each reason to send no work now; none where it is ready."""
        if self.draining():
            return ["The daemon is stopping."]
        found = []
        if not await self._answers():
            found.append("The database does not answer.")
        elif not self.registered():
            found.append("This replica is not registered in its cell.")
        if self.full():
            found.append("All sessions are taken.")
        if self.lag() > LAG_LIMIT:
            found.append(f"The event loop was late by {self.lag():.1f} s.")
        return found

    async def _answers(self) -> bool:
        """Whether the database does, in time.

        One question at a time, whoever asks: each would have a thread wait for a database
        that hangs.
        """
        waiting: Deferred[bool] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._asking:
            self._asking = True
            self.database.read(ping).addCallbacks(lambda _: True, self._no).addCallback(self._tell)
        try:
            return await waiting.addTimeout(PATIENCE, self.clock)
        except TimedOut:
            return False

    def _no(self, failure: Failure) -> bool:
        if not failure.check(ConsoledError):
            self._log.failure("asking the database for its health", failure)
        return False

    def _tell(self, answer: bool) -> None:
        self._asking = False
        while self._waiting:
            self._waiting.pop().callback(answer)
