"""Virtual environments for what consoled's tests run and consoled never imports.

Each is made once and kept in ``~/.cache/consoled-tests``, outside of the checkout; the first
who asks makes it, which takes minutes, and others wait for that.
"""

from __future__ import annotations

import fcntl
import hashlib
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


def environment(name: str, requirements: Path) -> Path:
    """The folder of an environment in which exactly those packages are installed.

    :param name: of the folder; the digest of the requirements becomes a part of it.
    :param requirements: a file with all packages and their exact versions.
    :raises tools.lab.errors.LabError: something cannot be installed.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    python = f"py{sys.version_info[0]}.{sys.version_info[1]}"

    def install(home: Path) -> None:
        venv.create(home, with_pip=True)
        words = ["install", "-q", "--no-compile", "--no-deps", "--disable-pip-version-check"]
        run([home / "bin/python", "-m", "pip", *words, "-r", requirements])

    return made_once(KEPT / f"{name}-{digest}-{python}", install)


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, which the first who asks makes; others wait for that.

    :param make: fills it; called again by the next who asks where it has raised something.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "ready").touch()
    return folder


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
