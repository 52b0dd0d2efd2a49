"""Node groups that are configured over REST while the daemon runs: real SSH servers, chains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from backends import backend, echo
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tools.lab.daemon import ADMIN_KEY, Daemon, static_daemon
from tools.lab.ports import free_ports
from tools.lab.secret_key import secret_key
from tools.lab.sshd import Sshd, SshKey, make_key

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
EDGE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
OTHER = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0003"
PASSPHRASE = "words of a node group"


@define
class World:
    """A daemon without any node of its own, and two servers.

    :ivar edge: lets connections through to ``inner`` only.
    :ivar inner: lets connections through to the console only.
    """

    daemon: Daemon
    edge: Sshd
    inner: Sshd
    locked: SshKey

    def group(self, **fields: object) -> str:
        """A new proxy group; its id."""
        wish = {"node_group": {"is_proxy": True, **fields}}
        answer = self.daemon.request("POST", "/v1/node-groups", body=wish)
        assert answer.status == 201, answer.body
        return str(answer.body["node_group"]["id"])

    def alter(self, group: str, **fields: object) -> None:
        """Changes a group."""
        wish = {"node_group": fields}
        answer = self.daemon.request("PATCH", f"/v1/node-groups/{group}", body=wish)
        assert answer.status == 200, answer.body

    def echoes(self, uuid: str = WEB) -> bool:
        """Whether a session on the instance's console has its bytes back."""
        with connect(
            self.daemon.ws_url(uuid, 0, ADMIN_KEY), subprotocols=[Subprotocol("binary")]
        ) as page:
            try:
                page.send(b"ping\n")
                found = page.recv(timeout=60)
            except ConnectionClosed:
                return False
            return found == b"ping\n"

    def logins(self) -> tuple[int, int]:
        """How often the two servers have let somebody in."""
        return self.edge.count("Accepted publickey"), self.inner.count("Accepted publickey")


def instance(uuid: str, name: str, host: str, *ports: int) -> dict[str, Any]:
    """One with a console at each port."""
    return {
        "uuid": uuid,
        "name": name,
        "project_id": "demo",
        "host": host,
        "addresses": ["127.0.0.1"],
        "serial": [f"127.0.0.1:{port}" for port in ports],
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two servers with one key each."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "daemon").mkdir()
    (folder / "keys").mkdir(mode=0o700)
    key = make_key(folder / "keys", "inner")
    locked = make_key(folder, "edge", passphrase=PASSPHRASE)
    box = secret_key(folder)
    with ExitStack() as stack:
        console = stack.enter_context(backend(echo))
        port = free_ports(1)[0]
        inner = Sshd(
            folder / "inner",
            [key.public],
            {"PermitOpen": f"127.0.0.1:{console.port}"},
            port=port,
        )
        edge = Sshd(folder / "one", [locked.public], {"PermitOpen": f"127.0.0.1:{port}"})
        stack.enter_context(inner)
        stack.enter_context(edge)
        config = {
            "ssh_proxy": {
                "keys_dir": folder / "keys",
                "secret_key_file": box,
                "allowed_networks": "127.0.0.0/8",
                "method": "direct",
                "linger": 0,
            },
        }
        instances = [
            instance(WEB, "web-1", "rack1", console.port),
            instance(EDGE, "edge", "rack2"),
            instance(OTHER, "other", "rack3", stack.enter_context(backend(echo)).port),
        ]
        daemon = stack.enter_context(static_daemon(folder / "daemon", instances, config))
        yield World(daemon, edge, inner, locked)


def test_groups_lead_as_soon_as_they_are_made(world: World) -> None:
    """A host that names a group is reached over it, then over a chain, then directly again; an
    instance can be the proxy; the key is one from the folder, or one that was given once."""
    assert world.echoes()
    assert world.logins() == (0, 0)
    user = world.inner.user
    inner = world.group(
        name="inner",
        user_name=user,
        key_file="inner",
        known_hosts=world.inner.known_lines.splitlines(),
        members=[{"host": "127.0.0.1", "port": world.inner.port}],
        hosts=["rack1"],
    )
    assert world.echoes()
    assert world.logins() == (0, 1)
    edge = world.group(
        name="edge",
        user_name=user,
        private_key=world.locked.text.decode(),
        passphrase=PASSPHRASE,
        known_hosts=world.edge.known_lines.splitlines(),
        members=[{"instance_id": EDGE, "port": world.edge.port}],
    )
    world.alter(inner, proxy_group_id=edge)
    assert world.echoes()
    # The first server's PermitOpen has the second one's port only, and that one's the console.
    assert world.logins() == (1, 2)
    assert world.echoes(OTHER)
    assert world.logins() == (1, 2)
    world.alter(inner, known_hosts=world.edge.known_lines.splitlines())
    assert not world.echoes()
    world.alter(inner, hosts=[])
    assert world.echoes()
    log = world.daemon.log.read_text()
    assert PASSPHRASE not in log
    assert world.locked.text.decode().splitlines()[1] not in log


def test_a_group_without_a_node_is_no_way(world: World) -> None:
    """Nothing is dialled directly where a group leads: the page is told, the log says why."""
    group = world.group(name="empty", user_name="jump", hosts=["rack3"])
    assert not world.echoes(OTHER)
    event = world.daemon.wait_for_event("no_proxy_route", instance_uuid=OTHER)
    assert event["reason"] == "no node of group empty can be used: it has no members"
    assert world.daemon.request("DELETE", f"/v1/node-groups/{group}").status == 204
    assert world.echoes(OTHER)


def test_another_daemon_of_the_cell(world: World, tmp_path: Path) -> None:
    """What one daemon is told, the others find by themselves, and dial so."""
    database = f"sqlite:///{world.daemon.folder}/state/consoled.sqlite"
    inventory = json.loads((world.daemon.folder / "inventory.yaml").read_text())["instances"]
    config = {
        "database": {"connection": database},
        "ssh_proxy": {"allowed_networks": "127.0.0.0/8"},
    }
    with static_daemon(tmp_path, inventory, config) as second:
        group = world.group(name="empty", user_name="jump", hosts=["rack3"])
        count = len(world.daemon.request("GET", "/v1/node-groups").body["node_groups"])
        second.wait_for_event("node_groups_read", message=f"read {count} node groups")
        with connect(second.ws_url(OTHER, 0, ADMIN_KEY)) as page, pytest.raises(ConnectionClosed):
            page.recv(timeout=60)
        assert second.wait_for_event("no_proxy_route")["instance_uuid"] == OTHER
        world.daemon.request("DELETE", f"/v1/node-groups/{group}")
