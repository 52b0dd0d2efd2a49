"""The checks that are not tests: style, types, the page's own.

``python -m tools.checks`` runs all of them, and its exit status tells whether
all passed; ``make test`` runs them as tests.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WEB = ROOT / "consoled/web"


@dataclass(frozen=True)
class Check:
    """One command that has nothing to say when all is well."""

    name: str
    command: tuple[str, ...]
    folder: Path = ROOT

    def run(self) -> tuple[bool, str]:
        """Whether it passed, and what it said."""
        done = subprocess.run(
            self.command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr

    def __str__(self) -> str:
        """The command as one types it."""
        return f"cd {self.folder} && {shlex.join(self.command)}"


CHECKS = (
    Check("ruff-check", (f"{BIN}/ruff", "check", "--quiet", ".")),
    Check("ruff-format", (f"{BIN}/ruff", "format", "--check", "--quiet", ".")),
    # One run for all, so that they share what mypy learns about the libraries.
    Check("mypy", (f"{BIN}/mypy", "-p", "consoled", "-p", "tools", "-p", "bench")),
    Check("page-types", ("npm", "run", "--silent", "check"), WEB),
    Check("page-tests", ("npm", "test", "--silent"), WEB),
)


def main() -> int:
    """Runs every check and prints what fails."""
    failed = []
    for check in CHECKS:
        started = time.monotonic()
        passed, output = check.run()
        verdict = "passed" if passed else "failed"
        print(f"{check.name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
        if not passed:
            failed.append(check.name)
            print(f"{check}\n{output}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
