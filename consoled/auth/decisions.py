"""Decisions of rules that need not be judged twice.

oslo.policy judges a rule anew each time, and spends most of that on looking at its own
functions. Whether a rule holds follows from who asks about whose project, unless it asks a
remote server or is of a kind that is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen
from oslo_policy import policy

from consoled.auth.policy_file import leaves_of
from consoled.model import Caller

MOST = 4096
"""Decisions that are remembered; then all are forgotten."""

_LASTING = frozenset(
    type(policy.RuleDefault("kind", text).check) for text in ("@", "!", "role:r", "user_id:u")
)

Question = tuple[str, Caller, str | None]
"""A rule, who asks, and of which project's."""


def lasting(checks: Mapping[str, object]) -> frozenset[str]:
    """The rules whose decisions follow from the question alone.

    :param checks: all rules in force, parsed; none refers to itself in a circle.
    """
    return frozenset(name for name, check in checks.items() if _lasts(check, checks))


def _lasts(check: object, checks: Mapping[str, object]) -> bool:
    for leaf in leaves_of(check):
        if isinstance(leaf, policy.RuleCheck):
            if leaf.match not in checks or not _lasts(checks[leaf.match], checks):
                return False
        elif type(leaf) not in _LASTING:
            return False
    return True


@frozen
class Decisions:
    """What was decided while one set of rules is in force.

    :ivar rules: of :func:`lasting`; nothing is remembered of others.
    """

    rules: frozenset[str]
    _known: dict[Question, bool] = field(factory=dict, init=False, repr=False)

    def known(self, question: Question) -> bool | None:
        """The decision, or None where the rule has to be judged."""
        return self._known.get(question)

    def note(self, question: Question, decision: bool) -> None:
        """Remembers a decision that lasts."""
        if question[0] not in self.rules:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        rule, caller, project_id = question
        self._known[rule, evolve(caller, token=None), project_id] = decision
