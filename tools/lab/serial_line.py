"""A blocking client of a serial port over plain TCP, for scripts and tests."""

from __future__ import annotations

import re
import socket
import time
from types import TracebackType
from typing import Self

PROMPT = b"# "
"""What the guest's shell prints when it waits for a command."""

CURSOR_QUERY = b"\x1b[6n"
"""Busybox asks the terminal where its cursor is, after each prompt."""


class SerialLine:
    """One connection to a guest's serial port, and all that came over it.

    :param timeout: seconds that each wait may last.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._unread = b""
        self._shell_waits = False

    def send(self, data: bytes) -> None:
        """Types ``data``."""
        self._socket.sendall(data)

    def read_until(self, pattern: bytes) -> bytes:
        """All output up to and with the first match of a regular expression.

        :raises TimeoutError: when it does not come, with what did come.
        """
        deadline = time.monotonic() + self._timeout
        while (match := re.search(pattern, self._unread)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {pattern!r} on the serial port, only {self._unread!r}")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise ConnectionError(f"the serial port was closed after {self._unread!r}")
            self._unread += data.replace(CURSOR_QUERY, b"")
        found, self._unread = self._unread[: match.end()], self._unread[match.end() :]
        return found

    def wait_for_shell(self) -> None:
        """Returns when the shell waits for a command.

        A port that was opened late has missed the prompt, so Return is pressed
        for another one.
        """
        self.send(b"\r")
        self.read_until(re.escape(PROMPT))
        self._shell_waits = True

    def run(self, command: str) -> str:
        """The output of a shell command, without the echo of what was typed."""
        if not self._shell_waits:
            self.wait_for_shell()
        # The shell computes the marks, so the echo of this line does not hold them.
        mark = time.monotonic_ns()
        self.send(f"echo begin-$(({mark}+1)); {command}; echo end-$(({mark}+1))\r".encode())
        self.read_until(b"begin-%d\r\n" % (mark + 1))
        output = self.read_until(b"end-%d\r\n" % (mark + 1))
        return output.rpartition(b"end-")[0].replace(b"\r\n", b"\n").decode().strip()

    def close(self) -> None:
        """Hangs up; the next client in the queue gets the port."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
