"""Loads twistd and consoled once, and forks a daemon whenever it is asked for one.

``python -m tools.lab.forker DESCRIPTOR``: the descriptor is a socket of packets. Each request
is a keeper's order (see :mod:`tools.lab.keeper`) with its ``env`` and ``cwd``, and comes with
three descriptors: the keeper's lifeline, its output, and where it writes its exit status, a
byte. The answer is the keeper's process id, with a handle of it (pidfd). The end of the socket
is this process's end.

What is forked has loaded its modules and has done nothing else: no reactor, no thread, no
connection. Python and OpenSSL draw new random numbers after a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tools.lab import keeper

LOADED = (
    "twisted.scripts.twistd",
    "consoled.tap",
    "consoled.composition",
    "consoled.compute.libvirt.driver",
    "consoled.compute.static",
    "sqlalchemy.dialects.sqlite",
)
"""What every daemon would load."""


def main(descriptor: int) -> int:
    """Serves until the other end of the socket is closed."""
    for name in LOADED:
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules, "a reactor does not survive a fork"
    assert threading.active_count() == 1, "a thread does not survive a fork"
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as channel:
        while True:
            words, handles, _, _ = socket.recv_fds(channel, 1 << 20, 3)
            _collect()
            if not words:
                return 0
            pid = os.fork()
            if pid == 0:
                channel.close()
                return _keep(json.loads(words), *handles)
            ended = os.pidfd_open(pid)
            socket.send_fds(channel, [str(pid).encode()], [ended])
            for handle in (ended, *handles):
                os.close(handle)


def _collect() -> None:
    """Forgets those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _keep(order: dict[str, Any], lifeline: int, output: int, status: int) -> int:
    os.setsid()
    os.umask(0o077)
    for source, target in ((lifeline, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for handle in (lifeline, output):
        os.close(handle)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])

    def start() -> int:
        pid = os.fork()
        if pid == 0:
            os.close(status)
            _become_twistd(order["argv"])
        return pid

    code = keeper.keep(order, start)
    os.write(status, bytes([code & 0xFF]))
    os._exit(code & 0xFF)


def _become_twistd(argv: list[str]) -> None:
    """As the script of that name does; ends this process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in keeper.SIGNALS:
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv = argv
    sys.path.insert(0, str(Path.cwd()))
    from twisted.scripts.twistd import run

    run()
    # Its end is the interpreter's own: what waits for that, such as threads, is waited for.
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
