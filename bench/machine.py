"""What the figures were measured on, without its name or its paths."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("Twisted", "autobahn", "websockify")


def machine() -> dict[str, Any]:
    """Processor, cores, load at the start, and the versions that matter."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name.lower()] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        **versions,
    }


def caption(facts: dict[str, Any]) -> str:
    """The facts in one line."""
    versions = ", ".join(f"{name} {facts[name]}" for name in facts if name not in _SAID)
    return (
        f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']} at the start, "
        f"Linux {facts['kernel']}, {versions}"
    )


_SAID = ("cpu", "cores", "load", "kernel")


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()
