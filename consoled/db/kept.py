"""Connections that stay at hand between one transaction and the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from attrs import define, field
from sqlalchemy import Connection, Engine

QUIET = 0.05
"""Seconds after which a connection that nobody has used goes back to the engine's pool, which
asks the server for a sign of life before it gives it out again. No server restarts in less."""


@define(eq=False)
class KeptConnections:
    """An engine's connections, for threads that run one short transaction after another.

    :ivar seconds: a clock that does not step.
    """

    engine: Engine
    seconds: Callable[[], float] = time.monotonic
    _idle: list[tuple[float, Connection]] = field(factory=list, init=False)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction that ends with the block: COMMIT, or ROLLBACK.

        After a failure none is kept: what ended one connection has ended the others too.
        """
        connection = self._take()
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            self.close()
            raise
        self._idle.append((self.seconds(), connection))

    def _take(self) -> Connection:
        try:
            used, connection = self._idle.pop()
        except IndexError:
            return self.engine.connect()
        if self.seconds() - used < QUIET:
            return connection
        connection.close()
        self.close()
        return self.engine.connect()

    def close(self) -> None:
        """Gives back to the pool what nobody uses now."""
        while self._idle:
            with suppress(IndexError):  # Another thread took it.
                self._idle.pop()[1].close()
