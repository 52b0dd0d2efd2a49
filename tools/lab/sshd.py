"""Real OpenSSH servers on free loopback ports, each with its own keys and settings."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from attrs import frozen

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.ports import free_ports
from tools.lab.started import Started

DEADLINE = 60.0
"""Seconds for a start."""

STEP = 0.02
"""Seconds between two looks whether it listens."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

_SETTINGS = {
    "AllowTcpForwarding": "yes",
    "KbdInteractiveAuthentication": "no",
    "LogLevel": "VERBOSE",
    "MaxStartups": "100",
    "PasswordAuthentication": "no",
    "PermitRootLogin": "yes",
    "StrictModes": "no",
    "UsePAM": "no",
}


def program(name: str) -> str:
    """The path of one of OpenSSH's programs.

    :raises tools.lab.errors.LabError: it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise LabError(f"{name} is not installed: run apt-get install openssh-server")
    return found


@frozen
class SshKey:
    """A pair of keys in files.

    :ivar path: the private one; beside it is ``.pub``.
    """

    path: Path

    @property
    def public(self) -> str:
        """The public line."""
        return self.path.with_name(f"{self.path.name}.pub").read_text().strip()

    @property
    def text(self) -> bytes:
        """The private key."""
        return self.path.read_bytes()


def make_key(
    folder: Path, name: str, kind: str = "ed25519", passphrase: str = "", bits: int | None = None
) -> SshKey:
    """A new pair of keys.

    :param kind: ``ed25519``, ``ecdsa`` or ``rsa``.
    """
    path = folder / name
    size = [] if bits is None else ["-b", str(bits)]
    argv = [program("ssh-keygen"), "-q", "-t", kind, *size, "-N", passphrase, "-C", name]
    subprocess.run([*argv, "-f", str(path)], check=True, stdin=subprocess.DEVNULL)
    return SshKey(path)


def certify(authority: SshKey, key: SshKey, user: str) -> str:
    """A user certificate beside the key; its line."""
    argv = [program("ssh-keygen"), "-q", "-s", str(authority.path), "-I", "lab", "-n", user]
    subprocess.run([*argv, f"{key.path}.pub"], check=True)
    return key.path.with_name(f"{key.path.name}-cert.pub").read_text()


class Sshd(Started):
    """Debian's sshd, from :meth:`start` to :meth:`stop`.

    It lets in the user that runs it, with any of the keys.

    :param folder: for its host keys, configuration and log.
    :param keys: the public lines that it lets in.
    :param settings: what differs from the lab's defaults; None takes one away.
    :param host_keys: the kinds of its host keys.
    :param address: where it listens.
    :param port: where it listens; 0 is a free one.
    :param inside: a prefix such as ``ip netns exec NAME``, for all of it.
    """

    def __init__(
        self,
        folder: Path,
        keys: Iterable[str],
        settings: Mapping[str, str] | None = None,
        *,
        host_keys: Sequence[str] = ("ed25519",),
        address: str = "127.0.0.1",
        port: int = 0,
        inside: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.address = folder, address
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.log = folder / "sshd.log"
        self.port = port or free_ports(1)[0]
        self._inside = inside
        self.host_keys = [make_key(folder, f"host_{kind}", kind) for kind in host_keys]
        (folder / "authorized_keys").write_text("".join(f"{line}\n" for line in keys))
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: KeptProcess | None = None

    @property
    def known_lines(self) -> str:
        """Its host keys, as lines to accept."""
        return "\n".join(key.public for key in self.host_keys)

    def start(self) -> Self:
        """Starts it and waits until it listens.

        :raises tools.lab.errors.LabError: it is not installed, or does not start.
        """
        if os.geteuid() == 0:
            # Where it lets go of its rights before a login; Debian makes it at boot.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        lines = [f"{name} {value}" for name, value in self._settings.items() if value]
        lines += [f"HostKey {key.path}" for key in self.host_keys]
        lines += [f"AuthorizedKeysFile {self.folder}/authorized_keys"]
        lines += [f"PidFile {self.folder}/pid", f"Port {self.port}"]
        lines += [f"ListenAddress {self.address}"]
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{line}\n" for line in lines))
        self._process = KeptProcess(
            [*self._inside, program("sshd"), "-D", "-e", "-f", str(config)], self.log
        )
        deadline = time.monotonic() + DEADLINE
        while not self._listens():
            ended, _, _ = select.select([self._process.ended], [], [], STEP)
            if ended or time.monotonic() > deadline:
                tail = self._process.tail()
                self.stop()
                raise LabError(f"sshd did not start; its log ends with:\n{tail}")
        return self

    def stop(self) -> None:
        """Ends it, and the connections that it has."""
        if self._process is not None:
            self.thaw()
            self._process.stop()
            self._process = None

    def count(self, words: str) -> int:
        """How many lines of its log hold these words."""
        return sum(words in line for line in self.log.read_text(errors="replace").splitlines())

    def freeze(self) -> None:
        """Stops it and all its connections, as a machine that hangs (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on after :meth:`freeze`."""
        self._signal(signal.SIGCONT)

    def sessions(self) -> list[int]:
        """The process ids of its connections and their commands."""
        return _offspring(self._pid())[1:] if self._pid() else []

    def _pid(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "pid").read_text())
        return 0

    def _signal(self, number: int) -> None:
        pid = self._pid()
        for each in _offspring(pid) if pid else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def _listens(self) -> bool:
        if self._inside:
            # Not reachable from here: it writes its number after it listens.
            return bool(self._pid())
        try:
            socket.create_connection((self.address, self.port), timeout=5).close()
        except OSError:
            return False
        return True


def _offspring(pid: int) -> list[int]:
    """A process and all that came of it, the process first."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found
