"""Consoles of a real guest that are ptys: no TCP port, libvirt passes their bytes on."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from fault_world import until
from test_domain_life import Hypervisor, hypervisor
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import ADMIN_KEY, Daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.serial_line import CURSOR_QUERY, PROMPT

__all__ = ["hypervisor"]

PAGE = Subprotocol("consoled.v1")
PATIENCE = 60.0
"""Seconds for what a guest has to do."""


class Viewer:
    """A client of ``consoled.v1`` that types, and reads the guest's output."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self.told: list[dict[str, Any]] = []
        self.offset = 0
        self._unread = b""

    @classmethod
    @contextmanager
    def at(cls, url: str) -> Iterator[Self]:
        """A connected one, which has its hello."""
        with connect(url, compression=None, subprotocols=[PAGE], max_size=None) as socket:
            viewer = cls(socket)
            while not viewer.hello:
                viewer._hear(PATIENCE)
            yield viewer

    def _hear(self, timeout: float) -> None:
        message = self.socket.recv(timeout)
        if isinstance(message, str):
            told = json.loads(message)
            self.told.append(told)
            if told["type"] == "hello":
                self.hello, self.offset = told, told["offset"]
            return
        self.offset += len(message)
        self._unread += message.replace(CURSOR_QUERY, b"")
        self.socket.send(json.dumps({"type": "ack", "bytes": self.offset - self.hello["offset"]}))

    def type(self, text: str) -> None:
        """Types it."""
        self.socket.send(text.encode())

    def until(self, pattern: bytes, timeout: float = PATIENCE) -> bytes:
        """The output up to and with the first match."""
        deadline = time.monotonic() + timeout
        while (match := re.search(pattern, self._unread)) is None:
            self._hear(max(0.0, deadline - time.monotonic()))
        found, self._unread = self._unread[: match.end()], self._unread[match.end() :]
        return found

    def shell(self) -> None:
        """Waits for the shell: a guest that boots drops what is typed."""
        while True:
            self.type("\r")
            try:
                self.until(re.escape(PROMPT), 2.0)
            except TimeoutError:
                continue
            return

    def run(self, command: str) -> str:
        """The output of a shell command."""
        mark = time.monotonic_ns()
        self.type(f"echo begin-$(({mark}+1)); {command}; echo end-$(({mark}+1))\r")
        self.until(b"begin-%d\r\n" % (mark + 1))
        output = self.until(b"end-%d\r\n" % (mark + 1)).rpartition(b"end-")[0]
        return output.replace(b"\r\n", b"\n").decode().strip()

    def closed(self) -> tuple[int, str]:
        """Why the daemon closes the connection."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                self._hear(PATIENCE)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.fixture(scope="module")
def daemon(hypervisor: Hypervisor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over it, which records."""
    config = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"uri": hypervisor.libvirtd.uri, "default_project": "demo"},
        "serial_console": {"record": True},
        # A viewer that reads nothing answers no ping either.
        "proxy": {"stall_timeout": 60, "ping_interval": 60, "ping_timeout": 60},
    }
    with Daemon(tmp_path_factory.mktemp("consoled"), config) as running:
        running.wait_for_event("hypervisor_connected")
        yield running


@pytest.fixture(scope="module")
def guest(hypervisor: Hypervisor, daemon: Daemon, guest_image: Image) -> Iterator[Guest]:
    """A guest without any TCP port, whose shells wait."""
    with Guest(hypervisor.libvirtd, guest_image, "porter", serial_ports=(), ptys=2) as running:
        for index in (0, 1):
            with Viewer.at(daemon.ws_url(running.uuid, index)) as viewer:
                viewer.shell()
                viewer.run("stty -echo")
        yield running


def consoles(daemon: Daemon, guest: Guest) -> list[dict[str, Any]]:
    """The guest's consoles, as an administrator sees them."""
    answer = daemon.request("GET", f"/v1/servers/{guest.uuid}/consoles")
    assert answer.status == 200, answer.body
    listed: list[dict[str, Any]] = answer.body["consoles"]
    return listed


def states(daemon: Daemon, guest: Guest) -> list[str]:
    """How the guest's consoles are."""
    return [one["state"] for one in consoles(daemon, guest)]


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def pumps(daemon: Daemon) -> list[int]:
    """The program that carries consoles, and of each open console the process."""
    [program] = [
        pid
        for pid in children(daemon.pid)
        if b"pump.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return [program, *children(program)]


def test_it_is_listed(daemon: Daemon, guest: Guest) -> None:
    """A pty is a console like any other, without a port; nova's call gives a URL for one."""
    for index, console in enumerate(consoles(daemon, guest)):
        assert (console["index"], console["type"], console["kind"]) == (index, "serial", "pty")
        assert (console["port"], console["state"]) == (None, "free")
    with Viewer.at(daemon.console_url(guest.uuid).replace("http:", "ws:")) as viewer:
        assert viewer.run("echo first $((40 + 2))") == "first 42"


def test_two_at_once(daemon: Daemon, guest: Guest) -> None:
    """Each console has a process, and none is left of it when the session has ended."""
    with (
        Viewer.at(daemon.ws_url(guest.uuid, 0)) as first,
        Viewer.at(daemon.ws_url(guest.uuid, 1)) as second,
    ):
        assert first.run("tty") == "/dev/ttyS0"
        assert second.run("tty") == "/dev/ttyS1"
        assert states(daemon, guest) == ["in_use", "in_use"]
        assert len(pumps(daemon)) == 3
    seen = len(daemon.events())
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as first:
        first.socket.close()
    daemon.wait_for_event("line_closed", since=seen, index=0)
    until(daemon, "both are free", lambda: states(daemon, guest) == ["free", "free"])


def test_every_byte(daemon: Daemon, guest: Guest) -> None:
    """All that the guest prints arrives, in its order, and all that is typed."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        assert viewer.run("seq 1 20000") == "\n".join(map(str, range(1, 20001)))
        typed = bytes(range(256)) * 40
        viewer.type(
            f"stty raw -echo; echo go-$((40+2)); head -c {len(typed)} | md5sum; stty sane\r"
        )
        viewer.until(b"go-42\n")
        viewer.socket.send(typed)
        viewer.until(hashlib.md5(typed).hexdigest().encode())
        viewer.shell()


def test_a_session_is_resumed_and_recorded(daemon: Daemon, guest: Guest) -> None:
    """Who comes back gets what was missed, and the recording has the output."""
    url = daemon.ws_url(guest.uuid, 0)
    with Viewer.at(url) as first:
        first.run("true")
        first.type("read go; echo missed $((40 + 2))\r\r")
        key, offset = first.hello["resume"], first.offset
        first.socket.socket.close()
    with Viewer.at(f"{url}&resume={key}&since={offset}") as second:
        assert second.hello["session"] == first.hello["session"]
        second.until(b"missed 42")
        seen = len(daemon.events())
        second.socket.close()
    daemon.wait_for_event("line_closed", since=seen)
    path = f"/v1/recordings/{first.hello['session']}"
    until(daemon, "the recording", lambda: daemon.request("GET", path).status == 200)


def test_break(daemon: Daemon, guest: Guest) -> None:
    """A SysRq reaches the guest's kernel, by REST too; its key is not lost in the hang-up."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.run("echo 1 > /proc/sys/kernel/sysrq")
        seen = len(daemon.events())
        viewer.socket.close()
    daemon.wait_for_event("line_closed", since=seen)
    for digit in "56":
        path = f"/v1/servers/{guest.uuid}/consoles/0/break"
        answer = daemon.request("POST", path, body={"sysrq": digit})
        assert answer.status == 200, answer.body
        with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
            assert viewer.run("cat /proc/sys/kernel/printk").split()[0] == digit
            seen = len(daemon.events())
            viewer.socket.close()
        daemon.wait_for_event("line_closed", since=seen)


@contextmanager
def virsh_console(hypervisor: Hypervisor, guest: Guest, *more: str) -> Iterator[subprocess.Popen]:
    """An operator with ``virsh console``, who has the guest's first console."""
    ours, theirs = pty.openpty()
    words = ["virsh", "-c", hypervisor.libvirtd.uri, "console", guest.name, *more]
    running = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        said = b""
        while b"Escape character" not in said and running.poll() is None:
            said += os.read(ours, 4096)
        yield running
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def test_an_operator_with_virsh(hypervisor: Hypervisor, daemon: Daemon, guest: Guest) -> None:
    """Who meets one reads so, and an administrator may take the console with force."""
    url = daemon.ws_url(guest.uuid, 0, ADMIN_KEY)
    with virsh_console(hypervisor, guest) as operator:
        until(daemon, "it is seen", lambda: states(daemon, guest) == ["held_elsewhere", "free"])
        with connect(url, compression=None, subprotocols=[PAGE]) as socket:
            viewer = Viewer(socket)
            code, reason = viewer.closed()
        assert (code, reason) == (
            4409,
            "Somebody has this console open through libvirt (virsh console, for one).",
        )
        assert [told["force"] for told in viewer.told if told["type"] == "busy"] == [True]
        assert operator.poll() is None
        with Viewer.at(f"{url}&takeover=force") as viewer:
            # When virsh notices that it has lost the console is libvirt's own affair.
            assert viewer.run("echo mine $((40 + 2))") == "mine 42"


def test_an_operator_with_force(hypervisor: Hypervisor, daemon: Daemon, guest: Guest) -> None:
    """Somebody who takes the console by libvirt's own force ends the session, which says so."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        assert viewer.run("echo $((40 + 2))") == "42"
        with virsh_console(hypervisor, guest, "--force"):
            code, reason = viewer.closed()
    assert code == 1011
    assert reason.startswith("Somebody opened this console through libvirt with force")


def memory(pid: int) -> int:
    """KiB that a process has for itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_\w+: +(\d+) kB", text))


def test_a_flood_waits(daemon: Daemon, guest: Guest) -> None:
    """A guest that prints without end waits for whoever reads it: nobody's memory grows."""
    idle = (
        "p=$(pidof yes); while a=$(cut -d' ' -f14,15 /proc/$p/stat); sleep 1; "
        '[ "$a" != "$(cut -d\' \' -f14,15 /proc/$p/stat)" ]; do :; done; echo it waits'
    )
    with (
        Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer,
        Viewer.at(daemon.ws_url(guest.uuid, 1)) as other,
    ):
        before = {pid: memory(pid) for pid in [daemon.pid, *pumps(daemon)]}
        viewer.type("yes flooded\r")
        viewer.until(b"flooded")
        # From here on nothing is read and acknowledged.
        assert other.run(idle) == "it waits"
        grown = {pid: memory(pid) - was for pid, was in before.items()}
        assert max(grown.values()) < 2048, grown
        viewer.type("\x03")
        viewer.until(re.escape(PROMPT))
        assert viewer.run("echo still $((40 + 2))") == "still 42"


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_guest_that_takes_nothing(daemon: Daemon, guest: Guest) -> None:
    """Its console is left at once all the same, and opens when the guest goes on."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.run("true")
        seen = len(daemon.events())
        with frozen(guest.pid):
            viewer.socket.send(b"#" * 60000)
            answer = daemon.request("DELETE", f"/v1/sessions/{viewer.hello['session']}")
            assert answer.status == 202, answer.body
            assert viewer.closed()[0] == 4410
            daemon.wait_for_event("line_closed", since=seen)
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.type("\x15\r")
        viewer.shell()


def test_libvirtd_hangs(hypervisor: Hypervisor, daemon: Daemon, guest: Guest) -> None:
    """A hypervisor that does not answer holds its ptys up, not consoled; then they go on."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.run("true")
        refused = daemon.ws_url(guest.uuid, 1)
        with frozen(int((hypervisor.folder / "pid").read_text())):
            viewer.type("echo later $((40 + 2))\r")
            with connect(refused, compression=None, subprotocols=[PAGE]) as socket:
                assert Viewer(socket).closed()[0] == 1013
            assert daemon.request("GET", "/v1/recordings").status == 200
        viewer.until(b"later 42")


def test_libvirtd_is_killed(hypervisor: Hypervisor, daemon: Daemon, guest: Guest) -> None:
    """The session ends with the reason, and the console opens when libvirtd is back."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.run("true")
        seen = len(daemon.events())
        hypervisor.kill()
        code, reason = viewer.closed()
    assert code == 1011
    assert reason == "The connection to the hypervisor, which carries this console, is lost."
    hypervisor.again()
    daemon.wait_for_event("hypervisor_connected", since=seen)
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        assert viewer.run("echo back $((40 + 2))") == "back 42"


def test_the_program_is_killed(daemon: Daemon, guest: Guest) -> None:
    """Who is on a console goes on without it, and the next console has it started again."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as first:
        [program, carrier] = pumps(daemon)
        os.kill(program, signal.SIGKILL)
        with Viewer.at(daemon.ws_url(guest.uuid, 1)) as second:
            assert second.run("echo other $((40 + 2))") == "other 42"
            assert first.run("echo on $((40 + 2))") == "on 42"
            os.kill(carrier, signal.SIGKILL)
            code, reason = first.closed()
            assert (code, reason) == (
                1011,
                "The process that carried this console has ended. Connect again.",
            )
            assert second.run("echo still $((40 + 2))") == "still 42"


def test_the_guest_stops(hypervisor: Hypervisor, daemon: Daemon, guest: Guest) -> None:
    """Its sessions end with 4413, as over TCP; with the daemon ends the program."""
    with Viewer.at(daemon.ws_url(guest.uuid, 0)) as viewer:
        viewer.run("true")
        guest.destroy()
        assert viewer.closed() == (4413, "porter has stopped.")
    answer = daemon.request("POST", f"/v1/servers/{guest.uuid}/consoles/0/tokens")
    assert answer.status == 409, answer.body
    [program] = pumps(daemon)
    handle = os.pidfd_open(program)
    daemon.stop()
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)
