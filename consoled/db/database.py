"""The cell database: plain functions over a Connection, run in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import Engine
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.db.engine import READ
from consoled.db.faults import Meaning, meaning
from consoled.errors import Unavailable
from consoled.interfaces import Worker

T = TypeVar("T")

ATTEMPTS = 3
"""How often a transaction that lost a race runs, the first time included."""


@define
class CellDatabase:
    """Implements :class:`consoled.interfaces.Database` over an engine.

    A function gets a :class:`sqlalchemy.Connection` inside a transaction and returns plain
    data, never a Result. It may run up to :data:`ATTEMPTS` times, so it has no other effect.

    :ivar worker: where the transactions run; the reactor thread never does.
    """

    engine: Engine
    worker: Worker
    _log: Logger = field(factory=Logger, init=False)
    _away: bool = field(default=False, init=False)

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """The result of ``fn(connection, *args)`` after COMMIT.

        :raises consoled.errors.Unavailable: the database is away, or too busy.
        """
        return self.worker.run(self._transaction, False, fn, args)

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As :meth:`run`, for a function that only reads: it waits for no writer.

        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.worker.run(self._transaction, True, fn, args)

    def stop(self) -> None:
        """Closes the connections; called when the worker runs nothing any more."""
        self.engine.dispose()

    def _transaction(self, reads: bool, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(reads, fn, args)
            except Exception as error:
                verdict = meaning(error)
                if verdict is Meaning.BUG:
                    raise
                if verdict is Meaning.AWAY or attempt == ATTEMPTS:
                    self._note_away(error)
                    break
        raise Unavailable("The database is not available now; try again in a moment.")

    def _once(self, reads: bool, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self.engine.connect() as connection:
            if reads:
                connection = connection.execution_options(**{READ: True})  # noqa: PLW2901
            with connection.begin():
                result = fn(connection, *args)
        if self._away:
            self._away = False
            self._log.info("the database is back")
        return result

    def _note_away(self, error: Exception) -> None:
        """One line an outage; the statement and its parameters are not in it."""
        if not self._away:
            self._away = True
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            self._log.error("the database is away: {cause}", cause=cause)
