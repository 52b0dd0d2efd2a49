"""Three cells behind one API: what is elsewhere is asked there, and opens there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from backends import Backend, echo
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.certificates import make_pair
from tools.lab.daemon import (
    ADMIN_KEY,
    KEYS,
    MEMBER_KEY,
    READER_KEY,
    ROOT,
    STRANGER_KEY,
    Answer,
    Daemon,
    inventory,
)

ONE, TWO, THREE, THEIRS, UNKNOWN = (f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{n}" for n in range(1, 6))
PATIENCE = 30.0
LOCAL_KEY = "lab-local-key-0123456789"
"""Known to the first cell only."""


@define
class World:
    """Three cells of one instance each; the first is asked, and the second knows the third."""

    one: Daemon
    two: Daemon
    three: Daemon

    def ask(self, method: str, path: str, key: str = MEMBER_KEY, **more: Any) -> Answer:
        """The first cell's answer."""
        return self.one.request(method, path, key=key, **more)

    def url(self, uuid: str) -> str:
        """A console URL of the member's, from the first cell."""
        answer = self.ask("POST", f"/v1/servers/{uuid}/consoles/0/tokens")
        assert answer.status == 201, answer
        return str(answer.body["token"]["url"])

    def cell(self, name: str) -> dict[str, Any]:
        """What the first cell shows of one."""
        cells = self.ask("GET", "/v1/cells", ADMIN_KEY).body["cells"]
        return next(cell for cell in cells if cell["name"] == name)


def cell(
    folder: Path, name: str, instances: list[dict[str, object]], others: list[Daemon]
) -> Daemon:
    """A cell that asks the others."""
    folder.mkdir()
    (folder / "inventory.yaml").write_text(inventory(*instances))
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {"driver": "static"},
        "static": {"inventory": folder / "inventory.yaml"},
        "cells": {
            # The own name may stand among them.
            "names": ", ".join([name, *(other.cell for other in others)]),
            "check_interval": 1,
        },
        f"cell:{name}": {"api_url": "http://127.0.0.1:1"},
        "http_proxy": {"allowed_ports": "8080:8081"},
    }
    for other in others:
        config[f"cell:{other.cell}"] = {"api_url": other.api_url}
    keys = KEYS + (
        ""
        if others == [] or len(others) == 1
        else f"- {{key: {LOCAL_KEY}, user_id: lou, project_id: demo, roles: [member]}}\n"
    )
    return Daemon(folder, config, cell=name, keys=keys)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests."""
    folder = tmp_path_factory.mktemp("cells")
    with ExitStack() as stack:

        def instance(uuid: str, name: str, project: str = "demo") -> dict[str, object]:
            backend = Backend(echo)
            stack.callback(backend.close)
            place = f"127.0.0.1:{backend.port}"
            return {
                "uuid": uuid,
                "name": name,
                "project_id": project,
                "host": "rack1",
                "serial": [place],
                "addresses": ["127.0.0.9"],
            }

        three = stack.enter_context(cell(folder / "3", "cell3", [instance(THREE, "c-three")], []))
        second = [instance(TWO, "b-two"), instance(THEIRS, "theirs", "other")]
        two = stack.enter_context(cell(folder / "2", "cell2", second, [three]))
        one = stack.enter_context(
            cell(folder / "1", "cell1", [instance(ONE, "a-one")], [two, three])
        )
        for name in ("cell2", "cell3"):
            one.wait_for_event("cell_up", cell=name)
        yield World(one, two, three)


def echoes(client: ClientConnection) -> None:
    """Waits until the console answers."""
    client.send(b"x")
    assert client.recv(PATIENCE) == b"x"


def opened(url: str) -> Any:
    """A WebSocket at a page's URL."""
    address = url.replace("http://", "ws://")
    return connect(address, compression=None, subprotocols=[Subprotocol("binary")])


def test_a_console_of_another_cell(world: World) -> None:
    """The URL is one of the other cell's proxy, and opens there; a session there ends from here."""
    url = world.url(TWO)
    assert url.startswith(world.two.base_url)
    with opened(url) as client:
        echoes(client)
        [session] = [
            s for s in world.ask("GET", "/v1/sessions").body["sessions"] if s["server_id"] == TWO
        ]
        consoles = world.ask("GET", f"/v1/servers/{TWO}/consoles").body["consoles"]
        assert [console["in_use"] for console in consoles] == [True]
        path = f"/v1/sessions/{session['id']}"
        assert world.ask("DELETE", path, STRANGER_KEY).status == 404
        assert world.ask("DELETE", path).status == 202
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
            4410,
            "You were disconnected by max.",
        )
    # Both logs have the request, the other's under the id that the client was told.
    answer = world.ask("POST", f"/v3/servers/{TWO}/get-serial-console")
    assert answer.body["serial_console"]["url"].startswith(world.two.base_url)
    told = answer.headers["X-Openstack-Request-Id"]
    world.one.wait_for_event("request_answered", request_id=told, cell="cell2", status=202)
    heard = world.two.wait_for_event("request_answered", global_request_id=told)
    assert (heard["user_id"], heard["status"]) == ("max", 202)


def test_the_compute_api(world: World) -> None:
    """The compute routes are handed on with their version, and give the other proxy's address."""
    body = {"remote_console": {"protocol": "serial", "type": "serial"}}
    version = {"OpenStack-API-Version": "compute 2.6"}
    path = f"/v2.1/servers/{THREE}/remote-consoles"
    answer = world.ask("POST", path, body=body, headers=version)
    assert answer.status == 200, answer
    said = {name.lower(): value for name, value in answer.headers.items()}
    assert said["openstack-api-version"] == "compute 2.6"
    url = answer.body["remote_console"]["url"]
    assert url.startswith(f"ws://127.0.0.1:{world.three.port}/?token=")
    token = url.partition("token=")[2]
    version = {"OpenStack-API-Version": "compute 2.31"}
    path = f"/v2.1/os-console-auth-tokens/{token}"
    found = world.ask("GET", path, ADMIN_KEY, headers=version)
    assert found.body["console"]["instance_uuid"] == THREE
    for daemon in (world.one, world.two, world.three):
        assert token not in daemon.log.read_text()


def test_lists(world: World) -> None:
    """One list of all cells, in order, also by pages."""
    servers = world.ask("GET", "/v1/servers").body
    assert [server["id"] for server in servers["servers"]] == [ONE, TWO, THREE]
    assert servers["missing_cells"] == []
    found = world.ask("GET", f"/v2.1/servers?limit=1&marker={ONE}").body
    assert [server["name"] for server in found["servers"]] == ["b-two"]
    assert set(found) == {"servers"}
    found = world.ask("GET", "/v2.1/servers/detail?name=%5Ec-three%24").body
    assert [server["id"] for server in found["servers"]] == [THREE]
    assert world.ask("GET", f"/v2.1/servers?marker={UNKNOWN}").status == 400


def test_who_may(world: World) -> None:
    """Each cell judges the caller for itself."""
    path = f"/v1/servers/{TWO}/consoles/0/tokens"
    status = {
        key: world.ask("POST", path, key).status
        for key in (MEMBER_KEY, READER_KEY, STRANGER_KEY, ADMIN_KEY)
    }
    assert list(status.values()) == [201, 403, 404, 201]
    assert world.ask("POST", path, "no-such-key-0123456789").status == 401
    assert world.ask("GET", f"/v1/servers/{THEIRS}").status == 404
    # Known here and not there: what is there is not there for this caller.
    assert world.ask("GET", f"/v1/servers/{ONE}", LOCAL_KEY).status == 200
    servers = world.ask("GET", "/v1/servers", LOCAL_KEY).body
    assert [server["id"] for server in servers["servers"]] == [ONE]
    assert servers["missing_cells"] == []


def test_no_loops(world: World) -> None:
    """What a cell asks for is never handed on, and whoever pretends to be one gets less."""
    hop = {"X-Consoled-Cell": "cell9"}
    answer = world.ask("GET", f"/v1/servers/{TWO}", headers=hop)
    assert answer.status == 404
    assert answer.headers["X-Consoled-Cell"] == "cell1"
    servers = world.ask("GET", "/v1/servers", headers=hop).body["servers"]
    assert [server["id"] for server in servers] == [ONE]
    assert world.ask("GET", f"/v1/servers/{UNKNOWN}").status == 404
    # The second cell knows the third, and was asked for what the third has.
    assert world.two.request("GET", f"/v1/servers/{THREE}").status == 200
    asked = world.ask("GET", f"/v1/servers/{UNKNOWN}").headers["X-Openstack-Request-Id"]
    seen = world.two.wait_for_event("request_answered", global_request_id=asked)
    passed_on = seen["request_id"]
    assert [e for e in world.three.events() if e.get("global_request_id") == passed_on] == []


def test_ways_to_instances(world: World) -> None:
    """HTTP and TCP do not go from cell to cell: the answer says where to ask."""
    for method, rest in (("GET", "http/8080/a%20b?c=d"), ("POST", "http/8080/"), ("GET", "tcp/22")):
        path = f"/v1/servers/{TWO}/{rest}"
        # Not urllib: it follows a redirect.
        connection = HTTPConnection("127.0.0.1", world.one.api_port, timeout=PATIENCE)
        connection.request(
            method, path, b"x" if method == "POST" else None, {"X-Auth-Token": ADMIN_KEY}
        )
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (307, world.two.api_url + path)
        assert world.two.api_url in json.loads(answer.read())["otherCell"]["message"]
        connection.close()
    assert world.ask("GET", f"/v1/servers/{TWO}/tcp/22", STRANGER_KEY).status == 404
    done = world.one.consolectl("forward", "b-two", "0:22")
    assert (done.returncode, world.two.api_url in done.stderr) == (1, True)


def test_the_cells(world: World) -> None:
    """Operators see all cells and how they are; consolectl shows them."""
    assert world.ask("GET", "/v1/cells").status == 403
    cells = world.ask("GET", "/v1/cells", ADMIN_KEY).body["cells"]
    assert [(c["name"], c["own"], c["state"]) for c in cells] == [
        ("cell1", True, "up"),
        ("cell2", False, "up"),
        ("cell3", False, "up"),
    ]
    assert cells[1]["version"] == cells[0]["version"]
    assert cells[1]["latency_ms"] >= 0
    done = world.one.consolectl("--format", "json", "cell", "list")
    assert done.returncode == 0, done.stderr
    assert [c["name"] for c in json.loads(done.stdout)] == ["cell1", "cell2", "cell3"]


def test_a_cell_is_away(world: World) -> None:
    """503 for what it has and for what nobody knows; all else goes on, and it comes back."""
    world.url(TWO)
    seen = len(world.one.events())
    os.kill(world.two.pid, signal.SIGKILL)
    world.two.stop()
    # Whoever asks before anybody has noticed is told the same.
    early = world.ask("POST", f"/v1/servers/{TWO}/consoles/0/tokens")
    assert (early.status, "Retry-After" in early.headers) == (503, True)
    world.one.wait_for_event("cell_away", since=seen, cell="cell2")
    for uuid in (TWO, UNKNOWN):
        answer = world.ask("GET", f"/v1/servers/{uuid}")
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert "cell2" in answer.body["serviceUnavailable"]["message"]
    assert world.ask("GET", f"/v1/servers/{ONE}").status == 200
    assert world.url(THREE).startswith(world.three.base_url)
    answer = world.ask("GET", "/v1/servers")
    assert [server["id"] for server in answer.body["servers"]] == [ONE, THREE]
    assert answer.body["missing_cells"] == ["cell2"]
    answer = world.ask("GET", "/v2.1/servers")
    assert answer.headers["X-Consoled-Missing-Cells"] == "cell2"
    shown = world.cell("cell2")
    assert (shown["state"], shown["version"]) == ("away", None)
    assert shown["reason"]
    listed = world.one.consolectl("server", "list")
    assert "cell2" in listed.stderr
    seen = len(world.one.events())
    world.two.start()
    world.one.wait_for_event("cell_up", since=seen, cell="cell2")
    with opened(world.url(TWO)) as client:
        echoes(client)
    assert world.ask("GET", f"/v1/servers/{UNKNOWN}").status == 404


def test_haproxy_takes_the_example(tmp_path: Path) -> None:
    """HAProxy finds nothing wrong with the file of the page about deployments."""
    pair = make_pair()
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/all.pem").write_bytes(pair.cert_pem + pair.key_pem)
    (tmp_path / "ca.pem").write_bytes(pair.cert_pem)
    text = (ROOT / "docs/examples/api-haproxy.cfg").read_text(encoding="utf-8")
    (tmp_path / "haproxy.cfg").write_text(text.replace("/etc/haproxy", str(tmp_path)))
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    done = subprocess.run(
        [program, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # What cells say to each other has to pass.
    assert "X-Consoled-Cell" not in text
