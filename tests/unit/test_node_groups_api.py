"""Node groups over REST, where policy lets projects have their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_client import Answer, ApiClient
from attrs import define
from fakes import FOREIGN, WEB_1, FakeDriver
from twisted.internet.task import Clock

from consoled.auth.policy import PolicyEnforcer
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import Unavailable
from consoled.reaching.book import GroupBook
from consoled.reaching.groups import NodeGroups
from consoled.workers import InlineWorker

MEMBERS = """
"consoled:node-groups:show": "rule:consoled:project-reader or rule:consoled:admin"
"consoled:node-groups:change": "rule:consoled:project-member or rule:consoled:admin"
"consoled:node-group-templates:show": "rule:consoled:project-reader or rule:consoled:admin"
"""


@define
class Api:
    """The API, with node groups."""

    client: ApiClient
    driver: FakeDriver
    groups: NodeGroups

    def ask(self, method: str, path: str, body: Any = None, key: str = "member-key") -> Answer:
        """The answer to that caller."""
        self.client.key = key
        data = b"" if body is None else json.dumps(body).encode()
        return self.client.ask(method, path, data)

    def make(self, key: str = "member-key", **fields: object) -> Answer:
        """The answer to a wish for a new group."""
        return self.ask("POST", "/v1/node-groups", {"node_group": fields}, key)

    def made(self, key: str = "member-key", **fields: object) -> str:
        """The id of a new group."""
        answer = self.make(key, **fields)
        assert answer.status == 201, answer.body
        return str(answer.json["node_group"]["id"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API whose policy lets a project's members have groups of their own."""
    policy_file = tmp_path / "policy.yaml"
    policy_file.write_text(MEMBERS)
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    metadata.create_all(engine)
    database = CellDatabase(engine, InlineWorker())
    driver = FakeDriver()
    groups = NodeGroups(
        networks=("10.0.0.0/8",),
        database=database,
        policy=PolicyEnforcer(InlineWorker(), policy_file),
        driver=driver,
        book=GroupBook(database, Clock()),
        worker=InlineWorker(),
    )
    yield Api(ApiClient(groups=groups, driver=driver), driver, groups)
    database.stop()


def test_a_project_sees_its_own(api: Api) -> None:
    """Groups of others, and the operator's, do not exist for it: neither to see nor to change."""
    own = api.made(name="own", project_id="demo")
    operator = api.made("admin-key", name="operator")
    foreign = api.made("admin-key", name="foreign", project_id="other")
    listed = api.ask("GET", "/v1/node-groups").json["node_groups"]
    assert [one["id"] for one in listed] == [own]
    assert len(api.ask("GET", "/v1/node-groups", key="admin-key").json["node_groups"]) == 3
    for other in (operator, foreign):
        path = f"/v1/node-groups/{other}"
        assert api.ask("GET", path).status == 404
        assert api.ask("PATCH", path, {"node_group": {"name": "mine"}}).status == 404
        assert api.ask("DELETE", path).status == 404
    assert api.ask("GET", f"/v1/node-groups/{own}", key="reader-key").status == 200
    assert api.ask("DELETE", f"/v1/node-groups/{own}", key="reader-key").status == 403
    assert api.ask("DELETE", f"/v1/node-groups/{own}").status == 204


def test_a_project_takes_nothing_of_others(api: Api) -> None:
    """Not their name for its own groups, their instances, their proxies or their templates."""
    foreign = api.made("admin-key", name="foreign", project_id="other", is_proxy=True)
    template = api.ask(
        "POST",
        "/v1/node-group-templates",
        {"node_group_template": {"name": "mould", "project_id": "other"}},
        "admin-key",
    ).json["node_group_template"]["id"]
    assert api.make(name="x", project_id="other").status == 403
    assert api.make(name="x").status == 403
    for wish, problem in (
        ({"members": [{"instance_id": FOREIGN}]}, "could not be found"),
        ({"proxy_group_id": foreign}, "names no node group."),
        ({"node_group_template_id": template}, "names no node group template."),
    ):
        answer = api.make(name="x", project_id="demo", **wish)
        assert (answer.status, problem in answer.message) == (400, True)
    own = api.made(name="own", project_id="demo", members=[{"instance_id": WEB_1}])
    moved = api.ask("PATCH", f"/v1/node-groups/{own}", {"node_group": {"project_id": "other"}})
    assert moved.status == 403


def test_what_reaches_beyond_a_project(api: Api) -> None:
    """Compute hosts, the operator's keys and addresses are not for a project's members."""
    for wish in (
        {"hosts": ["rack1"], "is_proxy": True},
        {"key_file": "id"},
        {"members": [{"host": "10.0.0.5"}]},
    ):
        answer = api.make(name="x", project_id="demo", **wish)
        assert answer.status == 403, answer.body
    operator = api.make("admin-key", name="x", project_id="demo", hosts=["rack1"], is_proxy=True)
    assert operator.status == 201
    path = f"/v1/node-groups/{operator.json['node_group']['id']}"
    assert api.ask("PATCH", path, {"node_group": {"hosts": []}}).status == 200
    assert api.ask("PATCH", path, {"node_group": {"hosts": ["rack1"]}}).status == 403


def test_secrets_need_a_key_of_the_cell(api: Api) -> None:
    """Without secret_key_file and keys_dir a key is refused, and told how to enable it."""
    answer = api.make(name="x", project_id="demo", private_key="SECRET")
    assert (answer.status, "secret_key_file" in answer.message) == (400, True)
    assert "SECRET" not in answer.message
    answer = api.make("admin-key", name="x", project_id="demo", key_file="id")
    assert (answer.status, "keys_dir" in answer.message) == (400, True)


def test_a_hypervisor_that_is_away(api: Api) -> None:
    """Members cannot be looked up then: the answer is 503, and nothing was made."""
    api.driver.error = Unavailable("libvirt is away")
    answer = api.make(name="x", project_id="demo", members=[{"instance_id": WEB_1}])
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    api.driver.error = None
    assert api.ask("GET", "/v1/node-groups").json == {"node_groups": []}


def test_paths_that_are_no_group_s(api: Api) -> None:
    """What is no UUID is nobody's id; PATCH needs an object."""
    for path in ("/v1/node-groups/own", "/v1/node-groups/" + "A" * 36):
        assert api.ask("GET", path).status == 404
        assert api.ask("DELETE", path).status == 404
        assert api.ask("PATCH", path, {"node_group": {}}).status == 404
    own = api.made(name="own", project_id="demo")
    assert api.ask("PATCH", f"/v1/node-groups/{own}").status == 400
    unchanged = api.ask("PATCH", f"/v1/node-groups/{own}", {"node_group": {}})
    assert (unchanged.status, unchanged.json["node_group"]["name"]) == (200, "own")
    assert api.ask("PUT", f"/v1/node-groups/{own}").status == 405
