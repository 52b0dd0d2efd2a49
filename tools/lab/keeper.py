"""Runs one command, and ends all that it started when the lifeline is cut.

``python3 -I keeper.py '{"argv": [...], "binds": [[source, target, read_only], ...],
"grace": 5.0}'``

The lifeline is standard input: whoever started the keeper holds its other
end, so the keeper learns of that process's end however it comes, SIGKILL
included. Daemons that the command put into the background become children of
the keeper (a subreaper), and are ended with it. ``binds`` are bind mounts, made
first; they want a mount namespace of the keeper's own (``unshare --mount``).
``grace`` is the number of seconds between the request to end and SIGKILL.

Exit status: the command's own, or 128 + the number of the signal that ended it.
Standard library only, and no import of the package: it starts in 30 ms.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PR_SET_CHILD_SUBREAPER = 36

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What wakes it."""


def main(spec: str) -> int:
    """Keeps the command of ``spec`` (JSON) until it or the lifeline ends."""
    order = json.loads(spec)
    # Held until the end: one that is let go collects its process, whose status is then lost.
    held = []

    def start() -> int:
        null = subprocess.DEVNULL
        held.append(subprocess.Popen(order["argv"], stdin=null, start_new_session=True))
        return held[0].pid

    return keep(order, start)


def keep(order: dict[str, Any], start: Callable[[], int]) -> int:
    """Keeps a command until it or the lifeline ends.

    :param start: starts it; its process id.
    :returns: the exit status.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    wake = _wake_on(*SIGNALS)
    for source, target, read_only in order["binds"]:
        subprocess.run(["mount", "--bind", source, target], check=True)
        if read_only:
            subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
    command = start()

    status = None
    while status is None:
        ready, _, _ = select.select([0, wake], [], [])
        if 0 in ready and not os.read(0, 1024):
            break
        if wake in ready and set(os.read(wake, 1024)) - {signal.SIGCHLD}:
            break
        status = _reap(command)
    if status is None:
        status = _end(command, wake, order["grace"])
    _end_the_rest(wake, order["grace"])
    return status


def _wake_on(*signals: int) -> int:
    """A file descriptor that gets a byte, its number, for each of these signals."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _reap(pid: int) -> int | None:
    """Collects all ended children; the exit status of ``pid`` if it is among them."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _end(pid: int, wake: int, grace: float) -> int:
    """Ends the command: a request, and SIGKILL after the grace."""
    number = signal.SIGTERM
    while True:
        os.kill(pid, number)
        deadline = time.monotonic() + grace
        while (left := deadline - time.monotonic()) > 0:
            if (status := _reap(pid)) is not None:
                return status
            if select.select([wake], [], [], left)[0]:
                os.read(wake, 1024)
        number = signal.SIGKILL


def _end_the_rest(wake: int, grace: float) -> None:
    """Ends what the command left behind; all of it is our children's by now."""
    number, deadline = signal.SIGTERM, time.monotonic() + grace
    while children := _children():
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        for child in children:
            os.kill(child, number)
        if select.select([wake], [], [], 0.2)[0]:
            os.read(wake, 1024)
        _reap(0)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as listing:  # noqa: PTH123
        return [int(word) for word in listing.read().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
