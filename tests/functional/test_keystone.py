"""A real Keystone in front: its tokens, services' words, and OpenStack's own clients."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define
from backends import Backend, echo
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import Answer, Daemon, static_daemon
from tools.lab.keystone import Keystone, User
from tools.lab.openstack_clients import Clients

WEB, FOREIGN = (f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{n}" for n in (1, 2))
LIFE = 5
"""Seconds that the one token lives that is to expire."""
PATIENCE = 60.0

REMOTE = {"remote_console": {"protocol": "serial", "type": "serial"}}
V2_6 = {"OpenStack-API-Version": "compute 2.6"}


@define
class World:
    """A Keystone with people in two projects, and a daemon that asks it."""

    keystone: Keystone
    daemon: Daemon
    member: User
    reader: User
    admin: User
    stranger: User
    service: User

    def ask(
        self, token: str | None, uuid: str = WEB, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to who wants a console URL with that token."""
        path = f"/v2.1/servers/{uuid}/remote-consoles"
        sent = V2_6 | dict(headers or {})
        return self.daemon.request("POST", path, key=token, body=REMOTE, headers=sent)

    def url(self, user: User, uuid: str = WEB) -> str:
        """A console URL of the user's."""
        answer = self.ask(self.keystone.token(user), uuid)
        assert answer.status == 200, answer.body
        return str(answer.body["remote_console"]["url"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests; consoled remembers nothing of Keystone's answers."""
    with ExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp"))
        keystone = stack.enter_context(Keystone(Path(short) / "keystone"))
        demo, other, services = (keystone.project(n) for n in ("demo", "other", "service"))
        validator = keystone.user("consoled", "service", services, ["service", "admin"])
        backends = [Backend(echo), Backend(echo)]
        for backend in backends:
            stack.callback(backend.close)
        instances = [
            {
                "uuid": uuid,
                "name": name,
                "project_id": project,
                "host": "rack1",
                "serial": [f"127.0.0.1:{backend.port}"],
            }
            for uuid, name, project, backend in (
                (WEB, "web-1", demo, backends[0]),
                (FOREIGN, "theirs", other, backends[1]),
            )
        ]
        config = {
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": {
                "auth_type": "password",
                "auth_url": keystone.url,
                "username": validator.name,
                "password": validator.password,
                "project_name": validator.project,
                "user_domain_id": "default",
                "project_domain_id": "default",
                "service_token_roles": "service",
                "token_cache_time": -1,
                "http_request_max_retries": 1,
            },
            "proxy": {"recheck_interval": 1},
        }
        folder = tmp_path_factory.mktemp("consoled")
        daemon = stack.enter_context(static_daemon(folder, instances, config))
        keystone.endpoint("compute", f"{daemon.api_url}/v2.1")
        yield World(
            keystone,
            daemon,
            member=keystone.user("mia", "demo", demo, ["member"]),
            reader=keystone.user("ron", "demo", demo, ["reader"]),
            admin=keystone.user("ada", "demo", demo, ["admin"]),
            stranger=keystone.user("zoe", "other", other, ["member"]),
            service=keystone.user("nova", "service", services, ["service"]),
        )


def test_who_may(world: World) -> None:
    """Roles and projects are Keystone's; what a client claims of itself is not looked at."""
    status = {
        user.name: world.ask(world.keystone.token(user)).status
        for user in (world.member, world.reader, world.admin, world.stranger)
    }
    assert status == {"mia": 200, "ron": 403, "ada": 200, "zoe": 404}
    assert world.ask(world.keystone.token(world.admin), FOREIGN).status == 200
    forged = {
        "X-Identity-Status": "Confirmed",
        "X-User-Id": world.admin.id,
        "X-Project-Id": world.member.project_id,
        "X-Roles": "admin",
        "X-Service-Identity-Status": "Confirmed",
        "X-Service-Roles": "service",
    }
    assert world.ask(world.keystone.token(world.stranger), headers=forged).status == 404
    refused = world.ask(None, headers=forged)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == f'Keystone uri="{world.keystone.url}"'


def test_a_token_that_is_taken_back(world: World) -> None:
    """A revoked token, and one that is none, are refused."""
    token = world.keystone.token(world.member)
    assert world.ask(token).status == 200
    world.keystone.revoke(token)
    assert world.ask(token).status == 401
    assert world.ask("gAAAAABnone").status == 401
    log = world.daemon.log.read_text()
    assert token not in log


def test_expired(world: World) -> None:
    """An expired token opens nothing; with a service's word it does, with anybody else's not."""
    with world.keystone.short_lived(LIFE):
        token = world.keystone.token(world.member)
    deadline = time.monotonic() + PATIENCE
    while (answer := world.ask(token)).status == 200 and time.monotonic() < deadline:
        pass
    assert answer.status == 401
    words = {
        user.name: world.ask(token, headers={"X-Service-Token": world.keystone.token(user)}).status
        for user in (world.service, world.member, world.reader)
    }
    assert words == {"nova": 200, "mia": 401, "ron": 401}
    assert world.ask(token, headers={"X-Service-Token": "gAAAAABnone"}).status == 401


def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason by which a session ends."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_a_right_that_is_lost(world: World) -> None:
    """T5: role removed, user disabled: the session ends with 4403, and nobody else's does."""
    binary = [Subprotocol("binary")]
    hal, kim = (
        world.keystone.user(name, "other", world.stranger.project_id, ["member"])
        for name in ("hal", "kim")
    )
    with connect(world.url(world.member), subprotocols=binary) as stays:
        with connect(world.url(hal, FOREIGN), subprotocols=binary) as client:
            world.daemon.wait_for_event("session_opened", user_id=hal.id)
            world.keystone.drop_role(hal, "member")
            assert closed(client) == (4403, "You are not allowed to use this console any more.")
        with connect(world.url(kim, FOREIGN), subprotocols=binary) as client:
            world.daemon.wait_for_event("session_opened", user_id=kim.id)
            world.keystone.enable(kim, enabled=False)
            assert closed(client)[0] == 4403
        world.daemon.wait_for_event("right_lost", user_id=kim.id)
        stays.send(b"still here")
        assert stays.recv(PATIENCE)


def test_keystone_is_away(world: World) -> None:
    """Nobody is let in, and everybody is told to come back; a session goes on."""
    token = world.keystone.token(world.member)
    with connect(world.url(world.member), subprotocols=[Subprotocol("binary")]) as client:
        world.keystone.stop()
        try:
            answer = world.ask(token)
            assert (answer.status, "Retry-After" in answer.headers) == (503, True)
            client.send(b"still here")
            seen = b""
            while b"still here" not in seen:
                seen += bytes(client.recv(PATIENCE))
        finally:
            world.keystone.start()
    assert world.ask(world.keystone.token(world.member)).status == 200


def test_openstack_console_url_show(world: World) -> None:
    """The command line client finds the server by its name, and its URL opens the console."""
    clients = Clients(world.keystone)
    done = clients.openstack(
        world.member, *["console", "url", "show", "--serial", "-f", "json", "web-1"]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["protocol"], found["type"]) == ("serial", "serial")
    assert found["url"].startswith(f"ws://127.0.0.1:{world.daemon.port}/?token=")
    with connect(found["url"], subprotocols=[Subprotocol("binary")]) as client:
        client.send(b"uname\r")
        seen = b""
        while b"uname\r" not in seen:
            seen += bytes(client.recv(PATIENCE))


NOVACLIENT = """
import os, sys
from keystoneauth1 import loading, session
from novaclient import client
from novaclient.v2 import servers
auth = loading.get_plugin_loader("password").load_from_options(
    auth_url=os.environ["OS_AUTH_URL"], username=os.environ["OS_USERNAME"],
    password=os.environ["OS_PASSWORD"], project_name=os.environ["OS_PROJECT_NAME"],
    user_domain_id="default", project_domain_id="default")
for version in sys.argv[1:]:
    nova = client.Client(version, session=session.Session(auth), region_name="RegionOne")
    [server] = nova.servers.list(search_opts={"name": "web-1"})
    answer = nova.servers.get_serial_console(server, "serial")
    print(version, (answer.get("console") or answer["remote_console"])["url"])
"""

SDK = """
import openstack
cloud = openstack.connect(load_yaml_config=False, load_envvars=True)
server = cloud.compute.find_server("web-1", ignore_missing=False)
console = cloud.compute.create_server_remote_console(server, protocol="serial", type="serial")
print(console.url)
print(*(s.name for s in cloud.compute.servers(details=True)))
"""


def test_novaclient_and_sdk(world: World) -> None:
    """python-novaclient, before and after 2.6, and openstacksdk get URLs."""
    clients = Clients(world.keystone)
    begin = f"ws://127.0.0.1:{world.daemon.port}/?token="
    done = clients.python(world.member, NOVACLIENT, "2.1", "2.60")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["2.1", "2.60"]
    assert all(line.split()[1].startswith(begin) for line in done.stdout.splitlines())
    done = clients.python(world.member, SDK)
    assert done.returncode == 0, done.stderr
    url, names = done.stdout.splitlines()
    assert url.startswith(begin)
    assert names == "web-1"
