"""The processes of a run: the backend, the clients, and what the subjects' ones hold."""

from __future__ import annotations

import contextlib
import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from bench.errors import BenchError

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90.0
"""Seconds for any answer of the backend or a client; each has shorter limits of its own."""


class Partner:
    """A Python module of ours in a process that reads lines and answers with lines.

    It ends when its input does, so it does not outlive us.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # Ctrl-C is ours to handle; the process ends with its input.
            start_new_session=True,
        )

    def tell(self, line: str) -> None:
        """Sends it a line.

        :raises bench.errors.BenchError: it has ended.
        """
        stream = self._stream(self._process.stdin)
        try:
            stream.write(f"{line}\n".encode())
            stream.flush()
        except BrokenPipeError:
            raise BenchError(f"{self._name} ended with status {self._process.wait()}") from None

    def hear(self) -> str:
        """Its next line.

        :raises bench.errors.BenchError: it ended, or said nothing for too long.
        """
        stream = self._stream(self._process.stdout)
        if not select.select([stream], [], [], PATIENCE)[0]:
            raise BenchError(f"{self._name} did not answer for {PATIENCE:.0f} s")
        line = stream.readline()
        if not line:
            raise BenchError(f"{self._name} ended with status {self._process.wait()}")
        return line.decode().strip()

    def end(self) -> None:
        """Ends its input, and waits until it has ended.

        :raises bench.errors.BenchError: it had to be killed.
        """
        with contextlib.suppress(BrokenPipeError):
            self._stream(self._process.stdin).close()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self._name} did not end within {PATIENCE:.0f} s") from None
        finally:
            self._process.kill()
            self._process.wait()
            self._stream(self._process.stdout).close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


class Backend(Partner):
    """The consoles of :mod:`bench.backend`; ``ports`` has their ports by kind."""

    def __init__(self, **counts: int) -> None:
        super().__init__("bench.backend", json.dumps(counts))
        self.ports: dict[str, list[int]] = json.loads(self.hear())

    def drain(self) -> None:
        """Waits until no relay holds a connection to a console any more."""
        self.tell("drain")
        self.hear()


class Client(Partner):
    """One order to :mod:`bench.client`, under way."""

    def __init__(self, **order: Any) -> None:
        super().__init__("bench.client")
        self.tell(json.dumps(order))

    def result(self) -> dict[str, Any]:
        """What came of the order.

        :raises bench.errors.BenchError: why nothing came of it.
        """
        answer: dict[str, Any] = json.loads(self.hear())
        if "error" in answer:
            raise BenchError(str(answer["error"]))
        return answer


def ask(**order: Any) -> dict[str, Any]:
    """Carries out one order in a new client."""
    with Client(**order) as client:
        return client.result()


def memory(root: int) -> int:
    """The anonymous memory of all descendants of a process, in bytes.

    ``Pss_Anon`` counts a page that forked processes still share once, whoever
    holds it; mapped files (the interpreter, libraries) do not grow with
    sessions and are left out.

    :param root: a process id, whose own memory is not counted.
    """
    return sum(_anonymous(pid) for pid in _descendants(root))


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from _descendants(child)


def _anonymous(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # It has ended since.
    found = re.search(r"^Pss_Anon:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise BenchError("the kernel does not tell Pss_Anon: memory needs Linux 5.10 or newer")
    return int(found[1]) * 1024
