"""Child processes that never outlive us; see :mod:`tools.lab.keeper`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.lab.nursery import ForkedKeeper, Nursery

KEEPER = Path(__file__).with_name("keeper.py")


class KeptProcess:
    """A command under a keeper; it and all its offspring end with this process.

    It runs in a session of its own: a Ctrl-C at the terminal does not reach it.
    What it writes is for its user alone (umask 077).

    :param argv: the command.
    :param log: the file that gets its output and errors, appended.
    :param env: its environment; ours by default.
    :param inside: a prefix such as ``unshare --mount``, for the keeper too.
    :param grace: seconds from the request to end to SIGKILL, in stop().
    :param binds: bind mounts (source, target, read-only) to make first, in that namespace.
    :param nursery: what forks it, where the command is this environment's twistd.
    :ivar ended: a file descriptor that becomes readable when the command has ended.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        grace: float = 5.0,
        inside: Sequence[str] = (),
        binds: Sequence[tuple[Path, Path, bool]] = (),
        nursery: Nursery | None = None,
    ) -> None:
        self.log = log
        self._keeper: subprocess.Popen[bytes] | ForkedKeeper
        order = {
            "grace": grace,
            "argv": [str(word) for word in argv],
            "binds": [[str(source), str(target), fixed] for source, target, fixed in binds],
        }
        with log.open("ab") as output:
            if nursery is not None:
                self._keeper = nursery.keep(order, output.fileno(), env, cwd)
                self.ended = os.dup(self._keeper.ended)
                return
            self._keeper = subprocess.Popen(
                [*inside, sys.executable, "-I", "-S", str(KEEPER), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                start_new_session=True,
                umask=0o077,
            )
        self.ended = os.pidfd_open(self._keeper.pid)

    @property
    def pid(self) -> int:
        """The keeper's process id, for as long as anything of the command runs."""
        return self._keeper.pid

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._keeper.poll()

    def tail(self, lines: int = 15) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self) -> int:
        """Cuts the lifeline and waits until everything has ended (twice the grace at most)."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            self._keeper.stdin.close()
            self._keeper.wait()
            os.close(self.ended)
        return self._keeper.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
