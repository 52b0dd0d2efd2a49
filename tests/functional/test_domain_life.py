"""Domains through their life: real libvirt tells, and instances, consoles and sessions follow."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import libvirt
import pytest
from chromium import ConsolePage, chromium, console_page
from fault_world import until
from test_monitoring import figures
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tools.lab.daemon import MEMBER_KEY, STRANGER_KEY, Daemon, Event
from tools.lab.errors import LabError
from tools.lab.guest import NOVA_XML, Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_ports

PATIENCE = 60.0
"""Seconds for what a guest has to do."""

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"

# The guests must outlive their daemon; the keeper ends everything with the command it keeps.
RESTARTABLE = """\
#!/bin/sh
# libvirtd, and after its end again as soon as somebody writes into the pipe.
while :; do
    {libvirtd} &
    echo $! > {folder}/pid
    wait $!
    read again < {folder}/again
done
"""

SERIAL = """
<serial type='tcp'>
  <source mode='bind' host='127.0.0.1' service='{port}'/>
  <protocol type='raw'/>
  <target type='pci-serial' port='{index}'/>
</serial>"""


class Hypervisor:
    """A private libvirtd that can be killed while its guests live on."""

    def __init__(self, folder: Path, libvirtd: PrivateLibvirtd) -> None:
        self.folder = folder
        self.libvirtd = libvirtd

    def kill(self) -> None:
        """Ends the daemon on the spot."""
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)

    def again(self) -> None:
        """Lets it start again."""
        (self.folder / "again").write_text("\n")


@pytest.fixture(scope="module")
def hypervisor() -> Iterator[Hypervisor]:
    """Such a libvirtd."""
    program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    with (
        tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as state,
        tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(name)
        os.mkfifo(folder / "again")
        script = folder / "libvirtd"
        script.write_text(RESTARTABLE.format(libvirtd=program, folder=folder))
        script.chmod(0o755)
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        with PrivateLibvirtd(Path(state), "restartable") as libvirtd:
            yield Hypervisor(folder, libvirtd)


@pytest.fixture(scope="module")
def daemon(hypervisor: Hypervisor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over it, which has found it."""
    config = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"uri": hypervisor.libvirtd.uri, "default_project": "demo"},
    }
    with Daemon(tmp_path_factory.mktemp("consoled"), config) as running:
        running.wait_for_event("hypervisor_connected")
        yield running


@pytest.fixture
def new_guest(hypervisor: Hypervisor, guest_image: Image) -> Iterator[Callable[..., Guest]]:
    """Makes guests, powered off and undefined, and removes them."""
    made: list[Guest] = []

    def make(name: str, **facts: Any) -> Guest:
        made.append(Guest(hypervisor.libvirtd, guest_image, name, **facts))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()


@pytest.fixture
def page() -> Iterator[ConsolePage]:
    """A fresh page in Chromium, whose browser console must stay clean."""
    with chromium() as browser, console_page(browser) as fresh:
        yield fresh
    assert fresh.complaints == []


@contextmanager
def domain(guest: Guest) -> Iterator[Any]:
    """libvirt's own handle of a guest, to play the operator."""
    with closing(libvirt.open(guest.libvirtd.uri)) as connection:
        yield connection.lookupByUUIDString(guest.uuid)


def row(daemon: Daemon, guest: Guest) -> dict[str, Any] | None:
    """The guest's row in the cell database."""
    with closing(sqlite3.connect(daemon.folder / "state/consoled.sqlite")) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM instances WHERE uuid = ?", (guest.uuid,)).fetchone()
        return None if found is None else dict(found)


def told(daemon: Daemon, event: str, guest: Guest, words: str = "") -> Event:
    """A line of the log about a guest that has those words, as soon as there is one."""
    seen = 0
    while True:
        events = daemon.events()
        for found in events[seen:]:
            whose = found["event"], found.get("instance_uuid")
            if whose == (event, guest.uuid) and words in found["message"]:
                return found
        seen = len(events)
        daemon.wait_for_event(event, since=seen, instance_uuid=guest.uuid)


@contextmanager
def session(daemon: Daemon, guest: Guest) -> Iterator[ClientConnection]:
    """A session on the guest's first serial port, with a shell that answers."""
    with connect(daemon.ws_url(guest.uuid, 0), compression=None) as client:
        answers(client)
        yield client


def answers(client: ClientConnection, when: str = "true") -> None:
    """Types until the shell answers: what it was sent before it ran is lost.

    :param when: what must be so in the guest.
    """
    for number in range(1000, 1000 + int(PATIENCE)):
        client.send(f"\r{when} && echo it-is-$(({number}))\r".encode())
        if said(client, f"it-is-{number}\r", within=2.0):
            return
    raise TimeoutError(f"no shell answers on the console that {when}")


def said(client: ClientConnection, words: str, *, within: float) -> bool:
    """Whether the guest prints that."""
    seen = ""
    try:
        while words not in seen:
            data = client.recv(within)
            assert isinstance(data, bytes)
            seen += data.decode("utf-8", "replace")
    except TimeoutError:
        return False
    return True


def close_of(client: ClientConnection) -> tuple[int, str]:
    """How the session ends."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_from_definition_to_undefinition(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """Its row comes, follows its state, and goes with its tokens; stop ends sessions with 4413."""
    guest = new_guest("life-1", project="demo")
    guest.define()
    told(daemon, "instance_found", guest)
    found = row(daemon, guest)
    assert found is not None
    assert (found["name"], found["state"], found["project_id"]) == ("life-1", "stopped", "demo")
    assert '"project_name": "demo"' in found["metadata"]
    guest.start()
    told(daemon, "instance_changed", guest, "-> running")
    url = daemon.ws_url(guest.uuid, 0)
    with session(daemon, guest) as client:
        guest.destroy()
        assert close_of(client) == (4413, "life-1 has stopped.")
    told(daemon, "instance_changed", guest, "running -> stopped")
    with connect(url, compression=None) as late:
        assert close_of(late)[0] == 4413
    guest.undefine()
    told(daemon, "instance_gone", guest)
    until(daemon, "its row is gone", lambda: row(daemon, guest) is None)
    with connect(url, compression=None) as late:
        assert close_of(late)[0] == 4401
    daemon.wait_for_event("port_released", instance_uuid=guest.uuid)


def test_the_page_waits_for_the_start(
    daemon: Daemon, new_guest: Callable[..., Guest], page: ConsolePage
) -> None:
    """A guest that is started again within the linger time has its page back by itself."""
    with new_guest("life-9") as guest:
        guest.wait_for_shells()
        page.open(daemon.console_url(guest.uuid, key=MEMBER_KEY))
        page.expect_state(re.compile("^Connected"))
        guest.destroy()
        page.expect_state(re.compile("^life-9 has stopped; waiting for its start"))
        page.screenshot("waiting-for-start")
        guest.start()
        page.expect_state(re.compile("^Connected"))
        page.expect_text("# ")
        page.type("clear; echo back $((40 + 2))\n")
        page.expect_text("back 42")


def test_a_session_lives_through_a_reboot(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """A reset by the operator and a reboot from inside leave the session, which sees the boot."""
    with new_guest("life-2") as guest, session(daemon, guest) as client:
        client.send(b"touch /before\r")
        answers(client, "test -e /before")
        with domain(guest) as handle:
            handle.reset()
        answers(client, "test ! -e /before")
        client.send(b"touch /before; reboot -f\r")
        answers(client, "test ! -e /before")
        listed = daemon.request("GET", "/v1/sessions").body["sessions"]
        assert [one["server_id"] for one in listed] == [guest.uuid]


def test_a_new_name(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """A domain that is renamed keeps its row, under the new name."""
    guest = new_guest("life-3")
    guest.define()
    told(daemon, "instance_found", guest)
    with domain(guest) as handle:
        handle.rename("life-3b")
    told(daemon, "instance_changed", guest, "name life-3 -> life-3b")
    assert not [
        event
        for event in daemon.events()
        if event["event"] == "instance_gone" and event["instance_uuid"] == guest.uuid
    ]


def test_a_new_owner(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """The project of nova's metadata counts from the moment that it is written."""
    with new_guest("life-4") as guest:
        told(daemon, "instance_found", guest)
        metadata = re.sub(
            "<nova:name>",
            "<nova:flavor name='tiny'/><nova:name>",
            NOVA_XML.format(name="shop", project="'other'", project_name="others"),
        )
        with domain(guest) as handle:
            handle.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                metadata.replace("nova:", "").replace("xmlns:nova", "xmlns"),
                "nova",
                NOVA,
                libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG,
            )
        told(daemon, "instance_changed", guest, "project_id demo -> other")
        found = row(daemon, guest)
        assert found is not None
        assert found["name"] == "shop"
        assert '"user_name": "others"' in found["metadata"]
        assert '"flavor": "tiny"' in found["metadata"]
        path = f"/v1/servers/{guest.uuid}/consoles"
        assert daemon.request("GET", path, key=STRANGER_KEY).status == 200
        assert daemon.request("GET", path, key=MEMBER_KEY).status == 404


def test_a_device_that_comes(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """A serial port that is plugged into a running guest is in the books and a console at once."""
    with new_guest("life-5") as guest:
        told(daemon, "instance_found", guest)
        [port] = free_ports(1)
        with domain(guest) as handle:
            handle.attachDevice(SERIAL.format(port=port, index=2))
        adopted = told(daemon, "ports_adopted", guest, str(port))
        assert str(port) in adopted["message"]
        consoles = daemon.request("GET", f"/v1/servers/{guest.uuid}/consoles").body["consoles"]
        assert [one["port"] for one in consoles] == [*guest.serial_ports, port]


def test_a_device_that_goes(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """A serial port that is unplugged gives its TCP port back, and is a console no more."""
    with new_guest("life-9") as guest:
        guest.wait_for_shells()
        [port] = free_ports(1)
        device = SERIAL.format(port=port, index=2)
        with domain(guest) as handle:
            handle.attachDevice(device)
            told(daemon, "ports_adopted", guest, str(port))
            handle.detachDevice(device)
        released = told(daemon, "port_released", guest, f"port {port} ")
        assert "the domain's XML does not name it any more" in released["message"]
        consoles = daemon.request("GET", f"/v1/servers/{guest.uuid}/consoles").body["consoles"]
        assert [one["port"] for one in consoles] == list(guest.serial_ports)


def test_an_undefined_guest_that_runs(daemon: Daemon, new_guest: Callable[..., Guest]) -> None:
    """It is there until it ends: the session goes on, and then everything goes."""
    with new_guest("life-6") as guest, session(daemon, guest) as client:
        guest.undefine()
        answers(client)
        assert row(daemon, guest) is not None
        guest.destroy()
        assert close_of(client)[0] == 4413
        told(daemon, "instance_gone", guest)
        until(daemon, "its row is gone", lambda: row(daemon, guest) is None)


def test_libvirtd_killed(
    daemon: Daemon, hypervisor: Hypervisor, new_guest: Callable[..., Guest]
) -> None:
    """The session lives on, requests are told to wait; what happened meanwhile is made good."""
    with new_guest("life-7") as guest, new_guest("life-8") as other:
        told(daemon, "instance_found", other)
        pid = other.pid
        since = len(daemon.events())
        with session(daemon, guest) as client:
            hypervisor.kill()
            daemon.wait_for_event("hypervisor_lost", since=since)
            up = ("hypervisor_up", "libvirt")
            until(daemon, "the gauge says so", lambda: up not in figures(daemon))
            answers(client)
            with pytest.raises(LabError, match="503"):
                daemon.console_url(guest.uuid)
            os.kill(pid, signal.SIGKILL)
            hypervisor.again()
            daemon.wait_for_event("hypervisor_connected", since=since, timeout=PATIENCE)
            told(daemon, "instance_changed", other, "running -> stopped")
            answers(client)
            until(daemon, "the gauge says so", lambda: figures(daemon).get(up) == 1)
            names = [event["event"] for event in daemon.events()[since:]]
            assert [names.count(f"hypervisor_{what}") for what in ("lost", "connected")] == [1, 1]
            assert daemon.console_url(guest.uuid, 1)
            guest.destroy()
            assert close_of(client) == (4413, "life-7 has stopped.")
