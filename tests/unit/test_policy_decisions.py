"""consoled.auth.decisions: rules that are judged once, and those that never are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from oslo_policy import policy
from twisted.internet.defer import Deferred, maybeDeferred

from consoled.auth.decisions import MOST, Decisions, lasting
from consoled.auth.policy import PolicyEnforcer, Rule
from consoled.model import Caller

ANN = Caller("ann", "demo", frozenset({"member"}))
BOB = Caller("bob", "demo", frozenset({"reader"}))


@define
class Counted:
    """A worker that runs each call at once, and counts them."""

    calls: int = field(default=0, init=False)

    def run(self, fn: Any, /, *args: Any) -> Deferred[Any]:
        """Counts it and runs it."""
        self.calls += 1
        return maybeDeferred(fn, *args)


def answer(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    return found[0]


def checks(**texts: str) -> dict[str, object]:
    """Parsed rules."""
    return {name: policy.RuleDefault(name, text).check for name, text in texts.items()}


@pytest.mark.parametrize(
    ("text", "lasts"),
    [
        ("", True),
        ("@", True),
        ("!", True),
        ("role:member and project_id:%(project_id)s", True),
        ("not (user_id:ann or role:admin)", True),
        ("rule:other", True),
        ("rule:asking", False),
        ("role:admin or http://policy.example/%(project_id)s", False),
        ("not rule:asking and @", False),
        ("rule:nowhere", False),
    ],
)
def test_what_asks_nobody_lasts(text: str, lasts: bool) -> None:
    """A rule with a question to a server in it, however deep, is judged each time."""
    rules = checks(it=text, other="role:x", asking="https://policy.example/")
    assert ("it" in lasting(rules)) is lasts


def test_the_same_question_costs_no_way_to_the_worker() -> None:
    """It is asked once for each rule, caller and project; the answers stay apart."""
    worker = Counted()
    rules = PolicyEnforcer(worker)
    for _ in range(3):
        assert answer(rules.allows(Rule.TOKENS_CREATE, ANN, "demo"))
        assert not answer(rules.allows(Rule.TOKENS_CREATE, BOB, "demo"))
        assert not answer(rules.allows(Rule.TOKENS_CREATE, ANN, "other"))
        assert not answer(rules.allows(Rule.TOKENS_CREATE, ANN, None))
    assert worker.calls == 4


def test_a_new_file_is_a_new_decision(tmp_path: Path) -> None:
    """With a file each question looks at it, and no decision outlives its rules."""
    file = tmp_path / "policy.yaml"
    file.write_text("{}")
    worker = Counted()
    rules = PolicyEnforcer(worker, file)
    assert answer(rules.allows(Rule.TOKENS_CREATE, ANN, "demo"))
    file.write_text('"consoled:tokens:create": "!"  # nobody')
    assert not answer(rules.allows(Rule.TOKENS_CREATE, ANN, "demo"))
    assert worker.calls == 2


def test_a_reload_forgets() -> None:
    """SIGHUP makes every rule new."""
    worker = Counted()
    rules = PolicyEnforcer(worker)
    assert answer(rules.allows(Rule.TOKENS_CREATE, ANN, "demo"))
    answer(rules.reload())
    assert answer(rules.allows(Rule.TOKENS_CREATE, ANN, "demo"))
    assert worker.calls == 3


def test_decisions_are_bounded() -> None:
    """However many ask, the memory for it ends; what was forgotten is judged again."""
    decisions = Decisions(frozenset({"it"}))
    for number in range(MOST + 1):
        decisions.note(("it", ANN, str(number)), True)
    assert decisions.known(("it", ANN, "0")) is None
    assert decisions.known(("it", ANN, str(MOST))) is True
    decisions.note(("asking", ANN, None), True)
    assert decisions.known(("asking", ANN, None)) is None
