"""A real memcached on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Self

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.port_file import wait_for_port
from tools.lab.started import Started


class Memcached(Started):
    """Debian's memcached, from :meth:`start` to :meth:`stop`; what it held is gone then.

    :param folder: for its log and the file with its port.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: KeptProcess | None = None

    @property
    def server(self) -> str:
        """The value for ``[cache] memcache_servers``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Starts it, on its earlier port where it had one, and waits until it listens.

        :raises tools.lab.errors.LabError: it cannot start; the text says why.
        """
        program = shutil.which("memcached", path=f"{os.environ.get('PATH', '')}:/usr/bin")
        if program is None:
            raise LabError("memcached is not installed: run apt-get install memcached")
        told = self.folder / "memcached.port"
        told.unlink(missing_ok=True)
        # -1: a free port of its own choice, which it writes into that file.
        port = ["-p", str(self.port or -1), "-U", "0", "-l", "127.0.0.1"]
        user = pwd.getpwuid(os.geteuid()).pw_name
        self._process = KeptProcess(
            [program, *port, "-u", user, "-m", "8", "-t", "1"],
            self.folder / "memcached.log",
            env={**os.environ, "MEMCACHED_PORT_FILENAME": str(told)},
        )
        # A line for each socket: "TCP INET: 12345".
        self.port = wait_for_port(told, self._process, "memcached")
        return self

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.stop()
            self._process = None
