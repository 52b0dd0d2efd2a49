"""Cells for the measurements of tokens: one database, one or two replicas, a probe in each."""

from __future__ import annotations

import functools
import json
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import frozen

from bench.errors import BenchError
from bench.processes import ROOT, ask
from bench.sockets import HOST
from consoled.db import schema
from consoled.db.engine import make_engine
from tools.lab.daemon import Daemon
from tools.lab.databases import PrivatePostgreSQL
from tools.lab.errors import LabError

KEY = "bench-administrator-key-0123456789"
KEYS = f"- {{key: {KEY}, user_id: bench, project_id: bench, roles: [admin]}}\n"

DATABASES = ("sqlite", "postgresql")
SAFE = ("-c", "fsync=on", "-c", "full_page_writes=on")
"""The lab's server does not flush; one that is measured does, as an operator's would."""

INSTANCES, CONSOLES_EACH, FIRST_PORT = 8, 25, 20000
"""Consoles that nobody opens: nothing listens on their ports."""

ORDER_LIMIT = 600.0


class Probed(Daemon):
    """A daemon with :mod:`bench.probe` inside."""

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return [sys.executable, str(ROOT / "bench/daemon.py"), *super().argv[1:]]

    def tell(self, **order: Any) -> Asked:
        """Gives its probe an order."""
        return Asked(int((self.folder / "probe.port").read_text()), order)


class Asked:
    """An order that a probe works on."""

    def __init__(self, port: int, order: dict[str, Any]) -> None:
        self._sock = socket.create_connection((HOST, port), timeout=ORDER_LIMIT)
        self._sock.sendall(json.dumps(order).encode() + b"\n")

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        self._sock.setblocking(False)
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._sock.settimeout(ORDER_LIMIT)

    def answer(self) -> dict[str, Any]:
        """What came of it.

        :raises bench.errors.BenchError: nothing did, and why.
        """
        with self._sock, self._sock.makefile("rb") as lines:
            try:
                line = lines.readline()
            except TimeoutError:
                raise BenchError(f"a probe did not answer for {ORDER_LIMIT:.0f} s") from None
        if not line:
            raise BenchError("a daemon ended under the benchmark")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(str(answer["error"]))
        return answer


@frozen
class Cell:
    """Replicas of one cell.

    :ivar url: of their database.
    :ivar paths: of the API, for a token of each console.
    :ivar tokens: one for each console, in the clear.
    """

    url: str
    replicas: list[Probed]
    paths: list[str]
    tokens: list[str]

    @property
    def ports(self) -> list[int]:
        """The replicas' APIs."""
        return [replica.api_port for replica in self.replicas]


class Databases:
    """New databases, of a server that runs until :meth:`close` where they need one."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._server: PrivatePostgreSQL | None = None

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Those of :data:`DATABASES` that are there; why another is not, once."""
        try:
            self._postgresql()
        except LabError as error:
            print(f"PostgreSQL is left out: {error}", file=sys.stderr)
            return ("sqlite",)
        return DATABASES

    def new(self, name: str, folder: Path) -> str:
        """The URL of a database with the schema in place, or in whose file it will be.

        :param folder: for a file.
        """
        if name == "sqlite":
            return f"sqlite:///{folder}/cell.sqlite"
        url = self._postgresql().database()
        engine = make_engine(url, None)
        schema.upgrade(engine)
        engine.dispose()
        return url

    def _postgresql(self) -> PrivatePostgreSQL:
        if self._server is None:
            # A short path, as the server's socket lies in it; the server is another user.
            made = tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")
            folder = Path(self._stack.enter_context(made))
            self._server = self._stack.enter_context(PrivatePostgreSQL(folder, SAFE))
        return self._server

    def close(self) -> None:
        """Ends the server."""
        self._stack.close()


@contextmanager
def cell(databases: Databases, database: str, replicas: int) -> Iterator[Cell]:
    """A new cell whose database knows every console already.

    :param database: one of :data:`DATABASES`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        url = databases.new(database, folder)
        instances = inventory(folder / "inventory.yaml")
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": folder / "inventory.yaml"},
            "database": {"connection": url},
        }
        running = []
        for number in range(replicas):
            own = folder / f"replica-{number}"
            own.mkdir(mode=0o700)
            running.append(stack.enter_context(Probed(own, config, keys=KEYS)))
        paths = console_paths(instances)
        answer = ask(action="issue", ports=[running[0].api_port], key=KEY, paths=paths, at_once=16)
        tokens = [parse_qs(urlsplit(url).query)["token"][0] for url in answer["urls"]]
        yield Cell(url, running, paths, tokens)


def console_paths(instances: list[str]) -> list[str]:
    """Of the API, for a URL of each console of the inventory.

    :param instances: their uuids.
    """
    return [
        f"/v1/servers/{instance}/consoles/{index}/tokens"
        for instance in instances
        for index in range(CONSOLES_EACH)
    ]


def inventory(path: Path) -> list[str]:
    """Writes one: the instances' uuids."""
    uuids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(INSTANCES)]
    port = iter(range(FIRST_PORT, FIRST_PORT + INSTANCES * CONSOLES_EACH))
    instances = [
        {
            "uuid": each,
            "name": each[:8],
            "host": "bench",
            "serial": [f"{HOST}:{next(port)}" for _ in range(CONSOLES_EACH)],
        }
        for each in uuids
    ]
    path.write_text(json.dumps({"instances": instances}))
    return uuids
