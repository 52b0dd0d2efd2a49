"""The measurement of callers whom Keystone knows: console URLs a second."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.cells import console_paths, inventory
from bench.figures import Kind
from bench.openstack import OpenStackScale
from bench.processes import ask
from tools.lab.daemon import Daemon
from tools.lab.errors import LabError
from tools.lab.keystone import Keystone

AT_ONCE = 8
"""Connections of the client."""

WARM = Kind(
    "keystone_issued_warm",
    "URLs issued, the caller's token remembered",
    "1/s",
    True,
    plotted=False,
)
COLD = Kind(
    "keystone_issued_cold",
    "URLs issued, Keystone asked for each",
    "1/s",
    True,
    plotted=False,
)
KINDS = (WARM, COLD)


def with_keystone(scale: OpenStackScale) -> Mapping[str, Mapping[str, float]]:
    """Console URLs a second with ``[api] auth_strategy = keystone``, and a real Keystone.

    Warm: one token for all, which the daemon asks about once. Cold: a new token for each request.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")))
        try:
            keystone = stack.enter_context(Keystone(folder / "k"))
        except LabError as error:
            print(f"Keystone is left out: {error}", file=sys.stderr)
            return {}
        own = keystone.service_user("consoled")
        admin = keystone.user("ada", "bench", keystone.project("bench"), ["admin"])
        tokens = [keystone.token(admin) for _ in range(scale.cold + 1)]
        paths = console_paths(inventory(folder / "inventory.yaml"))
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": folder / "inventory.yaml"},
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": keystone.login(own),
        }
        own_folder = folder / "daemon"
        own_folder.mkdir(mode=0o700)
        daemon = stack.enter_context(Daemon(own_folder, config))
        # Consoles become known with their first URL; that is not what is measured here.
        _rate(daemon, tokens[:1] * len(paths), paths)
        return {
            WARM.name: {"value": _rate(daemon, tokens[:1] * scale.warm, paths)},
            COLD.name: {"value": _rate(daemon, tokens[1:], paths)},
        }


def _rate(daemon: Daemon, tokens: list[str], paths: list[str]) -> float:
    count = len(tokens)
    asked = (paths * (count // len(paths) + 1))[:count]
    order = {"ports": [daemon.api_port], "keys": tokens, "paths": asked, "at_once": AT_ONCE}
    return count / float(ask(action="issue", **order)["seconds"])
