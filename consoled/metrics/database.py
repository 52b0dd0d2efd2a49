"""Times the transactions of a database by the name of what they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from prometheus_client import Histogram
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from consoled.errors import Unavailable
from consoled.interfaces import Database
from consoled.metrics.instruments import CANCELLED, FAILED, UNAVAILABLE

T = TypeVar("T")

OK = "ok"


def operation(fn: Callable[..., object]) -> str:
    """``module.function`` of what a transaction runs: as many names as the code has.

    A function inside of another one goes by that one's name.
    """
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    outer = name.partition(".<locals>")[0].rpartition(".")[2]
    module = getattr(fn, "__module__", None) or type(fn).__module__
    return f"{module.rpartition('.')[2]}.{outer}"


@define(eq=False)
class TimedDatabase:
    """Implements :class:`consoled.interfaces.Database` around another one.

    :ivar durations: by operation and result; from the question to the answer.
    :ivar seconds: a clock that does not step.
    """

    database: Database
    durations: Histogram
    seconds: Callable[[], float]
    _names: dict[object, str] = field(factory=dict, init=False)
    _labelled: dict[tuple[str, str], Histogram] = field(factory=dict, init=False)

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As the other one, and timed."""
        began = self.seconds()
        return self.database.run(fn, *args).addBoth(partial(self._note, self._name(fn), began))

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As the other one, and timed."""
        began = self.seconds()
        return self.database.read(fn, *args).addBoth(partial(self._note, self._name(fn), began))

    def _name(self, fn: Callable[..., object]) -> str:
        # By its code: of a function inside of another one there is a new one each time.
        key = getattr(fn, "__code__", None) or type(fn)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = operation(fn)
        return name

    def _note(self, name: str, began: float, outcome: T) -> T:
        # Asked for once each: it takes longer than to note a duration.
        labels = name, _result(outcome)
        durations = self._labelled.get(labels)
        if durations is None:
            durations = self._labelled[labels] = self.durations.labels(*labels)
        durations.observe(self.seconds() - began)
        return outcome


def _result(outcome: object) -> str:
    if not isinstance(outcome, Failure):
        return OK
    if outcome.check(CancelledError):
        return CANCELLED
    return UNAVAILABLE if outcome.check(Unavailable) else FAILED
