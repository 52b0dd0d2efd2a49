"""Daemons whose tokens are nova's, or those of nova's retired consoleauth service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backends import Backend, backend, echo
from databases import ALL, new_database
from oslo_cache import core
from oslo_config import cfg
from sqlalchemy import create_engine, inspect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tools.lab.daemon import MEMBER_KEY, Daemon, inventory, static_daemon
from tools.lab.memcached import Memcached
from tools.lab.nova import POWER_SHUTDOWN, Nova

# The first test may have to install nova.
pytestmark = pytest.mark.timeout(900)

PATIENCE = 60.0
NOVA_URL = "ws://127.0.0.1:6083/"


@pytest.fixture
def console() -> Iterator[Backend]:
    """A console that echoes."""
    with backend(echo) as running:
        yield running


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[Memcached]:
    """A memcached of its own, empty."""
    with Memcached(tmp_path) as running:
        yield running


@pytest.fixture(scope="module", params=ALL)
def nova(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nova:
    """A nova cell with nova's own schema, on each database."""
    folder = tmp_path_factory.mktemp("nova")
    if request.param == "sqlite":
        return Nova(folder)
    return Nova(folder, new_database(request.session, request.param, folder))


def described(instance: str, *ports: int) -> dict[str, object]:
    """A running instance of the inventory with a console at each port."""
    serial = [f"127.0.0.1:{port}" for port in ports]
    return {
        "uuid": instance,
        "name": "web",
        "project_id": "demo",
        "host": "rack1",
        "serial": serial,
    }


@contextmanager
def viewer(daemon: Daemon, token: str) -> Iterator[ClientConnection]:
    """A WebSocket with that token."""
    url = f"ws://127.0.0.1:{daemon.port}/?token={token}"
    with connect(url, compression=None) as client:
        yield client


def echoes(client: ClientConnection, data: bytes = b"x") -> bool:
    """Whether the console answers."""
    client.send(data)
    return client.recv(PATIENCE) == data


def opens(daemon: Daemon, token: str) -> bool:
    """Whether the token leads to the console; it is free again afterwards."""
    since = len(daemon.events())
    with viewer(daemon, token) as client:
        answered = echoes(client)
    daemon.wait_for_event("line_closed", since=since)
    return answered


def refusal(daemon: Daemon, token: str) -> int:
    """The close code with which the token is refused."""
    with viewer(daemon, token) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return int(caught.value.rcvd.code)


def issued(daemon: Daemon, instance: str) -> str:
    """A token that the REST API gives out."""
    return daemon.console_url(instance, key=MEMBER_KEY).partition("token=")[2]


def place(instance: str, port: int) -> dict[str, object]:
    """The fields with which nova's compute service makes a token."""
    return {
        "console_type": "serial",
        "host": "127.0.0.1",
        "port": port,
        "internal_access_path": None,
        "instance_uuid": instance,
        "access_url_base": NOVA_URL,
    }


def standing_in(nova: Nova) -> dict[str, dict[str, object]]:
    """The configuration of a daemon that stands in for nova-serialproxy."""
    return {
        "DEFAULT": {"console_tokens_backend": "nova"},
        "nova": {"connection": nova.connection},
    }


def test_in_the_place_of_nova_serialproxy(nova: Nova, console: Backend, tmp_path: Path) -> None:
    """A token of nova's class opens here, one at a time; nova's class takes one of ours."""
    instance = str(uuid.uuid4())
    nova.add_instance(instance)
    (made,) = nova.call({"do": "authorize", "fields": place(instance, console.port), "ttl": 600})
    with static_daemon(tmp_path, [described(instance, console.port)], standing_in(nova)) as daemon:
        with viewer(daemon, made["token"]) as first:
            assert echoes(first)
            assert refusal(daemon, made["token"]) == 4409
            assert echoes(first)
            answer = daemon.request("GET", f"/v1/servers/{instance}/consoles", key=MEMBER_KEY)
            assert [one["in_use"] for one in answer.body["consoles"]] == [True]
        daemon.wait_for_event("line_closed")
        ours = issued(daemon, instance)
        assert opens(daemon, ours)
        assert opens(daemon, made["token"]), "it is good until it expires"
        assert refusal(daemon, str(uuid.uuid4())) == 4401
    (validated,) = nova.call({"do": "validate", "token": ours})
    assert validated["token"] == ours
    assert {name: validated[name] for name in ("host", "port", "instance_uuid")} == {
        "host": "127.0.0.1",
        "port": console.port,
        "instance_uuid": instance,
    }
    assert validated["access_url"] == f"{daemon.base_url}?token={ours}"


def test_on_a_controller(nova: Nova, console: Backend, tmp_path: Path) -> None:
    """No driver sees the instance: nova's word opens it, and closes it when it is shut down."""
    instance = str(uuid.uuid4())
    nova.add_instance(instance)
    (made,) = nova.call({"do": "authorize", "fields": place(instance, console.port), "ttl": 600})
    with static_daemon(tmp_path, [], standing_in(nova)) as daemon:
        assert opens(daemon, made["token"])
        nova.set_power_state(instance, POWER_SHUTDOWN)
        assert refusal(daemon, made["token"]) == 4413


def start_of(folder: Path, config: dict[str, dict[str, object]], *words: str) -> str:
    """The one line of a start that is refused; it has written nothing into its folder."""
    folder.mkdir()
    (folder / "inventory.yaml").write_text(inventory())
    sections = {
        "DEFAULT": {"driver": "static"} | config.pop("DEFAULT", {}),
        "static": {"inventory": folder / "inventory.yaml"},
    }
    daemon = Daemon(folder, sections | config, keys=None)
    daemon.write_config()
    done = subprocess.run(
        [*daemon.argv, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=PATIENCE * 4,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert not daemon.keys_file.exists()
    return line


def tables(connection: str) -> list[str]:
    """The tables of a database."""
    engine = create_engine(connection)
    try:
        return sorted(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_nova_s_database_is_not_the_cell_s(nova: Nova, tmp_path: Path) -> None:
    """[database] with nova's tables is refused by every command, and nothing is written."""
    before = tables(nova.connection)
    said = "[database] connection leads to a database of nova's"
    for folder, words in (("start", []), ("checked", ["--check-config"])):
        config: dict[str, dict[str, object]] = {"database": {"connection": nova.connection}}
        assert said in start_of(tmp_path / folder, config, *words)
    for word in ("upgrade", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "consoled.cli", "--config", "consoled.conf", "db", word],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path / "start",
            timeout=PATIENCE * 4,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"consolectl: {said}")
    assert tables(nova.connection) == before


@pytest.mark.parametrize("words", [[], ["--check-config"]])
def test_what_is_no_database_of_nova_s(tmp_path: Path, words: list[str]) -> None:
    """[nova] connection to something else is one line, at a start and in a check."""
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {"console_tokens_backend": "nova"},
        "nova": {"connection": f"sqlite:///{tmp_path}/absent.sqlite"},
    }
    line = start_of(tmp_path / "daemon", config, *words)
    assert line.startswith("consoled: [nova] connection: ")
    assert "does not exist" in line


def old_service(server: Memcached) -> Any:
    """A cache as the retired service had it: oslo.cache by its own options, nothing of ours."""
    conf = cfg.ConfigOpts()
    core.configure(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("enabled", True, "cache")
    conf.set_override("backend", "oslo_cache.memcache_pool", "cache")
    conf.set_override("memcache_servers", [server.server], "cache")
    conf.set_override("expiration_time", 600, "cache")
    region = core.create_region()
    core.configure_cache_region(conf, region)
    return region


def authorize(server: Memcached, instance: str, port: int) -> str:
    """A token that the retired service gave out."""
    token = str(uuid.uuid4())
    info = {
        "token": token,
        "instance_uuid": instance,
        "console_type": "serial",
        "host": "127.0.0.1",
        "port": port,
        "internal_access_path": None,
        "access_url": f"{NOVA_URL}?token={token}",
        "last_activity_at": time.time(),
    }
    region = old_service(server)
    region.set(token.encode(), json.dumps(info))
    region.set(instance.encode(), json.dumps([token]))
    return token


def test_memcached(memcached: Memcached, console: Backend, tmp_path: Path) -> None:
    """What the retired service wrote opens, what is issued too, and one line warns."""
    instance = str(uuid.uuid4())
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {"console_tokens_backend": "memcached"},
        "cache": {"memcache_servers": memcached.server},
    }
    old = authorize(memcached, instance, console.port)
    with static_daemon(tmp_path, [described(instance, console.port)], config) as daemon:
        assert opens(daemon, old)
        new = issued(daemon, instance)
        assert opens(daemon, new)
        listed = json.loads(old_service(memcached).get(instance.encode()))
        assert listed == [old, new]
        assert refusal(daemon, str(uuid.uuid4())) == 4401
        warnings = [event for event in daemon.events() if event["level"] == "warn"]
        assert [event["event"] for event in warnings] == ["deprecated"]
        assert "memcached is deprecated" in warnings[0]["message"]
        text = daemon.log.read_text()
    assert old not in text
    assert new not in text


def switch(daemon: Daemon, enabled: bool) -> None:
    """Changes [workarounds] enable_consoleauth by SIGHUP."""
    text = daemon.config_file.read_text()
    was, now = (f"enable_consoleauth = {value}\n" for value in (not enabled, enabled))
    assert was in text
    daemon.config_file.write_text(text.replace(was, now))
    since = len(daemon.events())
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for_event(
        "reloaded", since=since, message="[workarounds] enable_consoleauth reloaded"
    )


def test_beside_the_database(memcached: Memcached, console: Backend, tmp_path: Path) -> None:
    """Legacy tokens open while enable_consoleauth is on; switching it ends no session."""
    instance = str(uuid.uuid4())
    config: dict[str, dict[str, object]] = {
        "cache": {"memcache_servers": memcached.server},
        "workarounds": {"enable_consoleauth": True},
    }
    old = authorize(memcached, instance, console.port)
    with static_daemon(tmp_path, [described(instance, console.port)], config) as daemon:
        new = issued(daemon, instance)
        assert not old_service(memcached).get(new.encode()), "new ones go to the database only"
        assert opens(daemon, new)
        with viewer(daemon, old) as client:
            assert echoes(client)
            switch(daemon, False)
            assert echoes(client, b"after the switch")
            assert refusal(daemon, old) == 4401
            assert echoes(client, b"after the refusal")
        daemon.wait_for_event("session_ended")
        assert opens(daemon, new)
        switch(daemon, True)
        assert opens(daemon, old)
        memcached.stop()
        assert refusal(daemon, str(uuid.uuid4())) == 1013
        assert opens(daemon, new), "what the database has needs no memcached"
