"""The rules in force, and the decisions by them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from attrs import define, field
from oslo_config import cfg
from oslo_policy import policy
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.auth.decisions import Decisions, lasting
from consoled.auth.policy.defaults import DEFAULTS
from consoled.auth.policy.people import implied_roles
from consoled.auth.policy_file import judge, read_policy_file
from consoled.errors import ConfigError, Forbidden, Unavailable
from consoled.interfaces import Worker
from consoled.model import Caller

log = Logger()

# oslo.policy tells stderr of each bad rule, traceback included, where nobody
# handles its records; ConfigError says it in one line.
logging.getLogger("oslo_policy").addHandler(logging.NullHandler())

_SCOPES = {default.name: default.scope_types for default in DEFAULTS}


@define
class PolicyEnforcer:
    """:class:`consoled.interfaces.Policy` by oslo.policy.

    :ivar worker: where rules are evaluated, as the file is looked at each time
        and a rule may ask a remote server.
    :ivar policy_file: overridden rules, or None.
    :raises consoled.errors.ConfigError: the file cannot be used, and why.
    """

    worker: Worker
    policy_file: Path | None = None
    _enforcer: policy.Enforcer = field(init=False, repr=False)
    _decisions: Decisions = field(init=False, repr=False)
    _stamp: tuple[int, ...] | None = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._load()

    def allows(self, rule: str, caller: Caller, project_id: str | None) -> Deferred[bool]:
        """Whether the rule lets the caller act on something of that project.

        :param rule: one of :class:`Rule`.
        :param project_id: the owner's, or None where nobody owns it: then no
            comparison with ``%(project_id)s`` holds.
        :raises consoled.errors.Forbidden: the caller's credential is of no scope for which the
            rule may hold, whatever the caller's roles.
        """
        return self.allowed((rule,), caller, project_id).addCallback(lambda found: rule in found)

    def allowed(
        self, rules: Collection[str], caller: Caller, project_id: str | None
    ) -> Deferred[frozenset[str]]:
        """Those of the rules that let the caller act on something of that project.

        One question for all of them: it costs one way to the worker and back, or none where
        no file is followed and the same was asked before.
        """
        if self.policy_file is None:
            known = {rule: self._decisions.known((rule, caller, project_id)) for rule in rules}
            if None not in known.values():
                return succeed(frozenset(rule for rule, decision in known.items() if decision))
        return self.worker.run(self._allowed, rules, caller, project_id)

    def reload(self) -> Deferred[None]:
        """Reads the file again now (SIGHUP); a bad one leaves the old rules in force.

        :raises consoled.errors.ConfigError: why the old rules stay.
        """
        return self.worker.run(self._load)

    def _allowed(
        self, rules: Collection[str], caller: Caller, project_id: str | None
    ) -> frozenset[str]:
        for rule in rules:
            _check_scope(rule, caller)
        self._follow_file()
        # An absent key never compares as equal; None would, to the text "None".
        target = {} if project_id is None else {"project_id": project_id}
        credentials: dict[str, object] = {
            "user_id": caller.user_id,
            "roles": sorted(implied_roles(caller.roles)),
        }
        if caller.project_id is not None:
            credentials["project_id"] = caller.project_id
        allowed = set()
        for rule in rules:
            decision = self._decisions.known((rule, caller, project_id))
            if decision is None:
                decision = self._judge(rule, target, credentials)
                self._decisions.note((rule, caller, project_id), decision)
            if decision:
                allowed.add(rule)
        return frozenset(allowed)

    def _judge(self, rule: str, target: dict[str, str], credentials: dict[str, object]) -> bool:
        try:
            return bool(self._enforcer.authorize(str(rule), target, credentials))
        except policy.PolicyNotRegistered:
            raise
        except KeyError:
            return False  # A remote rule that needs a project, and there is none.
        except Exception as error:
            # A rule may ask a remote server; what does not answer does not allow.
            log.failure("The policy rule {rule} cannot be evaluated", rule=str(rule))
            raise Unavailable(
                "The policy cannot be evaluated for now; try again in a while."
            ) from error

    def _follow_file(self) -> None:
        if self.policy_file is None or _stamp(self.policy_file) == self._stamp:
            return
        try:
            self._load()
        except ConfigError as error:
            log.error(
                "{reason}; the rules read before stay in force",
                event="policy_file_refused",
                reason=str(error),
            )

    def _load(self) -> None:
        # The stamp comes first: a change while reading is then read again, and
        # a bad file is told once, not at each request.
        self._stamp = None if self.policy_file is None else _stamp(self.policy_file)
        checks = _checks(self.policy_file)
        self._enforcer = _enforcer(checks)
        # Made anew with the rules, so that no decision outlives them.
        self._decisions = Decisions(lasting(checks))


def _check_scope(rule: str, caller: Caller) -> None:
    # oslo.policy has a check of its own, which takes whatever says nothing for a project's.
    scopes = _SCOPES.get(rule)
    if scopes and caller.scope not in scopes:
        raise Forbidden(
            f"This token is {_SCOPE_WORDS[caller.scope]}, and policy takes those of a project; "
            "name one (--os-project-name) and ask Keystone for another token."
        )


_SCOPE_WORDS = {
    "system": "of the whole system",
    "domain": "of a domain",
    "unscoped": "of no project",
}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _checks(path: Path | None) -> dict[str, Any]:
    checks = {default.name: default.check for default in DEFAULTS}
    if path is not None:
        overrides = read_policy_file(path, [default.name for default in DEFAULTS])
        checks.update((name, rule.check) for name, rule in overrides.items())
        judge(path, {name: rule.check_str for name, rule in overrides.items()}, checks)
    return checks


def _enforcer(checks: dict[str, Any]) -> policy.Enforcer:
    conf = cfg.ConfigOpts()
    conf(
        args=[],
        project="consoled",
        default_config_files=[],
        default_config_dirs=[],
        use_env=False,
    )
    enforcer = policy.Enforcer(conf, rules=checks, use_conf=False)
    enforcer.register_defaults(DEFAULTS)
    return enforcer
