"""Waiting for a server's own word that it is ready (sd_notify(3))."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess


def wait_for_ready(
    ready: socket.socket,
    process: KeptProcess,
    name: str,
    timeout: float,
    advice: Callable[[], str] = lambda: "",
) -> None:
    """Returns when it says READY.

    :param ready: the socket that NOTIFY_SOCKET names.
    :param name: of the server, for people.
    :param timeout: in seconds.
    :param advice: what a start that failed most likely wants.
    :raises tools.lab.errors.LabError: it ended, or says nothing; with the end of its log.
    """
    deadline = time.monotonic() + timeout
    sources: list[socket.socket | int] = [ready, process.ended]
    while (left := deadline - time.monotonic()) > 0:
        heard, _, _ = select.select(sources, [], [], left)
        if ready in heard:
            if b"READY=1" in ready.recv(4096):
                return
        elif heard:
            raise LabError(
                f"{name} ended at its start; its log {process.log} ends with:\n"
                f"{process.tail()}{advice()}"
            )
    raise LabError(
        f"{name} was not ready after {timeout:.0f} s; its log is {process.log}:\n{process.tail()}"
    )
