"""A private libvirt daemon: own configuration, own state, own socket.

Several of them live side by side on one machine, beside the machine's own one.
As root it is a system daemon in a mount namespace where its folder stands over
``/etc/libvirt``, ``/run`` and the others; as an ordinary user a session daemon
whose XDG folders lie in its folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Self

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.notice import wait_for_ready
from tools.lab.started import Started

SOCKET_PATH_LIMIT = 107
"""The longest path of a Unix socket, in bytes (unix(7))."""

START_TIMEOUT = 120.0
"""Seconds; the first start on a machine asks QEMU for its capabilities."""

LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_level = 3
log_outputs = "3:stderr"
"""

QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
"""

QEMU_CONF_ROOT = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""


class PrivateLibvirtd(Started):
    """A libvirt daemon of our own, from :meth:`start` to :meth:`stop`.

    :param folder: its own folder; short, as Unix sockets lie in it.
    :param name: a word for logs and messages.
    :param log: where it logs; ``libvirtd.log`` in the folder by default.
    :param qemu_conf: lines added to ``qemu.conf``.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "lab",
        *,
        log: Path | None = None,
        qemu_conf: str = "",
    ) -> None:
        self.folder = folder
        self.name = name
        self.log = log or folder / "libvirtd.log"
        self.privileged = os.geteuid() == 0
        self._qemu_conf = qemu_conf
        self._process: KeptProcess | None = None

    @property
    def socket_path(self) -> Path:
        """The Unix socket that clients connect to."""
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """The connection URI for ``[libvirt] uri``, virsh and libvirt.open()."""
        kind = "system" if self.privileged else "session"
        return f"qemu+unix:///{kind}?socket={self.socket_path}"

    @property
    def process(self) -> KeptProcess:
        """The running daemon.

        :raises LabError: before start() or after stop().
        """
        if self._process is None:
            raise LabError(f"libvirtd {self.name!r} is not running: start() it first")
        return self._process

    def start(self) -> Self:
        """Starts the daemon and waits until it serves.

        :raises LabError: when it cannot, with the end of its log.
        """
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_LIMIT:
            raise LabError(f"{self.folder}: too long a path for sockets; use a folder in /tmp")
        program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise LabError("libvirtd is not installed: run apt-get install libvirt-daemon-system")
        self._lay_out()
        notices = self.folder / "notify"
        notices.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(os.fspath(notices))
            environment = {**os.environ, "NOTIFY_SOCKET": str(notices)}
            if self.privileged:
                self._process = KeptProcess(
                    [program],
                    self.log,
                    env=environment,
                    inside=("unshare", "--mount", "--propagation", "private"),
                    binds=self._binds(),
                )
            else:
                self._process = KeptProcess([program], self.log, env=environment | self._xdg())
            try:
                wait_for_ready(
                    ready, self.process, f"libvirtd {self.name!r}", START_TIMEOUT, self._advice
                )
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Ends the daemon and all its guests, and waits for that."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def guest_pid(self, domain: str) -> int:
        """The process id of a running domain's QEMU.

        :raises LabError: when no such domain runs.
        """
        for path in (self.folder / "run/libvirt").glob(f"qemu/**/{domain}.pid"):
            return int(path.read_text())
        raise LabError(f"no QEMU runs for the domain {domain!r} in libvirtd {self.name!r}")

    def _lay_out(self) -> None:
        """Makes the folders and configuration files."""
        for part in ("etc/libvirt", "run/libvirt", "run/lock", "lib", "cache", "log"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "no-kvm").touch()
        (self.folder / "run").chmod(0o700 if not self.privileged else 0o755)
        etc = self.folder / "etc/libvirt"
        (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=uuid.uuid4()))
        own = QEMU_CONF + (QEMU_CONF_ROOT if self.privileged else "")
        (etc / "qemu.conf").write_text(own + self._qemu_conf)

    def _binds(self) -> list[tuple[Path, Path, bool]]:
        """The bind mounts of a system daemon.

        The whole of /run is ours: no D-Bus there, so nothing of the machine's
        system is asked. A /dev/kvm that exists and does not work costs 50 s a
        domain; a plain file on a read-only mount is the one thing there that
        libvirt sees to be of no use at once (access(2) says so to root too).
        The guests are of type qemu anyway.
        """
        places = {
            "etc/libvirt": "/etc/libvirt",
            "lib": "/var/lib/libvirt",
            "cache": "/var/cache/libvirt",
            "log": "/var/log/libvirt",
            "run": "/run",
        }
        binds = [(self.folder / ours, Path(theirs), False) for ours, theirs in places.items()]
        if Path("/dev/kvm").exists():
            binds.append((self.folder / "no-kvm", Path("/dev/kvm"), True))
        return binds

    def _xdg(self) -> dict[str, str]:
        """The environment of a session daemon, which keeps everything in these."""
        return {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "etc"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_DATA_HOME": str(self.folder / "lib"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def _advice(self) -> str:
        """What a failed start most likely wants."""
        if not self.privileged:
            return ""
        probe = subprocess.run(
            ["unshare", "--mount", "true"], capture_output=True, text=True, check=False
        )
        if probe.returncode == 0:
            return ""
        return (
            "\nA private libvirtd wants a mount namespace, and this root may not make one "
            f"({probe.stderr.strip()}): run it as an ordinary user, or give the container "
            "CAP_SYS_ADMIN."
        )
