"""Serial ports put into a real domain: by REST and consolectl, to a shell, and back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest
from websockets.sync.client import connect

from tools.lab.daemon import MEMBER_KEY, Daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_range

ROOT = Path(__file__).parents[2]
FLAGS = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
PORTS = free_range()
TRIES = 24
"""How often a shell is asked: a guest takes some seconds to boot."""

GRAPHICS = """
    <graphics type='vnc' port='-1' autoport='yes' passwd='hunter2'/>
    <video><model type='vga'/></video>
"""
PTY = """
    <serial type='pty'><target port='0'/></serial>
"""


@pytest.fixture(scope="module")
def daemon(libvirtd: PrivateLibvirtd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over the private libvirt, with ports to give out."""
    config = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"uri": libvirtd.uri, "default_project": "demo"},
        "serial_console": {"port_range": f"{PORTS.start}:{PORTS.stop}"},
    }
    with Daemon(tmp_path_factory.mktemp("consoled"), config) as running:
        yield running


class Bare(Guest):
    """A guest without a serial port.

    :ivar devices: what it has besides.
    """

    devices = ""

    def xml(self) -> str:
        """The domain's definition."""
        return super().xml().replace("</devices>", f"{self.devices}</devices>")


@contextmanager
def bare(libvirtd: PrivateLibvirtd, image: Image, name: str, devices: str = "") -> Iterator[Any]:
    """libvirt's own object of such a guest, powered off."""
    guest = Bare(libvirtd, image, name, serial_ports=())
    guest.devices = devices
    guest.define()
    connection = libvirt.open(libvirtd.uri)
    try:
        yield connection.lookupByUUIDString(guest.uuid)
    finally:
        connection.close()
        guest.remove()


def says(daemon: Daemon, uuid: str, index: int, command: str, answer: str) -> None:
    """A shell on that console, reached through consoled, answers a command so."""
    seen = b""
    with connect(daemon.ws_url(uuid, index, MEMBER_KEY), compression=None) as client:
        # The shell drops what was typed before it started.
        for _ in range(TRIES):
            client.send(f"{command}\n".encode())
            with suppress(TimeoutError):
                while answer.encode() not in seen:
                    data = client.recv(5)
                    seen += data if isinstance(data, bytes) else data.encode()
                return
    raise AssertionError(f"the guest did not answer {answer!r}, but {seen[-2000:]!r}")


def test_two_ports_from_none(daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image) -> None:
    """By REST: the guest is started, a shell on each port answers through consoled; and back."""
    with bare(libvirtd, guest_image, "bare-rest") as domain:
        before = domain.XMLDesc(FLAGS)
        route = f"/v1/servers/{domain.UUIDString()}/consoles"
        done = daemon.request("POST", route, body={"consoles": {"ports": 2, "log": True}})
        assert done.status == 200, done.body
        told = done.body["configuration"]
        assert (told["changed"], told["power_cycle"]) == (True, False)
        ports = [port["port"] for port in told["ports"]]
        assert set(ports) <= set(PORTS)
        daemon.wait_for_event("serial_ports_enabled", instance_uuid=domain.UUIDString())
        # libvirt's package makes it.
        log = libvirtd.folder / "log/qemu/bare-rest-serial0.log"
        log.parent.mkdir(exist_ok=True)
        domain.create()
        listed = daemon.request("GET", route).body["consoles"]
        assert [(one["index"], one["port"]) for one in listed] == list(enumerate(ports))
        for index in range(2):
            says(daemon, domain.UUIDString(), index, "echo $(tty) $((40+2))", f"ttyS{index} 42")
        assert "ttyS0 42" in log.read_text()
        domain.destroy()
        undone = daemon.request("DELETE", route)
        assert undone.status == 200, undone.body
        assert domain.XMLDesc(FLAGS) == before
        daemon.wait_for_event("port_released", instance_uuid=domain.UUIDString())


def test_a_running_guest_with_a_pty(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image
) -> None:
    """By consolectl: it runs on as it is, has the port after a power cycle, and its pty back."""
    with bare(libvirtd, guest_image, "bare-pty", PTY) as domain:
        domain.create()
        before, live = domain.XMLDesc(FLAGS), domain.XMLDesc(0)
        done = daemon.consolectl("domain", "enable-serial", "bare-pty", "--format", "json")
        assert done.returncode == 0, done.stderr
        assert "powered off" in done.stderr
        assert json.loads(done.stdout)["power_cycle"]
        assert domain.XMLDesc(0) == live
        domain.destroy()
        domain.create()
        says(daemon, domain.UUIDString(), 0, "echo $(tty) $((40+2))", "ttyS0 42")
        again = daemon.consolectl("domain", "enable-serial", "bare-pty")
        assert again.stderr == "Nothing to change.\n"
        done = daemon.consolectl("domain", "disable-serial", "bare-pty")
        assert done.returncode == 0, done.stderr
        assert domain.XMLDesc(FLAGS) == before
        # It still listens where it did, as it still runs.
        assert daemon.consolectl("domain", "enable-serial", "bare-pty", "--dry-run").returncode == 0
        says(daemon, domain.UUIDString(), 0, "echo still $((40+2))", "still 42")


def test_a_password_is_kept(daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image) -> None:
    """A VNC password is in the definition afterwards as before, and is shown to nobody."""
    with bare(libvirtd, guest_image, "bare-vnc", GRAPHICS) as domain:
        before = domain.XMLDesc(FLAGS)
        assert "passwd='hunter2'" in before
        done = daemon.consolectl("domain", "enable-serial", "bare-vnc", "--ports", "4")
        assert done.returncode == 0, done.stderr
        assert "hunter2" not in done.stdout
        assert "passwd='hunter2'" in domain.XMLDesc(FLAGS)
        assert daemon.consolectl("domain", "disable-serial", "bare-vnc").returncode == 0
        assert domain.XMLDesc(FLAGS) == before
    assert "hunter2" not in daemon.log.read_text()


def test_a_domain_of_nova_s(daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image) -> None:
    """It is refused with what to do instead, and changed with --force."""
    guest = Guest(libvirtd, guest_image, "bare-nova", serial_ports=(), project="demo")
    guest.define()
    try:
        refused = daemon.consolectl("domain", "enable-serial", guest.uuid)
        assert refused.returncode == 1
        assert "managed by nova" in refused.stderr
        forced = daemon.consolectl("domain", "enable-serial", guest.uuid, "--force")
        assert forced.returncode == 0, forced.stderr
        assert "managed by nova" in forced.stderr
    finally:
        guest.remove()


def test_a_port_of_somebody_s_own(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image
) -> None:
    """A hand-written port stays as it is, and the guest gets the other one beside it."""
    guest = Guest(libvirtd, guest_image, "half", serial_ports=None)
    guest.serial_ports = guest.serial_ports[:1]
    with guest:
        done = daemon.consolectl(
            "domain", "enable-serial", "half", "--ports", "2", "--format", "json"
        )
        own, new = json.loads(done.stdout)["ports"]
        assert (own["port"], own["configured"]) == (guest.serial_ports[0], False)
        assert (new["port"] in PORTS, new["configured"]) == (True, True)


def test_a_port_that_was_taken_meanwhile(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest_image: Image
) -> None:
    """libvirt's own error at the start gives it the next port, once; it stays the guest's."""
    with bare(libvirtd, guest_image, "late") as domain:
        enabled = daemon.consolectl("domain", "enable-serial", "late", "--format", "json")
        [before] = json.loads(enabled.stdout)["ports"]
        with socket.create_server(("127.0.0.1", before["port"])):
            done = daemon.consolectl("domain", "start", "late", "--format", "json")
            assert done.returncode == 0, done.stderr
            assert f"somebody else has port {before['port']}" in done.stderr
            [now] = json.loads(done.stdout)["ports"]
            assert now["moved_from"] == before["port"]
            assert now["port"] in set(PORTS) - {before["port"]}
            socket.create_connection(("127.0.0.1", now["port"])).close()
        again = daemon.consolectl("domain", "start", "late")
        assert "late runs already" in again.stderr
        domain.destroy()
        done = daemon.consolectl("domain", "start", "late", "--format", "json")
        [later] = json.loads(done.stdout)["ports"]
        assert (later["port"], later["moved_from"]) == (now["port"], None)
