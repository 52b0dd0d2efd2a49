"""Servers that listen on a port of their own choice and write it into a file."""

from __future__ import annotations

import select
import time
from pathlib import Path

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess

STEP = 0.02
"""Seconds between two looks for the file."""

DEADLINE = 90.0
"""Seconds for a start; they take some, and all cores may be busy with other tests."""


def wait_for_port(told: Path, process: KeptProcess, name: str) -> int:
    """The port that a server told; it is the last number of the file.

    :param told: the file; the server renames it into place when it listens.
    :param name: of the server, for the message.
    :raises tools.lab.errors.LabError: it ended, or told none in time; then it is stopped.
    """
    deadline = time.monotonic() + DEADLINE
    while not told.exists():
        ended, _, _ = select.select([process.ended], [], [], STEP)
        if ended or time.monotonic() > deadline:
            tail = process.tail()
            process.stop()
            raise LabError(f"{name} did not start; its log ends with:\n{tail}")
    return int(told.read_text().rpartition(":")[2])
