"""Who may do what: oslo.policy rules, their defaults, and the sample file made from them.

Three roles, each of which holds the ones after it: ``admin``, ``member``,
``reader``. An admin acts on every project; a member or a reader on their own
one only, and so never on an instance that belongs to no project.

``[oslo_policy] policy_file`` overrides rules by name; all others keep the
defaults below. The file is read again when it changes; a file that cannot be
used is an error at start, and later leaves the rules read before in force.

``python -m consoled.auth.policy`` writes etc/policy.yaml.sample.
"""

from __future__ import annotations

import enum
import logging
import sys
import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from attrs import define, field
from oslo_config import cfg
from oslo_policy import policy
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.auth.decisions import Decisions, lasting
from consoled.auth.policy_file import judge, read_policy_file
from consoled.errors import ConfigError, Unavailable
from consoled.interfaces import Worker
from consoled.model import Caller

log = Logger()

# oslo.policy tells stderr of each bad rule, traceback included, where nobody
# handles its records; ConfigError says it in one line.
logging.getLogger("oslo_policy").addHandler(logging.NullHandler())

ADMIN = "consoled:admin"
PROJECT_MEMBER = "consoled:project-member"
PROJECT_READER = "consoled:project-reader"


class Rule(enum.StrEnum):
    """The rules that the code asks for."""

    SERVERS_LIST = "consoled:servers:list"
    SERVERS_SHOW = "consoled:servers:show"
    SERVERS_SHOW_PLACE = "consoled:servers:show-place"
    SERVERS_REVEAL = "consoled:servers:reveal"
    SERVERS_HTTP = "consoled:servers:http"
    SERVERS_FORWARD = "consoled:servers:forward"
    SERVERS_MIGRATE = "consoled:servers:migrate"
    CONSOLES_LIST = "consoled:consoles:list"
    CONSOLES_BREAK = "consoled:consoles:break"
    CONSOLES_CONFIGURE = "consoled:consoles:configure"
    TOKENS_CREATE = "consoled:tokens:create"
    TOKENS_OBSERVE = "consoled:tokens:observe"
    SHELLS_CREATE = "consoled:shells:create"
    TOKENS_SHOW = "consoled:tokens:show"
    TOKENS_RESOLVE = "consoled:tokens:resolve"
    TOKENS_DELETE = "consoled:tokens:delete"
    SESSIONS_LIST = "consoled:sessions:list"
    SESSIONS_DELETE = "consoled:sessions:delete"
    SESSIONS_TAKE = "consoled:sessions:take"
    SESSIONS_FORCE = "consoled:sessions:force"
    RECORDINGS_LIST = "consoled:recordings:list"
    RECORDINGS_SHOW = "consoled:recordings:show"
    RECORDINGS_REPLAY = "consoled:recordings:replay"
    RECORDINGS_DELETE = "consoled:recordings:delete"
    NODE_GROUPS_SHOW = "consoled:node-groups:show"
    NODE_GROUPS_CHANGE = "consoled:node-groups:change"
    NODE_GROUP_TEMPLATES_SHOW = "consoled:node-group-templates:show"
    NODE_GROUP_TEMPLATES_CHANGE = "consoled:node-group-templates:change"


_LIST: policy.Operation = {"method": "GET", "path": "/v1/servers"}
_SHOW: policy.Operation = {"method": "GET", "path": "/v1/servers/{server_id}"}
_CONSOLES: policy.Operation = {"method": "GET", "path": "/v1/servers/{server_id}/consoles"}
_BREAK: policy.Operation = {
    "method": "POST",
    "path": "/v1/servers/{server_id}/consoles/{index}/break",
}
_NATIVE_TOKENS: list[policy.Operation] = [
    {"method": "POST", "path": "/v1/servers/{server_id}/consoles/{index}/tokens"},
    {"method": "POST", "path": "/v1/servers/{server_id}/tokens"},
]
_TOKENS: list[policy.Operation] = [
    *_NATIVE_TOKENS,
    {"method": "POST", "path": "/v2/{tenant_id}/servers/{server_id}/get-serial-console"},
    {"method": "POST", "path": "/v3/servers/{server_id}/get-serial-console"},
    {"method": "POST", "path": "/v2.1/servers/{server_id}/action"},
    {"method": "POST", "path": "/v2.1/servers/{server_id}/remote-consoles"},
]
_SHELL: policy.Operation = {
    "method": "POST",
    "path": "/v1/servers/{server_id}/consoles/ssh/tokens",
}
_RESOLVE: policy.Operation = {"method": "GET", "path": "/v2.1/os-console-auth-tokens/{token}"}
_SHOW_TOKEN: policy.Operation = {"method": "GET", "path": "/v1/tokens/{token_id}"}
_REVOKE: policy.Operation = {"method": "DELETE", "path": "/v1/tokens/{token_id}"}
_SESSIONS: policy.Operation = {"method": "GET", "path": "/v1/sessions"}
_END: list[policy.Operation] = [
    {"method": "DELETE", "path": "/v1/sessions/{session_id}"},
    {"method": "DELETE", "path": "/v1/servers/{server_id}/sessions"},
]
_RECORDINGS: list[policy.Operation] = [
    {"method": "GET", "path": "/v1/recordings"},
    {"method": "GET", "path": "/v1/recordings/{recording_id}"},
]
_CONTENT: policy.Operation = {"method": "GET", "path": "/v1/recordings/{recording_id}/content"}
_REPLAY: policy.Operation = {"method": "POST", "path": "/v1/recordings/{recording_id}/tokens"}
_DELETE_RECORDING: policy.Operation = {"method": "DELETE", "path": "/v1/recordings/{recording_id}"}

_MIGRATE: list[policy.Operation] = [
    {"method": "POST", "path": "/v1/servers/{server_id}/migration"},
    {"method": "GET", "path": "/v1/servers/{server_id}/migration"},
    {"method": "DELETE", "path": "/v1/servers/{server_id}/migration"},
]

_CONFIGURE: list[policy.Operation] = [
    {"method": "POST", "path": "/v1/servers/{server_id}/consoles"},
    {"method": "DELETE", "path": "/v1/servers/{server_id}/consoles"},
]

_HTTP: list[policy.Operation] = [
    {"method": method, "path": "/v1/servers/{server_id}/http/{port}/{path}"}
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
]
_FORWARD: policy.Operation = {"method": "GET", "path": "/v1/servers/{server_id}/tcp/{port}"}


def _of_nodes(collection: str, one: str) -> tuple[list[policy.Operation], list[policy.Operation]]:
    """Those that show, and those that change."""
    single = f"/v1/{collection}/{{{one}}}"
    return (
        [{"method": "GET", "path": f"/v1/{collection}"}, {"method": "GET", "path": single}],
        [
            {"method": "POST", "path": f"/v1/{collection}"},
            {"method": "PATCH", "path": single},
            {"method": "DELETE", "path": single},
        ],
    )


_SHOW_GROUPS, _CHANGE_GROUPS = _of_nodes("node-groups", "group_id")
_SHOW_TEMPLATES, _CHANGE_TEMPLATES = _of_nodes("node-group-templates", "template_id")

DEFAULTS: tuple[policy.RuleDefault, ...] = (
    policy.RuleDefault(ADMIN, "role:admin", "An operator: acts on every project."),
    policy.RuleDefault(
        PROJECT_MEMBER,
        "role:member and project_id:%(project_id)s",
        "Somebody who works in the instance's project.",
    ),
    policy.RuleDefault(
        PROJECT_READER,
        "role:reader and project_id:%(project_id)s",
        "Somebody who may look at the instance's project.",
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_LIST.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "List instances; each is judged by its own project, and only those that pass are listed.",
        [
            _LIST,
            {"method": "GET", "path": "/v2.1/servers"},
            {"method": "GET", "path": "/v2.1/servers/detail"},
        ],
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_SHOW.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "Show one instance.",
        [_SHOW, {"method": "GET", "path": "/v2.1/servers/{server_id}"}],
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_SHOW_PLACE.value,
        f"rule:{ADMIN}",
        "See the compute host of an instance, and the address and port of its consoles.",
        [_LIST, _SHOW, _CONSOLES],
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_REVEAL.value,
        "!",
        "Be told 403 instead of 404 for an instance that exists and is not the caller's. "
        "By default nobody: to others an instance of another project does not exist.",
        [_SHOW, _CONSOLES, *_TOKENS],
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_HTTP.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Reach web services on an instance through consoled, where [http_proxy] allows any port.",
        _HTTP,
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_FORWARD.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Reach TCP ports of an instance through consoled, where [forward] allows any port.",
        [_FORWARD],
    ),
    policy.DocumentedRuleDefault(
        Rule.SERVERS_MIGRATE.value,
        f"rule:{ADMIN}",
        "Migrate an instance's domain to another compute host of the configuration, see how far "
        "that is, and cancel it. By default not for its project: it loads hosts and networks that "
        "belong to others, too, and its answers name compute hosts.",
        _MIGRATE,
    ),
    policy.DocumentedRuleDefault(
        Rule.CONSOLES_LIST.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "List the consoles of an instance.",
        [_CONSOLES],
    ),
    policy.DocumentedRuleDefault(
        Rule.CONSOLES_BREAK.value,
        f"rule:{ADMIN}",
        "Send BREAK and SysRq to a console. Judged when a URL is given out, too: its page then "
        "has a menu for them. By default administrators alone, as SysRq restarts a guest or ends "
        "its processes past any login of the guest's own.",
        [_BREAK, *_TOKENS],
    ),
    policy.DocumentedRuleDefault(
        Rule.CONSOLES_CONFIGURE.value,
        f"rule:{ADMIN}",
        "Give an instance's domain serial ports, and take them away again. By default not for its "
        "project: it takes ports of the compute host, opens them on its network, writes log files "
        "there, and changes the definition of the domain.",
        _CONFIGURE,
    ),
    policy.DocumentedRuleDefault(
        Rule.TOKENS_CREATE.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Get a URL with a token that opens a console to type into, whichever route it is asked by.",
        _TOKENS,
    ),
    policy.DocumentedRuleDefault(
        Rule.TOKENS_OBSERVE.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "Get a URL with a token that lets its user watch a console and not type into it "
        "(the role observer).",
        _NATIVE_TOKENS,
    ),
    policy.DocumentedRuleDefault(
        Rule.SHELLS_CREATE.value,
        f"rule:{ADMIN}",
        "Get a URL that opens a shell on an instance, over SSH. By default administrators alone: "
        "whoever has it is logged in already, with the user and the key of a node group, where a "
        "serial port asks for a name and a password.",
        [_SHELL],
    ),
    policy.DocumentedRuleDefault(
        Rule.TOKENS_SHOW.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "See for which console a token is, whose it is and until when it is valid.",
        [_SHOW_TOKEN],
    ),
    policy.DocumentedRuleDefault(
        Rule.TOKENS_RESOLVE.value,
        f"rule:{ADMIN}",
        "Learn by a token, which has to be sent whole, where its console listens. It is for "
        "proxies of other kinds, so administrators alone may by default.",
        [_RESOLVE],
    ),
    policy.DocumentedRuleDefault(
        Rule.TOKENS_DELETE.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Take a token back before it expires. A session that it has opened goes on.",
        [_REVOKE],
    ),
    policy.DocumentedRuleDefault(
        Rule.SESSIONS_LIST.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "See the sessions on an instance's consoles: who holds which, and since when. Judged "
        "when a URL is given out, too: its page then names the holder of a busy console.",
        [_SESSIONS, *_TOKENS],
    ),
    policy.DocumentedRuleDefault(
        Rule.SESSIONS_DELETE.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Disconnect a session, or all of an instance.",
        _END,
    ),
    policy.DocumentedRuleDefault(
        Rule.SESSIONS_TAKE.value,
        f"rule:{Rule.TOKENS_CREATE}",
        "Ask for a console that another user has, and get it ten seconds later. Judged when a "
        "URL is given out. By default whoever gets a URL to type with.",
        _TOKENS,
    ),
    policy.DocumentedRuleDefault(
        Rule.SESSIONS_FORCE.value,
        f"rule:{ADMIN}",
        "Take a console from the user who has it at once. Judged when a URL is given out.",
        _TOKENS,
    ),
    policy.DocumentedRuleDefault(
        Rule.RECORDINGS_LIST.value,
        f"rule:{PROJECT_READER} or rule:{ADMIN}",
        "See which sessions were recorded: whose, on which instance, when. A recording belongs "
        "to the project that its instance belonged to.",
        _RECORDINGS,
    ),
    policy.DocumentedRuleDefault(
        Rule.RECORDINGS_SHOW.value,
        f"rule:{PROJECT_MEMBER} or rule:{ADMIN}",
        "Read a recording: everything that its session showed.",
        [_CONTENT],
    ),
    policy.DocumentedRuleDefault(
        Rule.RECORDINGS_REPLAY.value,
        f"rule:{Rule.RECORDINGS_SHOW}",
        "Get a URL that plays a recording in the page. By default whoever may read it.",
        [_REPLAY],
    ),
    policy.DocumentedRuleDefault(
        Rule.RECORDINGS_DELETE.value,
        f"rule:{ADMIN}",
        "Delete a recording. By default not for those whom it may show.",
        [_DELETE_RECORDING],
    ),
    policy.DocumentedRuleDefault(
        Rule.NODE_GROUPS_SHOW.value,
        f"rule:{ADMIN}",
        "See node groups: which SSH servers lead to instances and compute hosts, and who logs in "
        "there. Judged by the group's own project. Keys are shown to nobody.",
        _SHOW_GROUPS,
    ),
    policy.DocumentedRuleDefault(
        Rule.NODE_GROUPS_CHANGE.value,
        f"rule:{ADMIN}",
        "Make, change and delete node groups. Judged by the group's own project. Who may not do it "
        "with groups of no project cannot name compute hosts, key files and addresses either: "
        "these are the operator's.",
        _CHANGE_GROUPS,
    ),
    policy.DocumentedRuleDefault(
        Rule.NODE_GROUP_TEMPLATES_SHOW.value,
        f"rule:{ADMIN}",
        "See node group templates, and make groups with them, which have the template's key.",
        _SHOW_TEMPLATES,
    ),
    policy.DocumentedRuleDefault(
        Rule.NODE_GROUP_TEMPLATES_CHANGE.value,
        f"rule:{ADMIN}",
        "Make, change and delete node group templates.",
        _CHANGE_TEMPLATES,
    ),
)

_IMPLIED = {"admin": ("member", "reader"), "member": ("reader",)}


def implied_roles(roles: Iterable[str]) -> frozenset[str]:
    """The roles and those that they hold: admin > member > reader.

    Keystone does the same before consoled sees its roles; static keys rely on it.

    :param roles: role names, in any case.
    """
    lowered = {role.lower() for role in roles}
    return frozenset(lowered.union(*(_IMPLIED.get(role, ()) for role in lowered)))


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


SAMPLE_HEAD = """\
# Rules of consoled that differ from their defaults.
#
# Name this file in consoled.conf:
#
#     [oslo_policy]
#     policy_file = /etc/consoled/policy.yaml
#
# Every rule below is a comment that shows its default: take the "#" away and
# change it. "!" is nobody, "@" is everybody with a valid credential. The role
# admin holds member, and member holds reader. %(project_id)s is the project of
# the instance; an instance without one matches no project. The file is read
# again when it changes; a bad one leaves the rules before it in force, and the
# log says why.
"""


def render_sample() -> str:
    """The text of etc/policy.yaml.sample: each rule with its routes, as a comment."""
    blocks = [SAMPLE_HEAD]
    for default in DEFAULTS:
        comment = textwrap.wrap(default.description or "", 78)
        comment += [
            f"{operation['method']}  {operation['path']}"
            for operation in getattr(default, "operations", [])
        ]
        blocks.append(
            "".join(f"# {line}\n" for line in comment)
            + f'#"{default.name}": "{default.check_str}"\n'
        )
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.stdout.write(render_sample())
