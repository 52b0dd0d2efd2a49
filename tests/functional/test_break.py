"""BREAK and SysRq on a real guest, whose kernel says what it got: driver, REST, replicas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from databases import new_database
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.db import schema
from consoled.db.engine import make_engine
from consoled.errors import Conflict
from consoled.workers import InlineWorker
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon
from tools.lab.guest import Guest
from tools.lab.libvirtd import PrivateLibvirtd

ROOT = Path(__file__).parents[2]
PAGE = Subprotocol("consoled.v1")


@pytest.fixture
def driver(libvirtd: PrivateLibvirtd) -> Iterator[LibvirtDriver]:
    """The driver, its calls made at once."""
    worker = InlineWorker()
    made = LibvirtDriver(libvirtd.uri, "lab", "127.0.0.1", None, worker, Clock(), monitors=[worker])
    made.start()
    yield made
    outcome(made.stop())


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds; a failure is raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def send_break(driver: LibvirtDriver, guest: Guest, index: int = 0) -> None:
    """A BREAK by the driver."""
    assert driver.breaks is not None
    outcome(driver.breaks.send_break(guest.uuid, index))


@pytest.fixture
def listening(guest: Guest) -> Iterator[Guest]:
    """The guest, which takes every SysRq; it is left as quiet as it was."""
    with guest.serial(0) as line:
        line.run("echo 1 > /proc/sys/kernel/sysrq; echo 3 > /proc/sys/kernel/printk")
    yield guest
    with guest.serial(0) as line:
        line.run("echo 3 > /proc/sys/kernel/printk")


def level(guest: Guest) -> str:
    """The level of its kernel's messages, which the SysRq of a digit sets."""
    with guest.serial(0) as line:
        return line.run("cat /proc/sys/kernel/printk").split()[0]


def test_the_guest_gets_it(driver: LibvirtDriver, listening: Guest) -> None:
    """A key after a BREAK is a SysRq, on the port that is the kernel's console; alone it is not."""
    with listening.serial(0) as line:
        line.wait_for_shell()
        send_break(driver, listening)
        line.send(b"h")
        assert b"sysrq: HELP" in line.read_until(b"show-task-states")
        assert line.run("echo h $((40 + 2))") == "h 42"


def test_a_port_that_is_not_there(driver: LibvirtDriver, guest: Guest) -> None:
    """Whoever asks for it reads which port of which instance."""
    with pytest.raises(Conflict, match=f"Instance {guest.uuid} has no serial port 2"):
        send_break(driver, guest, 2)


class Cell(NamedTuple):
    """Two replicas over one hypervisor."""

    first: Daemon
    second: Daemon


@pytest.fixture(scope="module")
def cell(
    request: pytest.FixtureRequest,
    libvirtd: PrivateLibvirtd,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cell]:
    """A running cell."""
    folder = tmp_path_factory.mktemp("cell")
    url = new_database(request.session, "postgresql", folder)
    engine = make_engine(url, timeout=None)
    schema.upgrade(engine)
    engine.dispose()
    config = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"uri": libvirtd.uri},
        "database": {"connection": url},
    }
    for name in ("a", "b"):
        (folder / name).mkdir()
    with Daemon(folder / "a", config) as first, Daemon(folder / "b", config) as second:
        yield Cell(first, second)


def told(client: ClientConnection, of_type: str) -> dict[str, Any]:
    """The next control message of that type."""
    while True:
        message = client.recv(60)
        if isinstance(message, str) and json.loads(message)["type"] == of_type:
            found: dict[str, Any] = json.loads(message)
            return found


def test_over_rest(cell: Cell, listening: Guest) -> None:
    """Whichever replica is asked, the guest gets the SysRq; an administrator alone may."""
    path = f"/v1/servers/{listening.uuid}/consoles/0/break"
    for daemon, key in ((cell.first, "5"), (cell.second, "6")):
        answer = daemon.request("POST", path, body={"sysrq": key})
        assert (answer.status, answer.body["break"]["sysrq"]) == (200, key)
        assert level(listening) == key
        sent = daemon.wait_for_event("break_sent", sysrq=key)
        assert (sent["user_id"], sent["instance_uuid"], sent["index"]) == (
            "ada",
            listening.uuid,
            0,
        )
        assert sent["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert cell.first.request("POST", path, key=MEMBER_KEY).status == 403
    answer = cell.first.request("POST", f"/v1/servers/{listening.uuid}/consoles/7/break")
    assert answer.status == 404


def test_consolectl(cell: Cell, listening: Guest) -> None:
    """The command does the same."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    env |= {"CONSOLED_API": cell.first.api_url, "CONSOLED_KEY": ADMIN_KEY}
    words = ["console", "break", listening.name, "0", "--sysrq", "7"]
    done = subprocess.run(
        [sys.executable, "-m", "consoled.cli", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == [listening.uuid, "0", "7"]
    assert level(listening) == "7"


def test_a_session_through_another_replica(cell: Cell, listening: Guest) -> None:
    """Its line is with its owner, which sends the BREAK, also one that REST asks it for."""
    path = f"/v1/servers/{listening.uuid}/consoles/0/break"
    url = cell.first.ws_url(listening.uuid, 0, ADMIN_KEY)
    with connect(url, compression=None, subprotocols=[PAGE]) as owner:
        hello = told(owner, "hello")
        assert hello["breaks"] is True
        assert cell.first.request("POST", path, body={"sysrq": "1"}).status == 200
        assert told(owner, "notice")["text"] == "ada sent SysRq 1 to this console."
        # The replica that has not the line asks the one that has it.
        answer = cell.second.request("POST", path, body={"sysrq": "2"})
        assert answer.status == 200, answer.body
        assert told(owner, "notice")["text"] == "ada sent SysRq 2 to this console."
        elsewhere = url.replace(str(cell.first.port), str(cell.second.port))
        with connect(
            f"{elsewhere}&resume={hello['resume']}", compression=None, subprotocols=[PAGE]
        ) as relayed:
            assert told(relayed, "hello")["breaks"] is True
            relayed.send(json.dumps({"type": "break", "sysrq": "8"}))
            assert told(relayed, "notice")["text"] == "SysRq 8 was sent."
            relayed.send(json.dumps({"type": "break", "sysrq": "a"}))
            assert told(relayed, "notice")["text"].startswith("A SysRq key is")
    sent = cell.first.wait_for_event("break_sent", sysrq="8")
    assert sent["session_id"] == hello["session"]
    cell.first.wait_for_event("line_closed")
    assert level(listening) == "8"
