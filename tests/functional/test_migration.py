"""Live migrations between two real libvirts, with sessions open and a guest that counts."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Condition, Thread
from typing import Any, TypeVar

import libvirt
import pytest
from chromium import ConsolePage, chromium, console_page
from fault_world import until
from playwright.sync_api import expect
from two_hosts import Hosts, daemon_of, libvirts
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from consoled.compute.migration.destination import relocated
from tools.lab.daemon import MEMBER_KEY, Daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_range

ROOT = Path(__file__).parents[2]
RANGES = {"kvm1": free_range(), "kvm2": free_range()}
PATIENCE = 60.0
"""Seconds for what a guest or a migration has to do."""
A_WHILE = 5.0
"""Seconds after which a key is pressed again."""

LOOPS = itertools.count(1)
COUNT = "i=0; while :; do i=$((i+1)); echo loop%d-$i; usleep 20000; done\r"

PTY = """\
    <serial type='pty'><target port='2'/></serial>
  </devices>"""

T = TypeVar("T")


class Mover(Guest):
    """A guest with two serial ports on TCP, and one that is a pty."""

    def xml(self) -> str:
        """The domain's definition."""
        return super().xml().replace("  </devices>", PTY)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two private libvirts."""
    with libvirts(RANGES) as found:
        yield found


@pytest.fixture(scope="module")
def daemon(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has found both."""
    folder, address = tmp_path_factory.mktemp("consoled"), "127.0.0.1"
    with daemon_of(folder, hosts, RANGES, live_migration_inbound_addr=address) as running:
        yield running


@pytest.fixture(scope="module")
def guest(hosts: Hosts, daemon: Daemon, guest_image: Image) -> Iterator[Guest]:
    """A guest that begins on kvm1; the tests take it to and fro."""
    ports = RANGES["kvm1"][:2]
    guest = Mover(hosts["kvm1"], guest_image, "mover", serial_ports=ports)
    with guest:
        guest.wait_for_shells()
        daemon.wait_for_event("ports_adopted", instance_uuid=guest.uuid)
        yield guest
        for libvirtd in hosts.values():
            guest.libvirtd = libvirtd
            guest.remove()


@pytest.fixture
def page() -> Iterator[ConsolePage]:
    """A fresh page in Chromium, whose browser console must stay clean."""
    with chromium() as browser, console_page(browser) as fresh:
        yield fresh
    assert fresh.complaints == []


class Watching:
    """A viewer in a thread of its own, and everything that it is told."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.loop = 0
        self.output = b""
        self.notices: list[str] = []
        self.close: tuple[int, str] | None = None
        self._told = Condition()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def type(self, text: bytes) -> None:
        """Input."""
        self.client.send(text)

    def until(self, pattern: str) -> re.Match[bytes]:
        """The first match in what was printed so far, as soon as there is one."""
        return self.wait(lambda: re.search(pattern.encode(), self.output), pattern)

    def wait(self, look: Callable[[], T], what: str) -> T:
        """What a look at what it was told finds, as soon as it finds something."""
        with self._told:
            found = self._told.wait_for(look, PATIENCE)
        assert found, f"no {what} after {self.output[-300:]!r}, closed: {self.close}"
        return found

    def numbers(self) -> list[int]:
        """The numbers that the guest has counted so far in this loop, as they were printed."""
        line = rb"^loop%d-(\d+)\r$" % self.loop
        return [int(number) for number in re.findall(line, self.output, re.MULTILINE)]

    def count(self) -> None:
        """Begins a loop that counts; those of earlier ones are on the screen, too."""
        self.loop = next(LOOPS)
        self.type((COUNT % self.loop).encode())
        self.counts()

    def interrupt(self) -> None:
        """Gets a prompt. The shell may be about to begin a program when ^C comes, and miss it."""
        seen = 0

        def shown(pattern: bytes) -> bool:
            return re.search(pattern, self.output[seen:]) is not None

        prompted = False
        while not prompted:
            seen = len(self.output)
            self.type(b"\x03\r")
            self.wait(lambda: shown(rb"\^C|# "), "trace of ^C")
            with self._told:
                prompted = self._told.wait_for(lambda: shown(b"# "), A_WHILE)

    def counts(self, more: int = 20) -> None:
        """Waits until the guest has counted on."""
        seen = len(self.numbers())
        self.wait(lambda: len(self.numbers()) >= seen + more, "numbers")

    def _read(self) -> None:
        try:
            for message in self.client:
                with self._told:
                    self._hear(message)
                    self._told.notify_all()
        except ConnectionClosed:
            pass
        with self._told:
            self.close = self.client.close_code or 0, self.client.close_reason or ""
            self._told.notify_all()

    def _hear(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.output += message
            return
        told = json.loads(message)
        if told["type"] == "notice":
            self.notices.append(told["text"])


def wait(daemon: Daemon, look: Callable[[], object], otherwise: str) -> None:
    """Waits until a look finds something, while the daemon runs."""
    until(daemon, otherwise, lambda: bool(look()))


@contextmanager
def viewer(daemon: Daemon, guest: Guest, url: str | None = None) -> Iterator[Watching]:
    """A writer's session."""
    address = url or daemon.ws_url(guest.uuid, 0)
    origin: Any = f"http://127.0.0.1:{daemon.port}"
    with connect(address, compression=None, subprotocols=["consoled.v1"], origin=origin) as client:  # type: ignore[list-item]  # a NewType of str
        yield Watching(client)


@pytest.fixture
def counting(daemon: Daemon, guest: Guest) -> Iterator[Watching]:
    """A session in whose shell a loop counts."""
    with viewer(daemon, guest) as watching:
        watching.interrupt()
        watching.count()
        yield watching


def seen_whole(watching: Watching) -> int:
    """How many numbers are missing; none is there twice, or out of order.

    What is missing may be missing at the switch only: in one place.
    """
    numbers = watching.numbers()
    steps = [after - before for before, after in pairwise(numbers)]
    assert all(step > 0 for step in steps), numbers
    gaps = [step - 1 for step in steps if step > 1]
    print(f"{len(numbers)} numbers, missing at the switch: {gaps or 'none'}")
    assert len(gaps) <= 1, gaps
    return sum(gaps)


def answers(watching: Watching) -> None:
    """The shell takes input."""
    number = len(watching.output)
    watching.interrupt()
    watching.type(b"echo still-$((%d + 2))\r" % number)
    watching.until(f"still-{number + 2}")


def rows(daemon: Daemon, query: str, *values: object) -> list[Any]:
    """What the cell database has."""
    with closing(sqlite3.connect(daemon.folder / "state/consoled.sqlite")) as database:
        return database.execute(query, values).fetchall()


def home(daemon: Daemon, guest: Guest) -> str:
    """The compute host that the guest's row names."""
    [[host]] = rows(daemon, "SELECT host FROM instances WHERE uuid = ?", guest.uuid)
    return str(host)


def ports_at(daemon: Daemon, host: str) -> list[int]:
    """The ports of a host that the books have."""
    query = "SELECT port FROM port_allocations WHERE host = ? ORDER BY port"
    return [port for (port,) in rows(daemon, query, host)]


def token_places(daemon: Daemon, guest: Guest) -> set[int]:
    """The ports that the instance's tokens lead to."""
    query = "SELECT port FROM console_auth_tokens WHERE instance_uuid = ? AND console_index = 0"
    return {port for (port,) in rows(daemon, query, guest.uuid)}


@contextmanager
def domain(libvirtd: PrivateLibvirtd, guest: Guest) -> Iterator[Any]:
    """libvirt's own handle of the guest, to play the operator."""
    with closing(libvirt.open(libvirtd.uri)) as connection:
        yield connection.lookupByUUIDString(guest.uuid)


def state(daemon: Daemon, guest: Guest) -> str:
    """How far REST says that the migration is."""
    answer = daemon.request("GET", f"/v1/servers/{guest.uuid}/migration")
    return str(answer.body["migration"]["state"])


def test_by_consolectl(daemon: Daemon, guest: Guest, hosts: Hosts, counting: Watching) -> None:
    """The sessions of writer and observer go on, old links lead there, and the ports change."""
    url = daemon.ws_url(guest.uuid, 0)
    observe = daemon.request(
        "POST",
        f"/v1/servers/{guest.uuid}/consoles/0/tokens",
        key=MEMBER_KEY,
        body={"token": {"role": "observer"}},
    )
    token = observe.body["token"]["url"].partition("?")[2]
    with viewer(daemon, guest, f"ws://127.0.0.1:{daemon.port}/serial.html?{token}") as watcher:
        watcher.loop = counting.loop
        watcher.counts()
        done = daemon.consolectl("domain", "migrate", "mover", "kvm2", "--format", "json")
        assert done.returncode == 0, done.stderr
        counting.counts()
        watcher.counts()
        assert watcher.notices == counting.notices
        assert seen_whole(watcher) == seen_whole(counting) == 0
    assert [n for n in counting.notices if n.startswith("The guest has moved")]
    told = json.loads(done.stdout)
    assert (told["state"], told["source"], told["destination"]) == ("completed", "kvm1", "kvm2")
    ports = [one["port"] for one in told["ports"]]
    assert set(ports) <= set(RANGES["kvm2"])
    answers(counting)
    wait(daemon, lambda: home(daemon, guest) == "kvm2", "the row has not moved")
    wait(daemon, lambda: ports_at(daemon, "kvm2") == sorted(ports), "the books lack the new ports")
    wait(daemon, lambda: ports_at(daemon, "kvm1") == [], "the books still have the old ports")
    wait(daemon, lambda: token_places(daemon, guest) == {ports[0]}, "the tokens have not moved")
    with closing(libvirt.open(hosts["kvm1"].uri)) as connection:
        assert connection.listAllDomains() == []
    with viewer(daemon, guest, f"{url}&takeover=1") as later:
        answers(later)
        counting.wait(lambda: counting.close, "end of the older window")
        later.count()


def test_a_pty(daemon: Daemon, guest: Guest) -> None:
    """Its session goes on, too, and needs no port of the destination."""
    here = home(daemon, guest)
    there = next(name for name in RANGES if name != here)
    url = daemon.ws_url(guest.uuid, 2)
    with viewer(daemon, guest, url) as watching:
        answers(watching)
        done = daemon.consolectl("domain", "migrate", "mover", there)
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()[3:]] == ["0", "1"]
        watching.wait(lambda: watching.notices, "notice")
        answers(watching)
    with viewer(daemon, guest, url) as again:
        answers(again)


def test_behind_our_back(daemon: Daemon, guest: Guest, hosts: Hosts, counting: Watching) -> None:
    """What virsh drives is noticed by events, and followed the same way."""
    here = home(daemon, guest)
    name = next(name for name in RANGES if name != here)
    there = RANGES[name][10:12]
    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    )
    with domain(hosts[here], guest) as handle:
        xml = handle.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        moved = relocated(xml, {i: ("127.0.0.1", port) for i, port in enumerate(there)})
        handle.migrateToURI3(
            hosts[name].uri,
            {
                libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved,
                libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved,
                libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1",
            },
            flags,
        )
    counting.counts()
    assert seen_whole(counting) == 0
    answers(counting)
    wait(daemon, lambda: home(daemon, guest) == name, "the row has not moved")
    wait(daemon, lambda: ports_at(daemon, name) == list(there), "the books lack the new ports")
    wait(daemon, lambda: ports_at(daemon, here) == [], "the books still have the old ports")
    wait(daemon, lambda: token_places(daemon, guest) == {there[0]}, "the tokens have not moved")


def test_by_rest(daemon: Daemon, guest: Guest, hosts: Hosts, counting: Watching) -> None:
    """202 and a state; one at a time; cancelled it stays where it is, and the ports come back."""
    path = f"/v1/servers/{guest.uuid}/migration"
    here = home(daemon, guest)
    there = next(name for name in RANGES if name != here)
    before = ports_at(daemon, here)
    body = {"migration": {"host": there}}
    assert daemon.request("POST", path, key=MEMBER_KEY, body=body).status == 403
    unknown = daemon.request("POST", path, body={"migration": {"host": "qemu:///system"}})
    assert unknown.status == 400
    with domain(hosts[here], guest) as handle:
        handle.migrateSetMaxSpeed(1)
        begun = daemon.request("POST", path, body=body)
        assert begun.status == 202, begun.body
        assert begun.body["migration"]["state"] == "migrating"
        assert daemon.request("POST", path, body=body).status == 409
        wait(
            daemon,
            lambda: (
                daemon.request("GET", path).body["migration"]["progress"]["bytes_remaining"] > 0
            ),
            "no progress",
        )
        assert ports_at(daemon, there)
        wait(daemon, lambda: daemon.request("DELETE", path).status == 202, "it goes on")
        wait(daemon, lambda: state(daemon, guest) == "cancelled", "it is not cancelled")
        # ^C, as a terminal sends it.
        words = ["domain", "migrate", "mover", there]
        with subprocess.Popen(
            [sys.executable, "-m", "consoled.cli", "--config", daemon.config_file, *words],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as command:
            handle.migrateSetMaxSpeed(1)
            wait(
                daemon,
                lambda: handle.jobStats().get("memory_remaining", 0) > 0,
                "it does not begin",
            )
            command.send_signal(signal.SIGINT)
            assert command.stderr is not None
            said = command.stderr.read()
        handle.migrateSetMaxSpeed(1000)
    assert command.returncode == 1
    assert "the migration was cancelled; mover stays" in said
    wait(daemon, lambda: ports_at(daemon, there) == [], "the destination's ports are kept")
    assert (home(daemon, guest), ports_at(daemon, here)) == (here, before)
    assert daemon.request("DELETE", path).status == 409
    counting.counts()
    assert seen_whole(counting) == 0
    assert counting.notices == []


def test_a_destination_that_refuses(
    daemon: Daemon, guest: Guest, hosts: Hosts, guest_image: Image, counting: Watching
) -> None:
    """The state says why, the guest stays, and the destination's ports come back."""
    path = f"/v1/servers/{guest.uuid}/migration"
    here = home(daemon, guest)
    there = next(name for name in RANGES if name != here)
    squatter = Guest(hosts[there], guest_image, "mover", serial_ports=[])
    squatter.define()
    try:
        assert daemon.request("POST", path, body={"migration": {"host": there}}).status == 202
        wait(daemon, lambda: state(daemon, guest) == "failed", "it has not failed")
        failed = daemon.request("GET", path).body["migration"]
        assert "already exists" in failed["error"]
        done = daemon.consolectl("domain", "migrate", guest.uuid, hosts[there].uri)
        assert done.returncode == 1
        assert "did not migrate" in done.stderr
    finally:
        squatter.undefine()
    wait(daemon, lambda: ports_at(daemon, there) == [], "the destination's ports are kept")
    assert home(daemon, guest) == here
    counting.counts()
    assert seen_whole(counting) == 0


def test_the_page(daemon: Daemon, guest: Guest, hosts: Hosts, page: ConsolePage) -> None:
    """The page stays connected, says in one line what has happened, and takes input."""
    here = home(daemon, guest)
    there = next(name for name in RANGES if name != here)
    with viewer(daemon, guest) as watching:
        watching.interrupt()
    page.open(daemon.console_url(guest.uuid, 0, MEMBER_KEY))
    page.expect_state(re.compile("^Connected"))
    page.type("\n")
    page.expect_text("# ")
    path = f"/v1/servers/{guest.uuid}/migration"
    assert daemon.request("POST", path, body={"migration": {"host": there}}).status == 202
    notice = page.page.locator("#notices .notice")
    expect(notice).to_contain_text("The guest has moved to another host", timeout=60_000)
    expect(notice).to_have_count(1)
    page.screenshot("migrated")
    wait(daemon, lambda: state(daemon, guest) == "completed", "it is not completed")
    page.expect_state(re.compile("^Connected"))
    page.type("echo there $((40 + 2))\n")
    page.expect_text("there 42")
    wait(daemon, lambda: home(daemon, guest) == there, "the row has not moved")
    wait(daemon, lambda: ports_at(daemon, here) == [], "the books still have the old ports")


def test_a_daemon_killed_in_the_middle(daemon: Daemon, guest: Guest, hosts: Hosts) -> None:
    """libvirt goes on alone; the next daemon finds the guest, its link leads there, no port leaks.

    The books that the killed one leaves behind are made right by the first look.
    """
    path = f"/v1/servers/{guest.uuid}/migration"
    here = home(daemon, guest)
    there = next(name for name in RANGES if name != here)
    # Nobody has had that one: a dead daemon's lease is waited for.
    url = daemon.ws_url(guest.uuid, 1)
    with domain(hosts[here], guest) as handle:
        handle.migrateSetMaxSpeed(1)
        assert daemon.request("POST", path, body={"migration": {"host": there}}).status == 202
        wait(
            daemon,
            lambda: daemon.request("GET", path).body["migration"]["progress"]["bytes_remaining"],
            "no progress",
        )
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.stop()
        daemon.start()
        shown = daemon.request("GET", path).body["migration"]
        assert (shown["state"], shown["destination"]) == ("migrating", None)
        handle.migrateSetMaxSpeed(1000)
    wait(daemon, lambda: home(daemon, guest) == there, "the row has not moved")
    wait(daemon, lambda: ports_at(daemon, here) == [], "the books still have the old ports")
    wait(daemon, lambda: len(ports_at(daemon, there)) == 2, "the books lack the new ports")
    with viewer(daemon, guest, url) as watching:
        answers(watching)
