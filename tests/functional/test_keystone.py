"""A real Keystone in front: its tokens, services' words, and OpenStack's own clients."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define
from backends import Backend, echo
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import Answer, Daemon, inventory, static_daemon
from tools.lab.keystone import Keystone, User
from tools.lab.memcached import Memcached
from tools.lab.openstack_clients import Clients

WEB, FOREIGN = (f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{n}" for n in (1, 2))
AGO = 5
"""Seconds since the end of the token that has expired."""
PATIENCE = 60.0

REMOTE = {"remote_console": {"protocol": "serial", "type": "serial"}}
V2_6 = {"OpenStack-API-Version": "compute 2.6"}


@define
class World:
    """A Keystone with people in two projects, and a daemon that asks it."""

    keystone: Keystone
    config: Mapping[str, Mapping[str, object]]
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
                **keystone.login(validator),
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
            config,
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


def test_services(world: World) -> None:
    """A service resolves tokens of consoles; in the name of users it does what they may, and
    whoever has no service's role vouches for nobody (T9)."""
    url = world.url(world.member)
    path = f"/v2.1/os-console-auth-tokens/{url.partition('token=')[2]}"
    status = {
        user.name: world.daemon.request(
            "GET",
            path,
            key=world.keystone.token(user),
            headers={"OpenStack-API-Version": "compute 2.31"},
        ).status
        for user in (world.service, world.member, world.admin)
    }
    assert status == {"nova": 200, "mia": 403, "ada": 200}
    token = world.keystone.token(world.reader)
    words = {
        user.name: world.ask(token, headers={"X-Service-Token": world.keystone.token(user)}).status
        for user in (world.service, world.admin)
    }
    assert words == {"nova": 403, "ada": 401}


def test_scopes(world: World) -> None:
    """An administrator of Keystone's, or one in no project, is told which token it takes."""
    for scope, words in (
        ({"system_scope": "all"}, "of the whole system"),
        ({"unscoped": True}, "of no project"),
    ):
        answer = world.ask(world.keystone.admin_token(**scope))
        assert answer.status == 403
        assert f"This token is {words}" in answer.body["forbidden"]["message"]


def test_a_token_that_is_taken_back(world: World) -> None:
    """A revoked token, and one that is none, are refused."""
    token = world.keystone.token(world.member)
    assert world.ask(token).status == 200
    world.keystone.revoke(token)
    assert world.ask(token).status == 401
    assert world.ask("gAAAAABnone").status == 401
    log = world.daemon.log.read_text()
    assert token not in log


@pytest.fixture(scope="module")
def expired(world: World) -> str:
    """A token of the member's that is not good any more."""
    token = world.keystone.token(world.member, life=-AGO)
    assert world.ask(token).status == 401
    return token


def test_expired(world: World, expired: str) -> None:
    """An expired token opens nothing; with a service's word it does, with anybody else's not."""
    words = {
        user.name: world.ask(
            expired, headers={"X-Service-Token": world.keystone.token(user)}
        ).status
        for user in (world.service, world.member, world.reader)
    }
    assert words == {"nova": 200, "mia": 401, "ron": 401}
    assert world.ask(expired, headers={"X-Service-Token": "gAAAAABnone"}).status == 401


def test_expired_on_the_way(world: World, expired: str, tmp_path: Path) -> None:
    """Another cell judges the user's token itself; a service's word for it goes there, too."""
    front = {
        **world.config,
        "service_user": {
            "auth_section": "keystone_authtoken",
            "send_service_user_token": True,
        },
        "cells": {"names": "lab", "check_interval": 1},
        "cell:lab": {"api_url": world.daemon.api_url},
    }
    path = f"/v1/servers/{WEB}/consoles/0/tokens"
    with Daemon(tmp_path, {**front, **static(tmp_path)}, cell="front", keys=None) as daemon:
        for user, status in ((world.member, 201), (world.reader, 403), (world.stranger, 404)):
            answer = daemon.request("POST", path, key=world.keystone.token(user))
            assert answer.status == status
        assert daemon.request("POST", path, key=expired).status == 401
        words = {"X-Service-Token": world.keystone.token(world.service)}
        answer = daemon.request("POST", path, key=expired, headers=words)
        assert answer.status == 201, answer
        assert answer.body["token"]["url"].startswith(world.daemon.base_url)
        told = answer.headers["X-Openstack-Request-Id"]
        heard = world.daemon.wait_for_event("request_answered", global_request_id=told)
        assert heard["user_id"] == world.member.id


def static(folder: Path) -> dict[str, dict[str, object]]:
    """A cell without instances."""
    (folder / "inventory.yaml").write_text(inventory())
    return {
        "DEFAULT": {"driver": "static"},
        "static": {"inventory": folder / "inventory.yaml"},
    }


def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason by which a session ends."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_a_right_that_is_lost(world: World) -> None:
    """T5: role removed, user disabled, project gone: the session ends with 4403, and nobody
    else's does."""
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
        brief = world.keystone.project("brief")
        ann = world.keystone.user("ann", "brief", brief, ["admin"])
        with connect(world.url(ann, FOREIGN), subprotocols=binary) as client:
            world.daemon.wait_for_event("session_opened", user_id=ann.id)
            world.keystone.drop_project(brief)
            assert closed(client)[0] == 4403
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


def test_what_is_remembered(world: World, tmp_path: Path) -> None:
    """Who was known is let in while Keystone is away: by the daemon that asked, and by all that
    have one memcached, in which what Keystone said is encrypted."""
    usual = {
        **world.config["keystone_authtoken"],
        "token_cache_time": 300,
        "http_request_max_retries": 0,
    }
    with ExitStack() as stack:
        memcached = stack.enter_context(Memcached(tmp_path))
        shared = {
            **usual,
            "memcached_servers": memcached.server,
            "memcache_security_strategy": "ENCRYPT",
            "memcache_secret_key": "of the cell",
        }
        daemons = []
        for name, group in (("alone", usual), ("one", shared), ("two", shared)):
            folder = tmp_path / name
            folder.mkdir()
            config = {**world.config, "keystone_authtoken": group}
            daemons.append(stack.enter_context(static_daemon(folder, [], config)))
        alone, one, _ = daemons
        known, new = (world.keystone.token(world.member) for _ in range(2))

        def status(daemon: Daemon, token: str) -> int:
            return daemon.request("GET", "/v1/servers", key=token).status

        assert (status(alone, known), status(one, known)) == (200, 200)
        world.keystone.stop()
        try:
            assert [status(daemon, known) for daemon in daemons] == [200, 200, 200]
            assert [status(daemon, new) for daemon in daemons] == [503, 503, 503]
        finally:
            world.keystone.start()
        assert [status(daemon, new) for daemon in daemons] == [200, 200, 200]


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
