"""Virtual environments for what consoled's tests run and consoled never imports.

Each is made once and kept in ``~/.cache/consoled-tests``, outside of the checkout; the first
who asks makes it, which takes minutes, and others wait for that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.lab.errors import LabError

KEPT = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "consoled-tests"


def environment(
    name: str, packages: Sequence[str], prepare: Callable[[Path], None] = lambda home: None
) -> Path:
    """The folder of an environment in which the packages are installed.

    :param name: of the folder, with whatever makes it another one: versions, say.
    :param prepare: makes, in that folder, what else is kept.
    :raises tools.lab.errors.LabError: something cannot be installed or prepared.
    """
    home = KEPT / f"{name}-py{sys.version_info[0]}.{sys.version_info[1]}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            run([home / "bin/python", "-m", "pip", "install", "-q", "--no-compile", *packages])
            prepare(home)
            (home / "ready").touch()
    return home


def run(argv: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command of an environment.

    :raises tools.lab.errors.LabError: it fails; the text has the end of what it said.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise LabError(f"{' '.join(words)} failed with {done.returncode}:\n{tail}")
    return done


def clean_environment(**further: str) -> dict[str, str]:
    """Our environment variables without those of our own Python, and further ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | further
