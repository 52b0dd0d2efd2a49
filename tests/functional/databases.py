"""The three databases for functional tests, one server of each for a test process.

Each process that runs tests starts each server once, for the first test that needs it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tools.lab.databases import PrivateMariaDB, PrivatePostgreSQL, PrivateServer

SERVERS: dict[str, type[PrivateServer]] = {
    "postgresql": PrivatePostgreSQL,
    "mariadb": PrivateMariaDB,
}
_RUNNING = pytest.StashKey[dict[str, PrivateServer]]()

REPLICATED = list(SERVERS)
"""Parameters for what cells with several replicas run on."""

ALL = ["sqlite", *REPLICATED]
"""Parameters for everything that consoled runs on."""


def server(session: pytest.Session, name: str) -> PrivateServer:
    """This test process's server of that kind, running until the last of its tests."""
    running = session.stash.setdefault(_RUNNING, {})
    if name not in running:
        folder = tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")
        session.addfinalizer(folder.cleanup)
        running[name] = SERVERS[name](Path(folder.name))
        session.addfinalizer(running[name].stop)
        running[name].start()
    return running[name]


def new_database(session: pytest.Session, name: str, folder: Path) -> str:
    """The URL of an empty database.

    :param folder: where a file of SQLite's may lie.
    """
    if name == "sqlite":
        return f"sqlite:///{folder}/cell.sqlite"
    return server(session, name).database()
