"""Writes the lock files: the newest versions that fit, exact, for every Python.

``python3 tools/lock.py``; it makes a small virtual environment for the resolver.
``requirements/test.txt`` is of consoled's own requirements and ``test.in``,
``requirements/bench.txt`` of what ``bench.in`` adds to that. ``requirements/openstack.txt`` is
of ``openstack.in``, for an environment by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".build/lock"
FOLDER = ROOT / "requirements"
PLAIN = ("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")


def main() -> None:
    """Resolves anew and replaces the lock files."""
    environment = make_resolver()
    own = resolve(environment, "pyproject.toml", "requirements/test.in")
    write("test.txt", "Exact versions of everything that is installed into .venv", own)
    peers = resolve(environment, "requirements/bench.in", "-c", "requirements/test.txt")
    further = [line for line in peers if line not in own]
    write("bench.txt", "Exact versions of what bench.in adds to test.txt", further)
    cloud = resolve(environment, "requirements/openstack.in")
    write(
        "openstack.txt",
        "Exact versions of OpenStack's own services and clients (openstack.in)",
        cloud,
    )


def make_resolver() -> dict[str, str]:
    """Installs uv for itself; the environment to run it in, with pip's package index."""
    pip = PLACE / "bin/pip"
    if not pip.exists():
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
    subprocess.run([pip, "install", "-q", "--upgrade", "uv"], check=True)
    index = subprocess.run(
        [pip, "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {**os.environ, "UV_DEFAULT_INDEX": index} if index else dict(os.environ)


def resolve(environment: dict[str, str], *inputs: str) -> list[str]:
    """The exact requirements that satisfy ``inputs`` on Python 3.11 and later."""
    uv = (PLACE / "bin/uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11")
    return subprocess.run(
        [*uv, *PLAIN, *inputs],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()


def write(name: str, title: str, lines: list[str]) -> None:
    """Replaces one lock file."""
    text = "".join(f"{line}\n" for line in [f"# {title}; `make lock` writes it.", *lines])
    (FOLDER / name).write_text(text)
    print(f"requirements/{name}: {len(lines)} packages")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"lock: {error.cmd[0]} failed with status {error.returncode}; see above")
