"""What was found out a moment ago, for as long as it may count."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

MOST = 1000
"""Entries that are kept at most."""


@define(eq=False)
class Lately(Generic[T]):
    """Answers by their questions.

    :ivar seconds: a clock that does not step.
    :ivar life: seconds that an answer counts.
    """

    seconds: Callable[[], float]
    life: float
    _known: dict[Hashable, tuple[float, T]] = field(factory=dict, init=False)

    def get(self, question: Hashable) -> T | None:
        """The answer, if it still counts."""
        until, answer = self._known.get(question, (0.0, None))
        return answer if self.seconds() < until else None

    def put(self, question: Hashable, answer: T) -> None:
        """An answer that was found out now."""
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[question] = (self.seconds() + self.life, answer)
