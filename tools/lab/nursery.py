"""Daemons without the wait for their imports; see :mod:`tools.lab.forker`."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Self

from tools.lab.errors import LabError
from tools.lab.started import Started

ROOT = Path(__file__).resolve().parents[2]


class ForkedKeeper:
    """A keeper that was forked, with the part of ``subprocess.Popen`` that is asked of one.

    :ivar ended: becomes readable when it has ended.
    """

    def __init__(self, pid: int, ended: int, lifeline: int, status: int) -> None:
        self.pid, self.ended = pid, ended
        self.stdin = FileIO(lifeline, "w")
        self._status = status
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self._code is None and select.select([self.ended], [], [], 0)[0]:
            said = os.read(self._status, 1)
            self._code = said[0] if said else 128
            os.close(self._status)
            os.close(self.ended)
        return self._code

    def wait(self) -> int:
        """The exit status, as soon as there is one."""
        if self._code is None:
            select.select([self.ended], [], [])
        code = self.poll()
        assert code is not None
        return code


class Nursery(Started):
    """A process that has loaded twistd and consoled, and forks daemons from then on.

    It begins with the first of them, and ends with this process; the daemons have their own
    lifelines.

    :param log: the file that gets what it has to complain of.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it when the first daemon is needed."""
        return self

    def _begin(self) -> socket.socket:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.lab.forker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                start_new_session=True,
            )
        return self._channel

    def stop(self) -> None:
        """Ends it; the daemons go on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def keep(
        self, order: Mapping[str, Any], output: int, env: Mapping[str, str] | None, cwd: Path | None
    ) -> ForkedKeeper:
        """A keeper that runs twistd with these words, forked.

        :param order: what :mod:`tools.lab.keeper` is told.
        :param output: the file descriptor of its log.
        :raises tools.lab.errors.LabError: the nursery has ended, with the end of its log.
        """
        channel = self._channel or self._begin()
        surroundings = {"env": dict(os.environ if env is None else env), "cwd": str(cwd or ROOT)}
        lifeline, held = os.pipe()
        said, status = os.pipe()
        try:
            words = json.dumps({**order, **surroundings}).encode()
            socket.send_fds(channel, [words], [lifeline, output, status])
            answer, handles, _, _ = socket.recv_fds(channel, 64, 1)
        except OSError:
            answer, handles = b"", []
        finally:
            os.close(lifeline)
            os.close(status)
        if not handles:
            os.close(held)
            os.close(said)
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(f"the process that forks daemons has ended:\n{tail}")
        return ForkedKeeper(int(answer), handles[0], held, said)
