"""Every route of the API, asked by everybody: who may, who is told no, and which rules say so.

The rows stand beside the table of routes that the API is made with and beside the routes that
the policy's documentation names, and all three have to be the same: a route without a rule, or
without a row here, fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from fakes import STOPPED, WEB_1
from oslo_policy import policy as oslo
from recordings import SESSION
from test_api_sessions import MINE
from test_api_tokens import OURS
from whole_api import GROUP, TEMPLATE, TOKEN, WholeApi

from consoled.auth.policy import DEFAULTS, PolicyEnforcer, Rule
from consoled.model import Caller
from consoled.workers import InlineWorker

WHO: Mapping[str, Caller] = {
    "reader": Caller("rea", "demo", frozenset({"reader"})),
    "member": Caller("mia", "demo", frozenset({"member"})),
    "manager": Caller("max", "demo", frozenset({"manager"})),
    "admin": Caller("ada", "ops", frozenset({"admin"})),
    "service": Caller("nova", "service", frozenset({"service"})),
    "other": Caller("zoe", "other", frozenset({"member"})),
    "nobody": Caller("ned", "demo", frozenset()),
    "system": Caller("sys", None, frozenset({"admin"}), scope="system"),
    "domain": Caller("dom", None, frozenset({"admin"}), scope="domain"),
}
"""Who asks; everything that is asked for is project demo's."""

Expected = Mapping[str, int]


def expected(
    reader: int, member: int, admin: int, service: int, other: int, nobody: int
) -> Expected:
    """The status for each: a manager is a member here, and no other scope than a project's may."""
    return {
        "reader": reader,
        "member": member,
        "manager": member,
        "admin": admin,
        "service": service,
        "other": other,
        "nobody": nobody,
        "system": 403,
        "domain": 403,
    }


def for_readers(done: int) -> Expected:
    """The project's readers may; to others it does not exist."""
    return expected(done, done, done, 404, 404, 403)


def for_members(done: int) -> Expected:
    """The project's members may; its readers are told no."""
    return expected(403, done, done, 404, 404, 403)


def for_admins(done: int) -> Expected:
    """Administrators alone; to other projects it does not exist."""
    return expected(403, 403, done, 404, 404, 403)


def for_operators(done: int) -> Expected:
    """Administrators alone; it is no project's."""
    return expected(403, 403, done, 403, 403, 403)


SERVICES = expected(403, 403, 200, 200, 403, 403)
LISTED = expected(200, 200, 200, 403, 200, 403)
EVERYBODY: Expected = dict.fromkeys(WHO, 200)

VALUES = {
    "server_id": WEB_1,
    "index": "0",
    "port": "80",
    "path": "",
    "token": TOKEN,
    "token_id": OURS[:12],
    "session_id": MINE,
    "recording_id": SESSION,
    "group_id": GROUP,
    "template_id": TEMPLATE,
}


@frozen
class Row:
    """One request, and its answers.

    :ivar route: as the policy's documentation names it.
    :ivar answers: the status for each of :data:`WHO`.
    :ivar counts: of a list: how many each finds in it.
    """

    route: str
    answers: Expected
    body: Any = None
    version: str = ""
    counts: Mapping[str, int] = field(factory=dict)
    values: Mapping[str, str] = field(factory=dict)
    name: str = ""

    @property
    def method(self) -> str:
        """Of the request."""
        return self.route.split()[0]

    def path(self, who: str) -> str:
        """Of that caller's request: in a path, their project is their own."""
        tenant = {"tenant_id": WHO[who].project_id or "none"}
        return self.route.split()[1].format_map(VALUES | tenant | dict(self.values))

    def __str__(self) -> str:
        return f"{self.route} {self.name}".strip()


SERVER = "/v1/servers/{server_id}"
OBSERVER = {"token": {"role": "observer"}}
SERIAL: Mapping[str, Any] = {"serial_console": {}}
LEGACY = {"os-getSerialConsole": {"type": "serial"}}
UNIFIED = {"remote_console": {"protocol": "serial", "type": "serial"}}
NEW_GROUP = {"node_group": {"name": "new", "project_id": "demo"}}
NEW_TEMPLATE = {"node_group_template": {"name": "new", "project_id": "demo"}}
MIGRATION = {"migration": {"host": "kvm2"}}
INSTANCES = {"reader": 3, "member": 3, "admin": 5, "other": 1}
ONE = {"reader": 1, "member": 1, "admin": 1, "other": 0}
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

OPEN = (Row("GET /", EVERYBODY), Row("GET /v2.1", EVERYBODY), Row("GET /v2.1/", EVERYBODY))
"""What anybody may ask for, with a credential or without: which versions there are."""

# 400 for an administrator: allowed, and then the fake driver has nothing that could do it.
RULED = (
    Row("GET /v1/servers", LISTED, counts=INSTANCES),
    Row("GET /v2.1/servers", LISTED, counts=INSTANCES),
    Row("GET /v2.1/servers/detail", LISTED, counts=INSTANCES),
    Row(f"GET {SERVER}", for_readers(200)),
    Row("GET /v2.1/servers/{server_id}", for_readers(200)),
    Row(f"GET {SERVER}/consoles", for_readers(200)),
    Row(f"POST {SERVER}/consoles", for_admins(400), {}),
    Row(f"DELETE {SERVER}/consoles", for_admins(400)),
    Row(f"POST {SERVER}/consoles/{{index}}/break", for_admins(400)),
    Row(f"POST {SERVER}/consoles/{{index}}/tokens", for_members(201), {}),
    Row(f"POST {SERVER}/consoles/{{index}}/tokens", for_readers(201), OBSERVER, name="observer"),
    Row(f"POST {SERVER}/tokens", for_members(201), {}),
    Row(f"POST {SERVER}/tokens", for_readers(201), OBSERVER, name="observer"),
    Row(f"POST {SERVER}/consoles/ssh/tokens", for_admins(400), {}),
    # A project in the path has to be the caller's, who has none in another scope.
    Row(
        "POST /v2/{tenant_id}/servers/{server_id}/get-serial-console",
        {**for_members(200), "system": 400, "domain": 400},
        SERIAL,
    ),
    Row("POST /v3/servers/{server_id}/get-serial-console", for_members(202), SERIAL),
    Row("POST /v2.1/servers/{server_id}/action", for_members(200), LEGACY),
    Row("POST /v2.1/servers/{server_id}/remote-consoles", for_members(200), UNIFIED, "2.6"),
    Row("GET /v2.1/os-console-auth-tokens/{token}", SERVICES, version="2.31"),
    Row("GET /v1/tokens/{token_id}", for_readers(200)),
    Row("DELETE /v1/tokens/{token_id}", for_members(204)),
    Row("GET /v1/sessions", LISTED, counts=ONE),
    Row("DELETE /v1/sessions/{session_id}", for_members(202)),
    Row(f"DELETE {SERVER}/sessions", for_members(202)),
    Row("GET /v1/recordings", LISTED, counts=ONE),
    Row("GET /v1/recordings/{recording_id}", for_readers(200)),
    Row("GET /v1/recordings/{recording_id}/content", for_members(200)),
    Row("POST /v1/recordings/{recording_id}/tokens", for_members(201), {}),
    Row("DELETE /v1/recordings/{recording_id}", for_admins(204)),
    Row(f"POST {SERVER}/migration", for_admins(400), MIGRATION),
    Row(f"GET {SERVER}/migration", for_admins(400)),
    Row(f"DELETE {SERVER}/migration", for_admins(400)),
    # 409: allowed, and the instance does not run.
    *(
        Row(
            f"{method} {SERVER}/http/{{port}}/{{path}}",
            for_members(409),
            values={"server_id": STOPPED},
        )
        for method in HTTP_METHODS
    ),
    Row(f"GET {SERVER}/tcp/{{port}}", for_members(200)),
    Row("GET /v1/cells", for_operators(200)),
    Row("GET /v1/node-groups", for_operators(200)),
    Row("POST /v1/node-groups", for_operators(201), NEW_GROUP),
    Row("GET /v1/node-groups/{group_id}", for_admins(200)),
    Row("PATCH /v1/node-groups/{group_id}", for_admins(200), NEW_GROUP),
    Row("DELETE /v1/node-groups/{group_id}", for_admins(204)),
    Row("GET /v1/node-group-templates", for_operators(200)),
    Row("POST /v1/node-group-templates", for_operators(201), NEW_TEMPLATE),
    Row("GET /v1/node-group-templates/{template_id}", for_admins(200)),
    Row("PATCH /v1/node-group-templates/{template_id}", for_admins(200), NEW_TEMPLATE),
    Row("DELETE /v1/node-group-templates/{template_id}", for_admins(204)),
)

Make = Callable[[], WholeApi]


@pytest.fixture(scope="module")
def enforcer() -> PolicyEnforcer:
    """The default rules."""
    return PolicyEnforcer(InlineWorker())


@pytest.fixture
def make(enforcer: PolicyEnforcer, tmp_path: Path) -> Iterator[Make]:
    """Makes APIs, each with things of its own."""
    made: list[WholeApi] = []

    def new() -> WholeApi:
        made.append(WholeApi(enforcer, WHO, tmp_path / str(len(made))))
        return made[-1]

    yield new
    for api in made:
        api.close()


def documented() -> dict[str, set[Rule]]:
    """The routes in the policy's documentation, each with the rules that name it."""
    found: dict[str, set[Rule]] = {}
    for default in DEFAULTS:
        if isinstance(default, oslo.DocumentedRuleDefault):
            for operation in default.operations:
                methods, path = operation["method"], operation["path"]
                found.setdefault(f"{methods} {path}", set()).add(Rule(default.name))
    return found


@pytest.mark.parametrize("row", [*OPEN, *RULED], ids=str)
def test_who_may(make: Make, row: Row) -> None:
    """The route answers each role as the row says; and exactly the rules that are documented
    for it decide."""
    api = make()
    api.policy.asked.clear()
    asked: set[Rule] = set()
    found: dict[str, int] = {}
    body = b"" if row.body is None else json.dumps(row.body).encode()
    # Who is refused comes first, so that nobody before has changed what is asked for.
    for who in sorted(WHO, key=lambda name: row.answers[name] < 400):
        answer = api.ask(row.method, row.path(who), who, body, row.version)
        found[who] = answer.status
        asked |= api.policy.asked
        if who in row.counts:
            [listed] = answer.json.values()
            assert len(listed) == row.counts[who], who
        if row.method != "GET" and answer.status < 300:
            api = make()
    assert found == row.answers
    alike = [other for other in RULED if other.route == row.route]
    rules = documented().get(row.route, set())
    assert asked <= rules
    assert asked == rules or len(alike) > 1
    anonymous = api.ask(row.method, row.path("member"), None, body, row.version)
    assert anonymous.status == (200 if row in OPEN else 401)


def test_every_route_has_its_row(make: Make) -> None:
    """The rows reach all routes of the API's own table, and no route is open but the versions."""
    api = make()
    is_open, is_ruled = ({_reached(api, row) for row in rows} for rows in (OPEN, RULED))
    assert is_open | is_ruled == {(route.method, route.template) for route in api.table.routes}
    assert not is_open & is_ruled


def _reached(api: WholeApi, row: Row) -> tuple[str, str]:
    segments = [segment.encode() for segment in row.path("member").removeprefix("/").split("/")]
    route, _ = api.table.find(row.method.encode(), segments)
    return route.method, route.template


def test_every_route_has_its_rule() -> None:
    """The routes that the policy's documentation names are those of the rows, each rule some."""
    assert set(documented()) == {row.route for row in RULED}
    assert set().union(*documented().values()) == set(Rule)
