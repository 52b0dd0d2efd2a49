"""The laboratory itself: private libvirt daemons, guests, and their ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest

from tools.lab.environments import made_once
from tools.lab.errors import LabError
from tools.lab.guest import Guest
from tools.lab.image import Image, file_system
from tools.lab.kept import KeptProcess
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.port_file import wait_for_port

ROOT = Path(__file__).resolve().parents[2]


def running(pid: int) -> bool:
    """Whether a process of this id runs (one that ended and was not collected does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("index", [0, 1])
def test_shell_on_each_serial_port(guest: Guest, index: int) -> None:
    """The guest's shell answers over plain TCP on both serial ports, each its own tty."""
    with guest.serial(index) as line:
        assert line.run("uname -n; tty") == f"guest-1\n/dev/ttyS{index}"
        assert line.run("uname -a").startswith("Linux guest-1 ")


def test_interrupt_key(guest: Guest) -> None:
    """Ctrl-C ends a command in the guest: the shell has a controlling terminal."""
    with guest.serial(0) as line:
        line.wait_for_shell()
        line.send(b"cat > /dev/null\r")
        line.read_until(rb"null\r\n")
        line.send(b"\x03")
        line.read_until(rb"\^C")
        assert line.run("echo alive") == "alive"


def test_live_xml_names_the_ports(guest: Guest) -> None:
    """The running domain's XML has what the libvirt driver looks for."""
    connection = libvirt.open(guest.libvirtd.uri)
    try:
        live = connection.lookupByUUIDString(guest.uuid).XMLDesc(0)
    finally:
        connection.close()
    for port in guest.serial_ports:
        assert f"service='{port}'" in live
    assert "nova:project" in live


def test_another_daemon_beside(guest: Guest, short_folder: Path, guest_image: Image) -> None:
    """A second daemon with a domain of the same name knows nothing of the first one's."""
    with (
        PrivateLibvirtd(short_folder, "second") as second,
        Guest(second, guest_image, guest.name) as other,
    ):
        connection = libvirt.open(second.uri)
        try:
            assert [domain.UUIDString() for domain in connection.listAllDomains()] == [other.uuid]
        finally:
            connection.close()
        assert other.pid != guest.pid
        assert running(guest.pid)


def test_stop_leaves_no_process(short_folder: Path, guest_image: Image) -> None:
    """Stopping the daemon ends its guests, too."""
    daemon = PrivateLibvirtd(short_folder).start()
    try:
        guest = Guest(daemon, guest_image).start()
        pids = [daemon.process.pid, guest.pid]
        assert all(running(pid) for pid in pids)
    finally:
        daemon.stop()
    assert not any(running(pid) for pid in pids)


PARENT = """
import sys, time
from pathlib import Path
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
daemon = PrivateLibvirtd(Path(sys.argv[1])).start()
guest = Guest(daemon, Image(Path(sys.argv[2]), Path(sys.argv[3]))).start()
print(daemon.process.pid, guest.pid, flush=True)
sys.stdin.read()
"""


def test_killed_parent_leaves_no_process(short_folder: Path, guest_image: Image) -> None:
    """When whoever started it is killed outright, daemon and guest end all the same."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, short_folder, guest_image.kernel, guest_image.initrd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        handles = [os.pidfd_open(pid) for pid in pids]
        parent.send_signal(signal.SIGKILL)
    for handle in handles:
        wait_for_end(handle)


def wait_for_end(handle: int, timeout: float = 60.0) -> None:
    """Returns when the process behind a pidfd has ended."""
    with os.fdopen(handle, "rb", buffering=0) as held:
        assert select.select([held], [], [], timeout)[0], "a process outlived its parent"


def test_kept_process_reports_its_end(tmp_path: Path) -> None:
    """The exit status is the command's own, and its log keeps what it said."""
    with KeptProcess(["sh", "-c", "echo goodbye; exit 7"], tmp_path / "log") as process:
        wait_for_end(os.dup(process.ended))
        assert process.poll() == 7
        assert process.tail() == "goodbye"


def test_kept_process_that_ignores_the_request(tmp_path: Path) -> None:
    """What ignores SIGTERM is killed after the grace, a background process of it too."""
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {fifo}; exec sleep 600"
    process = KeptProcess(["sh", "-c", script], tmp_path / "log", grace=0.1)
    pids = [int(word) for word in fifo.read_text().split()]
    assert process.stop() == 128 + signal.SIGKILL
    assert not any(running(pid) for pid in pids)


def test_too_long_a_folder(tmp_path: Path) -> None:
    """A folder whose socket path would not fit is refused with advice."""
    with pytest.raises(LabError, match="too long a path for sockets"):
        PrivateLibvirtd(tmp_path / ("x" * 100)).start()


def test_daemon_that_cannot_start(short_folder: Path) -> None:
    """A daemon that ends at its start is an error that says so, with the end of its log."""
    daemon = PrivateLibvirtd(short_folder, "broken")
    (daemon.socket_path / "in the way").mkdir(parents=True)
    with pytest.raises(LabError, match=r"(?s)'broken' ended at its start.*libvirt-sock"):
        daemon.start()


def test_image_is_the_same_each_time() -> None:
    """The first file system is a function of its inputs alone."""
    assert file_system(b"program") == file_system(b"program")


def test_a_server_that_ends_at_once(tmp_path: Path) -> None:
    """Whoever waits for its port gets the end of its log, and waits no longer."""
    process = KeptProcess(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")
    with pytest.raises(LabError, match=r"(?s)memcached did not start.*out of luck"):
        wait_for_port(tmp_path / "port", process, "memcached")


def test_made_once(tmp_path: Path) -> None:
    """Two who ask at the same time get the same folder, and one of them makes it."""
    makers = []

    def make(folder: Path) -> None:
        folder.mkdir()
        makers.append(folder)

    with ThreadPoolExecutor(2) as threads:
        found = {*threads.map(lambda _: made_once(tmp_path / "kept", make), range(2))}
    assert found == {tmp_path / "kept"}
    assert len(makers) == 1


def test_made_again_after_a_failure(tmp_path: Path) -> None:
    """What could not be made is made anew by the next who asks, from nothing."""

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise LabError("the network is away")

    with pytest.raises(LabError):
        made_once(tmp_path / "kept", fail)
    made_once(tmp_path / "kept", Path.mkdir)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["ready"]
