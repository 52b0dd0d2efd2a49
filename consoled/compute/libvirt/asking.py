"""Questions to a thread that may hang, answered in time or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.libvirt.client import ClientError
from consoled.errors import Unavailable
from consoled.interfaces import Worker

T = TypeVar("T")


class OwnWorker(Worker, Protocol):
    """A worker that is its owner's alone."""

    def start(self) -> None:
        """Starts its thread."""

    def stop(self) -> None:
        """Ends its thread without waiting for a stuck call."""


@define(eq=False)
class Asker:
    """Asks in a worker's thread.

    While an overdue call is still stuck there, everybody else is told so at once.

    :ivar what: who is asked, for the log.
    :ivar timeout: seconds for an answer.
    """

    what: str
    worker: OwnWorker
    clock: IReactorTime
    timeout: float
    _log: Logger = field(factory=Logger, init=False)
    _overdue: int = field(default=0, init=False)
    _away: bool = field(default=False, init=False)

    def ask(self, question: Callable[[], T]) -> Deferred[T]:
        """The answer to a question; cancelling it leaves the thread alone.

        :raises consoled.errors.Unavailable: none in time, or libvirt itself failed.
        """
        if self._overdue:
            return fail(_no_answer())
        answer: Deferred[T] = Deferred()
        timer = self.clock.callLater(self.timeout, self._give_up, answer)

        def done(outcome: T | Failure) -> None:
            if timer.active():
                timer.cancel()
            else:
                self._overdue -= 1
            judged = self._judged(outcome)
            if not answer.called:
                answer.callback(judged)

        self.worker.run(question).addBoth(done)
        return answer

    def _give_up(self, answer: Deferred[T]) -> None:
        self._overdue += 1
        self._note_away(f"no answer within {self.timeout:g} s")
        if not answer.called:
            answer.errback(_no_answer())

    def _judged(self, outcome: T | Failure) -> T | Failure:
        if isinstance(outcome, Failure) and outcome.check(ClientError):
            self._note_away(outcome.getErrorMessage())
            return Failure(_no_answer())
        if self._away and not self._overdue:
            self._away = False
            self._log.info("{what} answers again", what=self.what)
        return outcome

    def _note_away(self, cause: str) -> None:
        if not self._away:
            self._away = True
            self._log.error("{what} is away: {cause}", what=self.what, cause=cause)


def _no_answer() -> Unavailable:
    return Unavailable("The hypervisor does not answer now; try again in a moment.")
