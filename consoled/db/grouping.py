"""Calls that wait together go to a worker together: one hop between threads for many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import update_wrapper
from itertools import groupby
from types import CodeType
from typing import Any, Generic, TypeVar

from attrs import define, field
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.interfaces import Worker

T = TypeVar("T")


@define(eq=False, slots=False)
class Batch(Generic[T]):
    """A function of a connection and one order that can also carry out many orders at once.

    Calls of it that stand next to each other in a group are one call of ``many``. It goes by
    the name of that one.

    :ivar many: the orders' results, as if they were carried out one after the other.
    """

    many: Callable[[Connection, Sequence[Any]], list[T]]

    def __attrs_post_init__(self) -> None:
        update_wrapper(self, self.many)

    @property
    def __code__(self) -> CodeType:
        return self.many.__code__

    def __call__(self, connection: Connection, order: Any) -> T:
        """One order's result."""
        return self.many(connection, [order])[0]


@define(eq=False)
class Call:
    """One function that wants a connection.

    :ivar queue: where it waits, while it does.
    :ivar answer: fires with its result, on the reactor thread. Cancelling takes a call back
        that still waits; one that is on its way is carried out, and nobody hears of it.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    queue: deque[Call]
    answer: Deferred[Any] = field(init=False)

    @answer.default
    def _not_yet(self) -> Deferred[Any]:
        return Deferred(lambda _: self._take_back())

    def give_up(self, error: Exception) -> None:
        """Answers with the error instead of a result; as cancelling does otherwise."""
        self._take_back()
        self.answer.errback(error)

    def _take_back(self) -> None:
        if self in self.queue:
            self.queue.remove(self)

    def __call__(self, connection: Connection) -> Any:
        """Its result, in whatever transaction that connection is in."""
        return self.fn(connection, *self.args)


def results(calls: Sequence[Call], connection: Connection, found: list[Any]) -> None:
    """Appends the calls' results, in their order.

    :param found: has one result for each call that is done when one of them fails.
    """
    for fn, run in groupby(calls, key=lambda call: call.fn):
        if isinstance(fn, Batch):
            found += fn.many(connection, [call.args[0] for call in run])
        else:
            for call in run:
                found.append(call(connection))


@define(eq=False)
class Success:
    """A call's result: an exception may be one, so a type of its own tells them apart."""

    value: Any


Outcome = Success | BaseException


@define(eq=False)
class Lane:
    """Calls of one kind on their way to a worker, in the order in which they came.

    A call that finds the lane free goes at once, alone. What comes while the worker is busy
    waits, and goes in a group when a place is free: a group is as large as the load makes it.

    :ivar worker: where groups run.
    :ivar carry: runs a group there, and gives an outcome for each of its calls.
    :ivar at_once: how many groups may be on their way at a time.
    :ivar spare: how many more where one of urgent calls waits.
    :ivar most: calls in a group; those behind it wait for all of them.
    """

    worker: Worker
    carry: Callable[[list[Call]], list[Outcome]]
    at_once: int
    spare: int
    most: int
    _waiting: deque[Call] = field(factory=deque, init=False)
    _urgent: deque[Call] = field(factory=deque, init=False)
    _under_way: int = field(default=0, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def send(self, fn: Callable[..., Any], args: tuple[Any, ...], *, urgent: bool = False) -> Call:
        """Asks for ``fn(connection, *args)``.

        :param urgent: it goes before all that are not, and in no group with them.
        """
        queue = self._urgent if urgent else self._waiting
        call = Call(fn, args, queue)
        queue.append(call)
        self._go()
        return call

    @property
    def is_idle(self) -> bool:
        """Whether no call waits or is on its way."""
        return not (self._under_way or self._waiting or self._urgent)

    def idle(self) -> Deferred[None]:
        """Fires when no call waits or is on its way."""
        fired: Deferred[None] = Deferred()
        self._idle.append(fired)
        self._tell_idle()
        return fired

    def _go(self) -> None:
        for queue, places in (
            (self._urgent, self.at_once + self.spare),
            (self._waiting, self.at_once),
        ):
            while queue and self._under_way < places:
                group = [queue.popleft() for _ in range(min(self.most, len(queue)))]
                self._under_way += 1
                self.worker.run(self.carry, group).addBoth(self._arrived, group)

    def _arrived(self, outcomes: list[Outcome] | Failure, group: list[Call]) -> None:
        self._under_way -= 1
        # The worker first: while it runs the next group, the answers are made use of here.
        self._go()
        if isinstance(outcomes, Failure):
            broken = outcomes.value
            assert broken is not None
            outcomes = [broken for _ in group]
        for call, outcome in zip(group, outcomes, strict=True):
            if call.answer.called:
                continue  # It was cancelled, or given up.
            if isinstance(outcome, Success):
                call.answer.callback(outcome.value)
            else:
                call.answer.errback(outcome)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self.is_idle:
            waiting, self._idle = self._idle, []
            for deferred in waiting:
                deferred.callback(None)
