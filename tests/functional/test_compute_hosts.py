"""Two compute hosts in one daemon: real libvirts side by side, one of them hanging or gone."""

from __future__ import annotations

import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fault_world import family, signalled, until
from test_domain_life import answers
from test_monitoring import figures
from two_hosts import Hosts, configuration, daemon_of, libvirts
from websockets.sync.client import connect

from consoled.compute.libvirt import client as libvirt_client
from consoled.compute.libvirt.events import EventLoop
from tools.lab.daemon import Daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_range

ROOT = Path(__file__).parents[2]
RANGES = {"kvm1": free_range(), "kvm2": free_range()}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two private libvirts."""
    with libvirts(RANGES) as found:
        yield found


@pytest.fixture(scope="module")
def daemon(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has found both."""
    with daemon_of(tmp_path_factory.mktemp("consoled"), hosts, RANGES) as running:
        yield running


@pytest.fixture(scope="module")
def guest(hosts: Hosts, guest_image: Image) -> Iterator[Guest]:
    """A guest on kvm1 that runs."""
    with Guest(hosts["kvm1"], guest_image, "one", serial_ports=RANGES["kvm1"][:1]) as running:
        running.wait_for_shells()
        yield running


@pytest.fixture
def new_guest(guest_image: Image) -> Iterator[Callable[..., Guest]]:
    """Makes guests and removes them."""
    made: list[Guest] = []

    def make(libvirtd: PrivateLibvirtd, name: str, **facts: Any) -> Guest:
        made.append(Guest(libvirtd, guest_image, name, **facts))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()


def home(daemon: Daemon, guest: Guest) -> str | None:
    """The compute host that the guest's row names."""
    with closing(sqlite3.connect(daemon.folder / "state/consoled.sqlite")) as database:
        found = database.execute("SELECT host FROM instances WHERE uuid = ?", (guest.uuid,))
        row = found.fetchone()
        return None if row is None else str(row[0])


def listed(daemon: Daemon) -> dict[str, tuple[str, str]]:
    """Host and status of what the API lists, by name."""
    servers = daemon.request("GET", "/v1/servers").body["servers"]
    return {one["name"]: (one["host"], one["status"]) for one in servers}


def talks(daemon: Daemon, guest: Guest) -> None:
    """A shell answers on the guest's console."""
    with connect(daemon.ws_url(guest.uuid, 0), compression=None) as client:
        answers(client)


def test_instances_and_ports_have_their_host(
    hosts: Hosts, daemon: Daemon, guest: Guest, new_guest: Callable[..., Guest]
) -> None:
    """Each host's domains are listed with its name, have its ports, and open; by REST and CLI."""
    two, three = (new_guest(hosts["kvm2"], name, serial_ports=()) for name in ("two", "three"))
    two.define()
    three.define()
    daemon.wait_for_event("instance_found", instance_uuid=three.uuid)
    assert listed(daemon) == {
        "one": ("kvm1", "running"),
        "two": ("kvm2", "stopped"),
        "three": ("kvm2", "stopped"),
    }
    assert [home(daemon, one) for one in (guest, two)] == ["kvm1", "kvm2"]
    talks(daemon, guest)
    done = daemon.request("POST", f"/v1/servers/{two.uuid}/consoles", body=None)
    assert done.status == 200, done.body
    assert done.body["configuration"]["ports"][0]["port"] in RANGES["kvm2"]
    used, free = ("ports_used", "kvm2"), ("ports_free", "kvm2")
    until(daemon, "one port is used", lambda: figures(daemon).get(used) == 1)
    until(daemon, "it is not free", lambda: figures(daemon)[free] == len(RANGES["kvm2"]) - 1)
    by_hand = daemon.consolectl("domain", "enable-serial", "three", "--format", "json")
    assert by_hand.returncode == 0, by_hand.stderr
    wrong = daemon.consolectl("domain", "enable-serial", "three", "--host", "kvm1")
    assert "no domain three" in wrong.stderr
    unknown = daemon.consolectl("domain", "disable-serial", "three", "--host", "kvm3")
    assert "[libvirt] hosts has kvm1, kvm2" in unknown.stderr


def test_a_domain_on_two_hosts(
    hosts: Hosts, daemon: Daemon, new_guest: Callable[..., Guest]
) -> None:
    """The row is that of the host where it runs, and of the first as long as it runs nowhere."""
    before = new_guest(hosts["kvm1"], "both", serial_ports=RANGES["kvm1"][10:11])
    after = new_guest(hosts["kvm2"], "both", serial_ports=RANGES["kvm2"][10:11], uuid=before.uuid)
    before.define()
    daemon.wait_for_event("instance_found", instance_uuid=before.uuid)
    after.define()
    daemon.wait_for_event("ports_adopted", instance_uuid=before.uuid, host="kvm2")
    assert (home(daemon, before), listed(daemon)["both"]) == ("kvm1", ("kvm1", "stopped"))
    since = len(daemon.events())
    after.start()
    daemon.wait_for_event("instance_changed", instance_uuid=before.uuid, since=since)
    assert (home(daemon, before), listed(daemon)["both"]) == ("kvm2", ("kvm2", "running"))
    shown = daemon.request("GET", f"/v1/servers/{before.uuid}/consoles").body["consoles"]
    assert [one["port"] for one in shown] == list(after.serial_ports)


def test_a_host_that_hangs_and_comes_back(
    hosts: Hosts, guest: Guest, new_guest: Callable[..., Guest], tmp_path: Path
) -> None:
    """A daemon that starts while one hangs in open() serves the other, and finds it later."""
    late = new_guest(hosts["kvm2"], "late", serial_ports=RANGES["kvm2"][15:16])
    late.define()
    stuck = family(hosts["kvm2"].process.pid)[1:]
    assert stuck
    with ExitStack() as running:
        with signalled(stuck, signal.SIGSTOP, signal.SIGCONT):
            daemon = running.enter_context(Daemon(tmp_path, configuration(hosts, RANGES)))
            daemon.wait_for_event("hypervisor_connected", hypervisor="kvm1")
            daemon.wait_for_event("instance_found", instance_uuid=guest.uuid)
            talks(daemon, guest)
            assert listed(daemon) == {"one": ("kvm1", "running")}
            # One that is nowhere else may be there.
            assert daemon.request("GET", f"/v1/servers/{late.uuid}").status == 503
            daemon.wait_for_event("hypervisor_lost", hypervisor="kvm2")
            assert figures(daemon)["hypervisor_up", "kvm1"] == 1
            lost = ("hypervisor_up", "kvm2")
            until(daemon, "kvm2 counts as lost", lambda: lost not in figures(daemon))
        daemon.wait_for_event("instance_found", instance_uuid=late.uuid)
        until(daemon, "it is listed", lambda: listed(daemon).get("late") == ("kvm2", "stopped"))
        away = [e for e in daemon.events() if "is away: no answer" in e["message"]]
        assert len(away) == 1


class Relay:
    """A Unix socket whose connections lead to a libvirt's own, and can be cut off in silence."""

    def __init__(self, place: Path, target: Path) -> None:
        self.target = target
        self.frozen: set[int] = set()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(place))
        self.listener.listen()
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Lets nothing through any more on the connections that there are."""
        self.frozen.update(range(len(self.pairs)))

    def close(self) -> None:
        """Ends all of them."""
        for one in (self.listener, *chain.from_iterable(self.pairs)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, server = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(str(self.target))
                self.pairs.append((client, server))
                for pair in ((client, server), (server, client)):
                    number = len(self.pairs) - 1
                    Thread(target=self._pass, args=(number, *pair), daemon=True).start()

    def _pass(self, number: int, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if number not in self.frozen:
                    other.sendall(data)


def test_a_host_that_vanished_and_is_back(
    hosts: Hosts, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question on its dead connection is asked anew, without the wait for TCP to give up."""
    monkeypatch.setattr(libvirt_client, "KEEPALIVE_INTERVAL", 1)
    monkeypatch.setattr(libvirt_client, "KEEPALIVE_COUNT", 1)
    EventLoop().start()
    with closing(Relay(short_folder / "socket", hosts["kvm1"].socket_path)) as relay:
        uri = hosts["kvm1"].uri.replace(
            str(hosts["kvm1"].socket_path), str(short_folder / "socket")
        )
        client = libvirt_client.LibvirtClient(uri)
        name = client.hostname()
        relay.cut()
        assert client.hostname() == name
        assert len(relay.pairs) == 2
        client.close()
