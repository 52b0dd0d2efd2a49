"""A real HAProxy in front of several daemons, each connection to the next one."""

from __future__ import annotations

import os
import select
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.ports import free_ports
from tools.lab.started import Started

DEADLINE = 60.0
"""Seconds for a start."""

STEP = 0.02
"""Seconds between two looks whether it listens."""

_CONFIG = """\
global
 maxconn 1000
 nbthread 1
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 timeout tunnel 10m
"""


class HAProxy(Started):
    """Debian's HAProxy: round robin, without any stickiness.

    :param folder: for its configuration and log.
    :param services: a name, and the ports on loopback behind it.
    """

    def __init__(self, folder: Path, services: dict[str, Sequence[int]]) -> None:
        self.folder = folder
        self._services = services
        self.ports = dict(zip(services, free_ports(len(services)), strict=True))
        self._process: KeptProcess | None = None

    def start(self) -> Self:
        """Starts it and waits until it listens.

        :raises tools.lab.errors.LabError: it is not installed, or does not start.
        """
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise LabError("HAProxy is not installed: run apt-get install haproxy")
        text = _CONFIG
        for name, ports in self._services.items():
            text += f"listen {name}\n bind 127.0.0.1:{self.ports[name]}\n balance roundrobin\n"
            for port in ports:
                text += f" server s{port} 127.0.0.1:{port}\n"
        config = self.folder / "haproxy.cfg"
        config.write_text(text)
        self._process = KeptProcess(
            [program, "-db", "-f", str(config)], self.folder / "haproxy.log"
        )
        deadline = time.monotonic() + DEADLINE
        while not all(map(_listens, self.ports.values())):
            ended, _, _ = select.select([self._process.ended], [], [], STEP)
            if ended or time.monotonic() > deadline:
                tail = self._process.tail()
                self.stop()
                raise LabError(f"HAProxy did not start; its log ends with:\n{tail}")
        return self

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.stop()
            self._process = None


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
