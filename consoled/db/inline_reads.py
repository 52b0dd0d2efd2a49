"""Reads that go to PostgreSQL from the reactor itself, while a connection for them stands.

Each hop between threads waits for the interpreter, up to 5 ms when the reactor is busy. What
is one query over keys does without (docs: decisions/0054). Nothing depends on it: whatever goes
wrong here goes through a thread instead, as it would without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from attrs import define, field
from sqlalchemy import Dialect
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.db.direct import Row, Wording
from consoled.db.grouping import Call, Outcome, Success
from consoled.db.queries import QueryBatch
from consoled.interfaces import Worker

P = ParamSpec("P")
T = TypeVar("T")

SOON = 2.0
"""Seconds until a connection that was lost is opened again; twice as long after each failure."""

LATE = 60.0
"""Seconds between two attempts at most."""


class Link(Protocol):
    """A connection that answers one statement at a time, in the reactor."""

    def start(self, lost: Callable[[BaseException], None]) -> None:
        """Begins to hear of the server.

        :param lost: called once, when it is of no use any more; not by :meth:`close`.
        """

    def ask(self, wording: Wording, parameters: list[bytes]) -> Deferred[list[Row]]:
        """The rows as the driver gives them. Another statement is asked after the answer.

        It fails with whatever made the connection useless.
        """

    def close(self) -> None:
        """Leaves the reactor, and closes; may be called again."""


@define(eq=False)
class InlineReads:
    """Implements :class:`consoled.interfaces.Worker` for one lane: groups of query batches.

    :ivar threads: where groups go that cannot be carried out here.
    :ivar opening: where connections are opened.
    :ivar open: opens one; may block.
    :ivar dialect: words the statements for it.
    """

    threads: Worker
    opening: Worker
    open: Callable[[], Link]
    dialect: Dialect
    clock: IReactorTime
    _link: Link | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _delay: float = field(default=SOON, init=False)
    _missed: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @property
    def stands(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    def start(self) -> None:
        """Opens a connection; called after twistd's fork."""
        self._timer = None
        self.opening.run(self.open).addCallback(self._opened).addErrback(self._not_opened)

    def stop(self) -> None:
        """Closes it; nothing is left in the reactor, and nothing is opened any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """As the threads', for a lane's function that carries a group out, and the group."""
        (calls,) = args
        outcomes: Deferred[Any] | None = self._ask(calls)  # type: ignore[arg-type]  # a group
        if outcomes is None:
            return self.threads.run(fn, *args, **kwargs)
        return outcomes.addErrback(lambda _: self.threads.run(fn, *args, **kwargs))

    def _ask(self, calls: list[Call]) -> Deferred[list[Outcome]] | None:
        """The group's outcomes; None where it cannot be one statement of ours."""
        batch = calls[0].fn
        if (
            self._link is None
            or not isinstance(batch, QueryBatch)
            or any(call.fn is not batch for call in calls)
        ):
            return None
        orders = [call.args[0] for call in calls]
        wording, values = batch.query.worded(self.dialect, batch.keys(orders))
        try:
            parameters = [_as_text(value) for value in values]
        except ValueError:
            return None

        def outcomes(rows: list[Row]) -> list[Outcome]:
            self._delay = SOON
            return [Success(result) for result in batch.taken(wording.rows(rows), orders)]

        asked = self._link.ask(wording, parameters)
        return asked.addCallback(outcomes).addErrback(self._given_up)

    def _given_up(self, failure: Failure) -> Failure:
        """Rows that cannot be read end the connection as well."""
        link = self._link
        if link is not None:
            link.close()
            self._lost(failure.value)
        return failure

    def _opened(self, link: Link) -> None:
        if self._stopped:
            link.close()
            return
        link.start(self._lost)
        self._link = link
        if self._missed:
            self._missed = False
            self._log.info("reads of the database go without threads again")

    def _not_opened(self, failure: Failure) -> None:
        self._lost(failure.value)

    def _lost(self, error: BaseException | None) -> None:
        """Opens another one in a while."""
        self._link = None
        if self._stopped:
            return
        self._timer = self.clock.callLater(self._delay, self.start)
        self._delay = min(2 * self._delay, LATE)
        if not self._missed:
            self._missed = True
            cause = " ".join(str(error).split()) or type(error).__name__
            self._log.info("reads of the database go through threads: {cause}", cause=cause)


def _as_text(value: object) -> bytes:
    """A key as PostgreSQL reads it, whatever the connection's encoding.

    :raises ValueError: it is neither visible ASCII nor a whole number.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise ValueError("a key that goes through a thread")
    return text.encode("ascii")
