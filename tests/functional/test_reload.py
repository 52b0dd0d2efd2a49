"""SIGHUP: what is good is swapped, what is bad stays as it was, and nobody is cut off."""

from __future__ import annotations

import json
import os
import select
import signal
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from backends import Backend, backend, echo
from raw_http import dial, exchange, request
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.certificates import Pair, make_pair
from tools.lab.daemon import Daemon, inventory, static_daemon

PATIENCE = 60.0
LAST = "the proxy's certificate"
"""What is read again last."""


def described(name: str, port: int) -> dict[str, object]:
    """An instance with a console at that port."""
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "name": name,
        "project_id": "demo",
        "host": "rack1",
        "serial": [f"127.0.0.1:{port}"],
    }


@frozen
class World:
    """A daemon with TLS beside plain on its proxy port."""

    daemon: Daemon
    folder: Path
    console: Backend
    pair: Pair

    def reload(self) -> list[str]:
        """What the log says about a SIGHUP, of each thing that is read again."""
        since = len(self.daemon.events())
        os.kill(self.daemon.pid, signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = [
                str(event["message"])
                for event in self.daemon.events()[since:]
                if event["event"] in ("reloaded", "reload_refused")
            ]
            if found and found[-1].startswith(LAST):
                return found
            assert not select.select([self.daemon.process.ended], [], [], 0.02)[0]
        raise AssertionError("SIGHUP was not worked off")

    def refused(self, what: str) -> str:
        """Why that was not swapped after a SIGHUP."""
        (message,) = [message for message in self.reload() if message.startswith(what)]
        assert "not reloaded, the old stays in force: " in message
        return message

    def reloaded(self, what: str) -> None:
        """Sends a SIGHUP after which that is swapped."""
        assert f"{what} reloaded" in self.reload()

    def names(self) -> list[str]:
        """The names of all instances."""
        answer = self.daemon.request("GET", "/v1/servers")
        return [server["name"] for server in answer.body["servers"]]

    def served_certificate(self) -> bytes | None:
        """The certificate that a new connection is shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with dial(self.daemon.port, context=context) as sock:
            assert isinstance(sock, ssl.SSLSocket)
            return sock.getpeercert(binary_form=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon with one instance, web-1."""
    pair = make_pair("first")
    cert, key = pair.write(tmp_path)
    with ExitStack() as stack:
        console = stack.enter_context(backend(echo))
        config = {"serial_console": {"cert": cert, "key": key}}
        instances = [described("web-1", console.port)]
        daemon = stack.enter_context(static_daemon(tmp_path, instances, config))
        yield World(daemon, tmp_path, console, pair)


@contextmanager
def open_console(world: World, context: ssl.SSLContext | None = None) -> Iterator[ClientConnection]:
    """A viewer of web-1 whose console is open."""
    uuid_1 = str(described("web-1", 1)["uuid"])
    token = world.daemon.console_url(uuid_1).partition("token=")[2]
    scheme = "wss" if context else "ws"
    with connect(
        f"{scheme}://127.0.0.1:{world.daemon.port}/?token={token}",
        ssl=context,
        compression=None,
        open_timeout=PATIENCE,
        subprotocols=[Subprotocol("consoled.v1")],
    ) as client:
        assert json.loads(client.recv(PATIENCE))["type"] == "hello"
        yield client


def echoes(client: ClientConnection, data: bytes) -> bool:
    """Whether the console still answers."""
    client.send(data)
    return client.recv(PATIENCE) == data


def test_inventory(world: World) -> None:
    """A bad inventory keeps the old one and names the line; a good one is taken."""
    path = world.folder / "inventory.yaml"
    with open_console(world) as viewer:
        path.write_text("instances:\n  - name: web-2\n    uuid: nonsense\n    host: rack1\n")
        message = world.refused("the static driver")
        assert f"{path}:3: uuid 'nonsense' is not a UUID" in message
        assert world.names() == ["web-1"]
        for text in ("instances: [", "", "- a", "\t", "instances: {}", "\x00"):
            path.write_text(text)
            assert str(path) in world.refused("the static driver")
        path.unlink()
        assert str(path) in world.refused("the static driver")
        assert world.names() == ["web-1"]
        assert echoes(viewer, b"after bad ones")
        more = [described("web-1", world.console.port), described("web-3", 1)]
        path.write_text(inventory(*more))
        world.reloaded("the static driver")
        assert world.names() == ["web-1", "web-3"]
        assert echoes(viewer, b"after a good one")


def test_instance_that_went(world: World) -> None:
    """A token does not open an instance that the new inventory has no more."""
    token = world.daemon.console_url(str(described("web-1", 1)["uuid"])).partition("token=")[2]
    (world.folder / "inventory.yaml").write_text(inventory(described("web-2", 1)))
    world.reloaded("the static driver")
    address = f"ws://127.0.0.1:{world.daemon.port}/?token={token}"
    with connect(address) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4401


def test_certificate(world: World) -> None:
    """A new certificate is shown to new connections; a bad one keeps the old; viewers stay."""
    trusting = ssl.create_default_context(cadata=world.pair.cert_pem.decode())
    what = LAST
    with open_console(world, trusting) as viewer:
        assert world.served_certificate() == world.pair.der
        second = make_pair("second")
        second.write(world.folder)
        world.reloaded(what)
        assert world.served_certificate() == second.der
        assert echoes(viewer, b"under the old certificate")
        for path in (world.folder / "server.crt", world.folder / "server.key"):
            kept = path.read_bytes()
            path.write_bytes(b"nonsense")
            assert str(path) in world.refused(what)
            path.write_bytes(kept)
        assert world.served_certificate() == second.der
        assert echoes(viewer, b"after bad files")


def test_configuration(world: World) -> None:
    """Origins, hosts and frames are swapped; a bad file keeps what was."""
    origin, what = "https://dash.test", "[console] origins and hosts"
    file = world.daemon.config_file
    before = file.read_text()

    def policy() -> str:
        answer = exchange(world.daemon.port, request("/serial.html", "other.test"))
        return str(answer.headers["Content-Security-Policy"]) if answer.status == 200 else ""

    assert policy() == ""
    file.write_text(
        f"{before}\n[console]\nallowed_hosts = other.test\nframe_ancestors = {origin}\n"
    )
    world.reloaded(what)
    assert policy().endswith(f"frame-ancestors {origin}")
    for bad in (
        "[console]\nallowed_hosts = http://x/\n",
        "[nonsense]\n",
        "[console]\nno_such = 1\n",
    ):
        file.write_text(f"{before}\n{bad}")
        assert str(file) in world.refused(what)
        assert policy().endswith(f"frame-ancestors {origin}")
    file.write_text(before)
    world.reloaded(what)
    assert policy() == ""


def test_keys(world: World) -> None:
    """A revoked key is refused at once; a bad keys file keeps the old keys."""
    file = world.daemon.keys_file
    kept = file.read_text()
    file.write_text("nonsense")
    assert str(file) in world.refused("the keys file")
    assert world.names() == ["web-1"]
    file.write_text(kept.replace("lab-admin-key", "new-admin-key"))
    world.reloaded("the keys file")
    assert world.daemon.request("GET", "/v1/servers").status == 401
    assert world.daemon.request("GET", "/v1/servers", key="new-admin-key-0123456789").status == 200


def test_twice_at_once(world: World) -> None:
    """Signals in a row do not harm."""
    for _ in range(20):
        os.kill(world.daemon.pid, signal.SIGHUP)
    world.reload()
    assert world.names() == ["web-1"]
    assert not [event for event in world.daemon.events() if "traceback" in event]
