"""Node groups over REST and consolectl, against real daemons on the three databases."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner, Result
from databases import ALL, new_database
from sqlalchemy import Engine, create_engine, text
from twisted.conch.ssh.keys import Key

from consoled.cli.root import PROGRAM, root
from consoled.db import node_groups as rows
from consoled.db import schema
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import Conflict
from consoled.reaching.values import NodeGroup, Traits
from tools.lab.daemon import MEMBER_KEY, Daemon, static_daemon
from tools.lab.secret_key import secret_key

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
GATEWAY = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
PASSPHRASE = "a passphrase of the node group"
VARIABLES = ("CONSOLED_CONFIG", "CONSOLED_API", "CONSOLED_KEY", "CONSOLED_CACERT")


def instance(uuid: str, name: str) -> dict[str, object]:
    """One without consoles."""
    return {
        "uuid": uuid,
        "name": name,
        "project_id": "demo",
        "host": "rack1",
        "addresses": ["198.51.100.5"],
        "serial": [],
    }


def make_key(path: Path, passphrase: str | None = None) -> str:
    """A new ed25519 key in a file of mode 0600; its text."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase or "", "-f", str(path)]
    if passphrase is not None:
        words += ["-a", "1"]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path.read_text()


EACH = pytest.mark.parametrize("world", ALL, indirect=True)
ONE = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


class World:
    """A running daemon, and what it was given.

    :ivar url: of its database.
    :ivar folder: with the host keys' file and a key that is given over REST.
    """

    def __init__(self, daemon: Daemon, url: str, folder: Path) -> None:
        self.daemon = daemon
        self.url = url
        self.folder = folder

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """The answer's status and body."""
        other = {} if key is None else {"key": key}
        answer = self.daemon.request(method, path, body=body, **other)  # type: ignore[arg-type]  # a key or none
        return answer.status, answer.body

    def make(self, **fields: object) -> Any:
        """A new group, as the API shows it."""
        status, body = self.ask("POST", "/v1/node-groups", {"node_group": fields})
        assert status == 201, body
        return body["node_group"]

    def ctl(self, *words: str) -> Result:
        """What consolectl does on the daemon's own host (in this process: it is one of many)."""
        argv = ["--config", str(self.daemon.config_file), *words]
        return CliRunner().invoke(root, argv, prog_name=PROGRAM, env=dict.fromkeys(VARIABLES))

    def dump(self) -> str:
        """Every value of every table of node groups, as text."""
        engine = create_engine(self.url)
        with engine.connect() as connection:
            values = [
                str(value)
                for name in metadata.tables
                if name.startswith("node_group")
                for row in connection.execute(text(f"SELECT * FROM {name}"))
                for value in row
            ]
        engine.dispose()
        return "\n".join(values)


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A daemon over a database of each kind, with keys and networks for node groups."""
    folder = tmp_path_factory.mktemp("nodes")
    url = new_database(request.session, request.param, folder)
    engine = make_engine(url, None)
    schema.upgrade(engine)
    engine.dispose()
    (folder / "keys").mkdir(mode=0o700)
    make_key(folder / "keys" / "gateways")
    make_key(folder / "given", PASSPHRASE)
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    public = (folder / "keys" / "gateways.pub").read_text()
    (folder / "known").write_text(f"# gateways\n10.0.0.5 {public}")
    config = {
        "database": {"connection": url.replace("$", "$$")},
        "ssh_proxy": {
            "keys_dir": folder / "keys",
            "secret_key_file": secret_key(folder),
            "allowed_networks": "10.0.0.0/24, 2001:db8::/64",
        },
    }
    instances = [instance(WEB, "web-1"), instance(GATEWAY, "gateway")]
    with static_daemon(tmp_path_factory.mktemp("daemon"), instances, config) as daemon:
        yield World(daemon, url, folder)


@pytest.fixture(autouse=True)
def clean(world: World) -> Iterator[None]:
    """Each test begins without groups and templates."""
    yield
    for path, name in (
        ("node-group-templates", "node_group_templates"),
        ("node-groups", "node_groups"),
    ):
        left = world.ask("GET", f"/v1/{path}")[1][name]
        while left:
            gone = [one for one in left if world.ask("DELETE", f"/v1/{path}/{one['id']}")[0] == 204]
            assert gone, left
            left = [one for one in left if one not in gone]


@EACH
def test_a_group_from_its_making_to_its_end(world: World) -> None:
    """CRUD: every field is kept, PATCH changes what it names, DELETE ends it."""
    edge = world.make(name="edge", is_proxy=True)
    known = (world.folder / "keys" / "gateways.pub").read_text().strip()
    wish = {
        "name": "gateways",
        "project_id": "demo",
        "is_proxy": True,
        "user_name": "jump",
        "key_file": "gateways",
        "known_hosts": [known],
        "proxy_group_id": edge["id"],
        "members": [{"instance_id": GATEWAY, "port": 2222}, {"host": "2001:db8::5"}],
        "hosts": ["rack1"],
    }
    made = world.make(**wish)
    shown = {**wish, "id": made["id"], "has_private_key": False, "has_passphrase": False}
    shown["members"] = [
        {"instance_id": GATEWAY, "port": 2222},
        {"host": "2001:db8::5", "port": 22},
    ]
    path = f"/v1/node-groups/{made['id']}"
    assert made == shown
    assert world.ask("GET", path) == (200, {"node_group": shown})
    listed = world.ask("GET", "/v1/node-groups")[1]["node_groups"]
    assert listed == [edge, shown]
    change = {"proxy_group_id": None, "hosts": [], "user_name": "other"}
    assert world.ask("PATCH", path, {"node_group": change}) == (
        200,
        {"node_group": {**shown, **change}},
    )
    assert world.ask("DELETE", path) == (204, None)
    assert world.ask("GET", path)[0] == 404
    assert world.ask("DELETE", path)[0] == 404
    changes = [e for e in world.daemon.events() if e["event"] == "node_group_changed"]
    assert changes[-1]["user_id"] == "ada"
    assert "hosts, proxy_group_id, user_name" in changes[-1]["message"]


@EACH
def test_a_template_gives_every_field(world: World) -> None:
    """A group that is made with one has all of its fields, the key included, or overrides them."""
    key = (world.folder / "given").read_text()
    fields = {
        "name": "mould",
        "project_id": "demo",
        "is_proxy": True,
        "user_name": "jump",
        "private_key": key,
        "passphrase": PASSPHRASE,
        "known_hosts": [(world.folder / "given.pub").read_text().strip()],
    }
    status, body = world.ask("POST", "/v1/node-group-templates", {"node_group_template": fields})
    assert status == 201, body
    template = body["node_group_template"]
    made = world.make(node_group_template_id=template["id"])
    assert {**template, "id": made["id"], "members": [], "hosts": []} == made
    assert (made["is_proxy"], made["has_private_key"], made["has_passphrase"]) == (True,) * 3
    other = world.make(
        node_group_template_id=template["id"], name="own", is_proxy=False, key_file="gateways"
    )
    assert (other["name"], other["is_proxy"], other["user_name"]) == ("own", False, "jump")
    assert (other["key_file"], other["has_private_key"], other["has_passphrase"]) == (
        *("gateways", False, False),
    )
    path = f"/v1/node-group-templates/{template['id']}"
    status, body = world.ask("PATCH", path, {"node_group_template": {"is_proxy": False}})
    assert (status, body["node_group_template"]["is_proxy"]) == (200, False)
    assert world.ask("GET", f"/v1/node-groups/{made['id']}")[1]["node_group"] == made
    assert world.ask("DELETE", path) == (204, None)
    twice = {"node_group": {"node_group_template_id": template["id"]}}
    assert world.ask("POST", "/v1/node-groups", twice)[0] == 400


@EACH
def test_a_secret_is_given_once(world: World) -> None:
    """The key is in no answer, log or dump of the database, and neither is its passphrase."""
    text = (world.folder / "given").read_text()
    made = world.make(
        name="sealed", is_proxy=True, user_name="jump", private_key=text, passphrase=PASSPHRASE
    )
    path = f"/v1/node-groups/{made['id']}"
    answers = json.dumps([made, world.ask("GET", path), world.ask("GET", "/v1/node-groups")])
    wrong = {"private_key": text, "passphrase": "another one"}
    status, refused = world.ask("PATCH", path, {"node_group": wrong})
    assert (status, refused["badRequest"]["message"][:13]) == (400, "private_key: ")
    clear = Key.fromString(text, passphrase=PASSPHRASE.encode()).toString("OPENSSH").decode()
    lines = {line for one in (text, clear) for line in one.splitlines() if len(line) > 40}
    assert len(lines) > 5
    for where in (answers, json.dumps(refused), world.daemon.log.read_text(), world.dump()):
        assert not [line for line in lines if line in where]
        assert PASSPHRASE not in where
        assert "another one" not in where
    assert world.dump().count("gAAAA") == 2  # Fernet's tokens: key and passphrase


@ONE
def test_who_may(world: World) -> None:
    """Administrators; to others there is nothing, not even their own project's."""
    made = world.make(name="own", project_id="demo")
    for path in ("/v1/node-groups", f"/v1/node-groups/{made['id']}", "/v1/node-group-templates"):
        assert world.ask("GET", path, key=MEMBER_KEY)[0] == 403
    wish = {"node_group": {"name": "x", "project_id": "demo"}}
    assert world.ask("POST", "/v1/node-groups", wish, key=MEMBER_KEY)[0] == 403
    path = f"/v1/node-groups/{made['id']}"
    assert world.ask("DELETE", path, key=MEMBER_KEY)[0] == 403
    foreign = world.make(name="foreign", project_id="other")
    assert world.ask("GET", f"/v1/node-groups/{foreign['id']}", key=MEMBER_KEY)[0] == 404
    assert world.ask("GET", "/v1/node-groups", key="x" * 20)[0] == 401


@ONE
def test_what_cannot_be(world: World) -> None:
    """Refusals name the field, and change nothing."""
    first = world.make(name="first", is_proxy=True, members=[{"instance_id": WEB}])
    before = world.dump()
    cases: list[tuple[dict[str, object], int, str]] = [
        ({}, 400, "name must be given"),
        ({"name": "x", "unknown": 1}, 400, 'unknown member "unknown"'),
        ({"name": 1}, 400, "node_group.name must be a string"),
        ({"name": "x", "members": "web-1"}, 400, "members must be an array"),
        ({"name": "x", "members": [1]}, 400, "members.0 must be an object"),
        ({"name": "first"}, 409, "There is a node group first already"),
        ({"name": "x", "members": [{"instance_id": WEB}]}, 409, "is a member of node group first"),
        ({"name": "x", "members": [{"instance_id": WEB[:-1] + "f"}]}, 400, "could not be found"),
        ({"name": "x", "members": [{"host": "10.0.1.1"}]}, 400, "allowed_networks"),
        ({"name": "x", "key_file": "missing"}, 400, "keys_dir has no key missing"),
        ({"name": "x", "key_file": "gateways.pub"}, 400, "key_file: "),
        ({"name": "x", "private_key": "nothing"}, 400, "private_key: the SSH key"),
        ({"name": "x", "proxy_group_id": WEB}, 400, "names no node group"),
        ({"name": "x", "node_group_template_id": "mould"}, 400, "must be a UUID"),
    ]
    for wish, status, message in cases:
        found, body = world.ask("POST", "/v1/node-groups", {"node_group": wish})
        assert (found, message in str(body)) == (status, True), (wish, found, body)
    for body in (None, {}, {"node_group": None}, []):
        assert world.ask("POST", "/v1/node-groups", body)[0] == 400
    path = f"/v1/node-groups/{first['id']}"
    around = {"node_group": {"proxy_group_id": first["id"]}}
    assert world.ask("PATCH", path, around)[0] == 409
    assert world.dump() == before


@EACH
def test_circles_under_races(world: World) -> None:
    """Of two replicas' changes at once that would close a circle together, one is refused."""
    engine = make_engine(world.url)
    for attempt in range(8):
        pair = [f"{attempt:08}-0000-4000-8000-{side:012}" for side in range(2)]
        with engine.begin() as connection:
            for uuid in pair:
                rows.create(connection, NodeGroup(uuid, Traits(uuid, is_proxy=True)))
        race = Race(engine)
        race.run(pair, pair[::-1])
        assert [str(error)[:26] for error in race.refused] == ["Node groups would go round"]
        with engine.begin() as connection:
            for group in sorted(
                rows.every(connection), key=lambda one: one.traits.proxy_group_id is None
            ):
                rows.remove(connection, group.id)
    engine.dispose()


class Race:
    """Changes that begin at the same moment, each in a connection of its own.

    :ivar refused: what the losers were told.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.refused: list[Conflict] = []
        self._together = threading.Barrier(2)

    def run(self, *changes: list[str]) -> None:
        """Puts the first group of each change behind the second."""
        threads = [threading.Thread(target=self._put, args=change) for change in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _put(self, own: str, other: str) -> None:
        def behind(there: NodeGroup) -> NodeGroup:
            return evolve(there, traits=evolve(there.traits, proxy_group_id=other))

        self._together.wait()
        try:
            with self.engine.begin() as connection:
                rows.alter(connection, own, behind)
        except Conflict as error:
            self.refused.append(error)


@ONE
def test_consolectl_does_the_same(world: World) -> None:
    """Names instead of ids, tables for people, the API's own objects for scripts."""
    made = world.ctl(
        *("node-group-template", "create", "mould", "--proxy", "--user", "jump"),
        *("--private-key", str(world.folder / "given")),
        *("--passphrase-file", str(world.folder / "passphrase")),
        *("--known-hosts", str(world.folder / "known")),
    )
    assert (made.exit_code, made.stderr) == (0, "")
    assert "has_private_key  yes" in made.stdout
    done = world.ctl(
        *("node-group", "create", "gateways", "--template", "mould", "--host", "rack1"),
        *("--member", "10.0.0.5:2222", "--member", "gateway", "--member", "[2001:db8::5]:23"),
        *("--format", "json"),
    )
    assert (done.exit_code, done.stderr) == (0, "")
    group = json.loads(done.stdout)
    assert group["members"] == [
        {"host": "10.0.0.5", "port": 2222},
        {"instance_id": GATEWAY, "port": 22},
        {"host": "2001:db8::5", "port": 23},
    ]
    assert (group["is_proxy"], group["user_name"], group["hosts"]) == (True, "jump", ["rack1"])
    assert len(group["known_hosts"]) == 1
    assert world.ask("GET", f"/v1/node-groups/{group['id']}")[1]["node_group"] == group
    done = world.ctl("node-group", "create", "workers", "--via", "gateways", "--member", "web-1:24")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = world.ctl("node-group", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PROXY", "PROJECT", "USER", "MEMBERS", "VIA", "HOSTS"]
    assert lines[1].split()[1:5] == ["gateways", "yes", "-", "jump"]
    assert lines[2].split()[1:] == ["workers", "no", "-", "-", f"{WEB}:24", "gateways", "-"]
    done = world.ctl("node-group", "set", "workers", "--unset", "members", "--unset", "via")
    assert (done.exit_code, done.stderr) == (0, "")
    shown = world.ctl("node-group", "show", "workers", "--format", "json")
    assert json.loads(shown.stdout)["members"] == []
    done = world.ctl("node-group-template", "set", "mould", "--ssh-key", "gateways", "--name", "m")
    assert "key_file         gateways" in done.stdout
    assert world.ctl("node-group", "delete", "workers").stdout == "Node group workers is deleted.\n"
    done = world.ctl("node-group-template", "delete", "m")
    assert done.stdout == "Node group template m is deleted.\n"
    done = world.ctl("node-group", "show", "workers")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("consolectl: there is no node group 'workers'")
    assert world.ctl("node-group", "set", "gateways").exit_code == 2
