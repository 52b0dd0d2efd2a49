"""The default rules, the operator's file over them, and the committed sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_policy import policy as oslo
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from consoled.auth.policy import (
    DEFAULTS,
    PolicyEnforcer,
    Rule,
    implied_roles,
)
from consoled.auth.policy.sample import render_sample
from consoled.auth.policy_file import judge
from consoled.errors import ConfigError, Forbidden, Unavailable
from consoled.model import Caller
from consoled.workers import InlineWorker

SAMPLE = Path(__file__).parents[2] / "etc" / "policy.yaml.sample"

ADMIN = Caller("ada", "ops", frozenset({"admin"}))
MEMBER = Caller("mia", "demo", frozenset({"member"}))
MANAGER = Caller("max", "demo", frozenset({"manager"}))
READER = Caller("ron", "demo", frozenset({"reader"}))
SERVICE = Caller("nova", "service", frozenset({"service"}))
NOBODY = Caller("ned", "demo", frozenset())

READ = (
    Rule.SERVERS_LIST,
    Rule.SERVERS_SHOW,
    Rule.CONSOLES_LIST,
    Rule.TOKENS_OBSERVE,
    Rule.TOKENS_SHOW,
    Rule.SESSIONS_LIST,
    Rule.RECORDINGS_LIST,
)
WRITE = (
    Rule.SERVERS_HTTP,
    Rule.SERVERS_FORWARD,
    Rule.TOKENS_CREATE,
    Rule.TOKENS_DELETE,
    Rule.SESSIONS_DELETE,
    Rule.SESSIONS_TAKE,
    Rule.RECORDINGS_SHOW,
    Rule.RECORDINGS_REPLAY,
)
OPERATE = (
    Rule.SERVERS_SHOW_PLACE,
    Rule.TOKENS_RESOLVE,
    Rule.CONSOLES_BREAK,
    Rule.CONSOLES_CONFIGURE,
    Rule.SERVERS_MIGRATE,
    Rule.SHELLS_CREATE,
    Rule.SESSIONS_FORCE,
    Rule.RECORDINGS_DELETE,
    Rule.CELLS_LIST,
    Rule.NODE_GROUPS_SHOW,
    Rule.NODE_GROUPS_CHANGE,
    Rule.NODE_GROUP_TEMPLATES_SHOW,
    Rule.NODE_GROUP_TEMPLATES_CHANGE,
)


def result(deferred: Deferred[Any]) -> Any:
    """What an already fired Deferred holds; a failure is raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "the Deferred has not fired"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def enforcer(path: Path | None = None) -> PolicyEnforcer:
    return PolicyEnforcer(InlineWorker(), path)


def allows(rules: PolicyEnforcer, rule: Rule, caller: Caller, project: str | None) -> bool:
    answer = result(rules.allows(rule, caller, project))
    assert isinstance(answer, bool)
    return answer


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a policy file, each time with another stamp."""
    path = tmp_path / "policy.yaml"
    stamps = iter(range(1, 100))

    def write(text: str) -> Path:
        path.write_text(text)
        os.utime(path, (next(stamps),) * 2)
        return path

    return write


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (ADMIN, {*READ, *WRITE, *OPERATE}),
        (MANAGER, {*READ, *WRITE}),
        (MEMBER, {*READ, *WRITE}),
        (READER, {*READ}),
        (SERVICE, {Rule.TOKENS_RESOLVE}),
        (NOBODY, set()),
    ],
    ids=lambda value: value.user_id if isinstance(value, Caller) else "",
)
def test_default_rules_in_the_project(caller: Caller, allowed: set[Rule]) -> None:
    """Each role may do what its documentation says in the instance's project, and no more."""
    rules = enforcer()
    assert {rule for rule in Rule if allows(rules, rule, caller, "demo")} == allowed


@pytest.mark.parametrize("caller", [ADMIN, MEMBER, READER, NOBODY])
@pytest.mark.parametrize("project", ["demo", "other", None])
def test_rules_asked_together(caller: Caller, project: str | None) -> None:
    """One question about all rules is answered as one question each."""
    rules = enforcer()
    together = result(rules.allowed(tuple(Rule), caller, project))
    assert together == {rule for rule in Rule if allows(rules, rule, caller, project)}


@pytest.mark.parametrize("project", ["other", None, "None", ""])
def test_only_an_admin_acts_outside_of_the_own_project(project: str | None) -> None:
    """Another project's instance, and one of no project, is for admins only."""
    rules = enforcer()
    for rule in Rule:
        assert not allows(rules, rule, MEMBER, project)
    for rule in (*READ, *WRITE, *OPERATE):
        assert allows(rules, rule, ADMIN, project)


@pytest.mark.parametrize("own", [None, "None"])
def test_no_project_is_never_equal_to_no_project(own: str | None) -> None:
    """A caller without a project (or of one named None) does not own what nobody owns."""
    caller = Caller("nora", own, frozenset({"member"}))
    rules = enforcer()
    assert not any(allows(rules, rule, caller, None) for rule in Rule)


@pytest.mark.parametrize(
    ("scope", "words"),
    [("system", "of the whole system"), ("domain", "of a domain"), ("unscoped", "of no project")],
)
def test_a_role_elsewhere_is_none_here(scope: str, words: str) -> None:
    """Who administers a domain, or Keystone, is told which token it takes, whatever is asked."""
    rules = enforcer()
    caller = Caller("dom", None, frozenset({"admin"}), scope=scope)
    for rule in Rule:
        with pytest.raises(Forbidden, match=f"This token is {words}, and policy takes those of"):
            allows(rules, rule, caller, "demo")


def test_nobody_is_told_of_other_projects() -> None:
    """Even for an admin the reveal rule is "nobody" by default."""
    assert not allows(enforcer(), Rule.SERVERS_REVEAL, ADMIN, "demo")


def test_roles_hold_the_lower_ones() -> None:
    """admin > manager > member > reader, whatever the case; other roles hold nothing."""
    assert implied_roles(["Admin"]) == {"admin", "manager", "member", "reader"}
    assert implied_roles(["reader", "manager"]) == {"manager", "member", "reader"}
    assert implied_roles(["service"]) == {"service"}
    assert implied_roles(["member", "x"]) == {"member", "reader", "x"}
    assert implied_roles(["reader"]) == {"reader"}
    assert implied_roles([]) == frozenset()


def test_a_file_overrides_single_rules(written: Any) -> None:
    """A rule in the file counts; the others keep their defaults."""
    rules = enforcer(
        written(
            '"consoled:tokens:create": "rule:operator"\n'
            '"operator": "role:operator and project_id:%(project_id)s"\n'
        )
    )
    operator = Caller("oda", "demo", frozenset({"operator"}))
    assert allows(rules, Rule.TOKENS_CREATE, operator, "demo")
    assert not allows(rules, Rule.TOKENS_CREATE, operator, "other")
    assert not allows(rules, Rule.TOKENS_CREATE, MEMBER, "demo")
    assert allows(rules, Rule.SERVERS_SHOW, READER, "demo")


def test_a_changed_file_is_followed(written: Any) -> None:
    """The next question after a change is answered by the new rules, also after going back."""
    rules = enforcer(written(""))
    assert allows(rules, Rule.SERVERS_SHOW, READER, "demo")
    path = written('"consoled:servers:show": "!"')
    assert not allows(rules, Rule.SERVERS_SHOW, READER, "demo")
    path.write_text("")
    os.utime(path, (0, 0))
    assert allows(rules, Rule.SERVERS_SHOW, READER, "demo")


@pytest.mark.parametrize("breakage", ["bad", "gone"])
def test_a_file_that_turns_bad_keeps_the_old_rules(written: Any, breakage: str) -> None:
    """A bad or lost file while running is told once and changes nothing."""
    path = written('"consoled:servers:show": "!"')
    rules = enforcer(path)
    if breakage == "bad":
        written('"consoled:servers:show": [')
    else:
        path.unlink()
    with capturedLogs() as events:
        for _ in range(3):
            assert not allows(rules, Rule.SERVERS_SHOW, READER, "demo")
    assert [event["event"] for event in events] == ["policy_file_refused"]
    with pytest.raises(ConfigError, match=str(path)):
        result(rules.reload())
    written("")
    result(rules.reload())
    assert allows(rules, Rule.SERVERS_SHOW, READER, "demo")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("just text", "must be a mapping"),
        ('"consoled:servers:show": "role:x\n', "line"),
        ("a: b: c\n", "line 1"),
        ('"consoled:servers:reveal":\n', "'consoled:servers:reveal' must be text"),
        ('"consoled:servers:reveal": []\n', "must be text"),
        ("1: role:x\n", "rule 1 must be text"),
        ('"consoled:server:list": "@"\n', "no rule 'consoled:server:list'"),
        ('"consoled:servers:show": "everybody"\n', "cannot be understood: everybody"),
        ('"consoled:servers:show": "role:a or"\n', "cannot be understood"),
        ('"consoled:servers:show": "(role:a"\n', "cannot be understood"),
        ('"consoled:servers:show": "rule:nowhere"\n', "'nowhere', which does not exist"),
        ('"a": "rule:b"\n"b": "not rule:a"\n', "in a circle"),
        ('"consoled:admin": "rule:consoled:admin"\n', "in a circle"),
        ('"a": "project_id:%(project)s"\n', "cannot be evaluated"),
        ('"a": "project_id:%(project_id"\n', "cannot be evaluated"),
        ('"a": "1x:y"\n', "cannot be evaluated"),
        ('"a": "http://example.org/%(nothing)s"\n', "cannot be evaluated"),
    ],
)
def test_a_bad_file_is_one_line(
    written: Any, capfd: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """A file that cannot mean what it says stops the start: one line with the file's name."""
    path = written(text)
    with pytest.raises(ConfigError) as caught:
        enforcer(path)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder and a binary file are each one clear line."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in [
        (tmp_path / "absent.yaml", "No such file"),
        (tmp_path, "directory"),
        (binary, "UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=says):
            enforcer(path)


def test_a_remote_rule_that_fails_is_unavailable(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that asks a server which does not answer is a 503, not a yes and not a crash."""
    rules = enforcer(written('"consoled:servers:show": "http://127.0.0.1:9/%(project_id)s"'))
    monkeypatch.setattr(
        "oslo_policy._external.requests.post", lambda *a, **k: (_ for _ in ()).throw(OSError())
    )
    with capturedLogs() as events, pytest.raises(Unavailable):
        allows(rules, Rule.SERVERS_SHOW, READER, "demo")
    assert len(events) == 1
    assert not allows(rules, Rule.SERVERS_SHOW, ADMIN, None)


def test_an_unknown_rule_is_a_defect() -> None:
    """A rule name that is not registered is never silently a no or a yes."""
    with pytest.raises(oslo.PolicyNotRegistered):
        result(enforcer().allows("consoled:nothing", ADMIN, None))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="()!@:%arole not\"'", max_size=30))
def test_whatever_is_accepted_can_be_evaluated(text: str) -> None:
    """No rule text passes the judgement and then fails in a request."""
    check = oslo.RuleDefault("a", text).check
    try:
        judge(Path("policy.yaml"), {"a": text}, {"a": check})
    except ConfigError:
        return
    checks = {"a": check}
    rules = oslo.Enforcer(enforcer()._enforcer.conf, rules=checks, use_conf=False)
    assert rules.enforce("a", {"project_id": "p"}, {"roles": []}) in (True, False)


def test_the_sample_is_what_the_code_says() -> None:
    """etc/policy.yaml.sample is rendered from the rules: ``python -m consoled.auth.policy``."""
    assert SAMPLE.read_text() == render_sample()


def test_the_sample_without_its_comments_is_the_defaults(written: Any) -> None:
    """An operator who uncomments every rule of the sample changes nothing."""
    text = "\n".join(
        line.removeprefix("#") for line in render_sample().splitlines() if line.startswith('#"')
    )
    assert yaml.safe_load(text) == {rule.name: rule.check_str for rule in DEFAULTS}
    rules = enforcer(written(text))
    assert allows(rules, Rule.TOKENS_CREATE, MEMBER, "demo")


def test_every_rule_that_the_code_asks_for_is_documented() -> None:
    """Each rule of the enumeration has a default with its routes, for tokens of a project."""
    documented = {r.name: r for r in DEFAULTS if isinstance(r, oslo.DocumentedRuleDefault)}
    assert set(documented) == {rule.value for rule in Rule}
    assert all(default.operations for default in documented.values())
    assert all(default.scope_types == ["project"] for default in documented.values())
