"""A real ``twistd consoled`` in a process of its own, and a client of its API."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import yaml

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.nursery import Nursery
from tools.lab.ports import free_ports
from tools.lab.started import Started

ROOT = Path(__file__).resolve().parents[2]

STEP = 0.02
"""Seconds between two looks into a log."""

Config = Mapping[str, Mapping[str, object]]
"""Group, option, value."""

Event = dict[str, Any]
"""One line of a daemon's log."""


ADMIN_KEY = "lab-admin-key-0123456789"
MEMBER_KEY = "lab-member-key-0123456789"
READER_KEY = "lab-reader-key-0123456789"
STRANGER_KEY = "lab-stranger-key-0123456789"

KEYS = f"""\
- {{key: {ADMIN_KEY}, user_id: ada, project_id: operations, roles: [admin]}}
- {{key: {MEMBER_KEY}, user_id: max, project_id: demo, roles: [member]}}
- {{key: {READER_KEY}, user_id: rea, project_id: demo, roles: [reader]}}
- {{key: {STRANGER_KEY}, user_id: zoe, project_id: other, roles: [member]}}
"""


class Answer(NamedTuple):
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Daemon(Started):
    """One cell's daemon, with keys for an admin, a member, a reader and a stranger.

    :param folder: for its configuration, state and log.
    :param config: sections and options besides, or instead of, the lab's own.
    :param arguments: further words of its command line.
    :param twistd: whose twistd runs it; this environment's by default, which may be forked.
    :param port: of the proxy and page; a free one by default.
    :param api_port: of the REST API; a free one by default.
    :param keys: the keys file's content; with None the daemon's first start makes an admin's key.
    """

    START_DEADLINE = 120.0
    PORT_TRIES = 3

    nursery: ClassVar[Nursery | None] = None
    """What forks those that this environment's twistd runs, where many are started."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        arguments: Sequence[str] = (),
        twistd: Path | None = None,
        cell: str = "lab",
        port: int | None = None,
        api_port: int | None = None,
        keys: str | None = KEYS,
    ) -> None:
        self.folder = folder
        self.cell = cell
        self._wanted_ports = port, api_port
        self._choose_ports()
        self.config_file = folder / "consoled.conf"
        self.keys_file = folder / "keys.yaml"
        if keys is not None:
            self.keys_file.touch(mode=0o600)
            self.keys_file.write_text(keys)
        self._config = config
        self._arguments = list(arguments)
        self._twistd = twistd or Path(sys.executable).with_name("twistd")
        self._forked_by = None if twistd else self.nursery
        self._process: KeptProcess | None = None

    def _choose_ports(self) -> None:
        free = free_ports(2)
        self.port, self.api_port = (
            wanted or other for wanted, other in zip(self._wanted_ports, free, strict=True)
        )

    @property
    def api_url(self) -> str:
        """The root of the REST API."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def base_url(self) -> str:
        """The page's address, without a token."""
        return f"http://127.0.0.1:{self.port}/serial.html"

    def _sections(self, config: Config) -> Config:
        sections: dict[str, dict[str, object]] = {
            "DEFAULT": {"state_path": self.folder / "state"},
            "serial_console": {
                "enabled": True,
                "listen": "127.0.0.1",
                "port": self.port,
                "base_url": self.base_url,
            },
            "api": {"listen": "127.0.0.1", "port": self.api_port, "keys_file": self.keys_file},
            "proxy": {"replica_url": f"{self._scheme('http')}://127.0.0.1:{self.port}"},
            "metrics": {"port": 0},
        }
        for section, options in config.items():
            sections.setdefault(section, {}).update(options)
        return sections

    def _scheme(self, plain: str) -> str:
        return f"{plain}s" if "cert" in self._config.get("serial_console", {}) else plain

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return [
            *(str(self._twistd), "-n", "--pidfile="),
            *("consoled", "--cell", self.cell, "--config", str(self.config_file)),
            *self._arguments,
        ]

    @property
    def log(self) -> Path:
        """Its log, a JSON event a line."""
        return self.folder / "consoled.log"

    @property
    def process(self) -> KeptProcess:
        """The running process."""
        assert self._process is not None, "the daemon is not running"
        return self._process

    @property
    def pid(self) -> int:
        """The process id of twistd itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def write_config(self) -> None:
        """Writes its configuration file."""
        self.config_file.write_text(render_config(self._sections(self._config)))

    def start(self) -> Self:
        """Starts it and waits until it serves.

        :raises tools.lab.errors.LabError: it ended, or did not serve in time.
        """
        for _ in range(self.PORT_TRIES):
            self.write_config()
            try:
                return self._start()
            except LabError as error:
                # Somebody else's connection may have taken a port that was free just before.
                if "cannot listen" not in str(error) or all(self._wanted_ports):
                    raise
                self._choose_ports()
        raise LabError("consoled found its ports taken again and again")

    def _start(self) -> Self:
        seen = len(self.events())
        self._process = KeptProcess(self.argv, self.log, cwd=self.folder, nursery=self._forked_by)
        deadline = time.monotonic() + self.START_DEADLINE
        while not any(event["event"] == "started" for event in self.events()[seen:]):
            ended, _, _ = select.select([self._process.ended], [], [], 0.02)
            if ended or time.monotonic() > deadline:
                tail = self._process.tail()
                self.stop()
                raise LabError(f"consoled did not start; its log ends with:\n{tail}")
        return self

    def stop(self) -> int:
        """Ends it; its exit status."""
        process, self._process = self._process, None
        return process.stop() if process else 0

    def events(self) -> list[Event]:
        """The events of its log so far."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def wait_for_event(
        self, event: str, *, since: int = 0, timeout: float = 60.0, **fields: object
    ) -> Event:
        """The newest event of that name and fields, as soon as the log has one.

        :param since: how many events of the log do not count.
        :raises tools.lab.errors.LabError: there is none in time, or the daemon ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            for found in reversed(self.events()[since:]):
                if found["event"] == event and fields.items() <= found.items():
                    return found
            if select.select([self.process.ended], [], [], STEP)[0] or time.monotonic() > deadline:
                raise LabError(f"no {event} with {fields} in the log {self.log}")

    def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = ADMIN_KEY,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """An API request and its answer, whatever the status.

        :param body: JSON, or bytes as they are; None for no body.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if key is not None:
            sent["X-Auth-Token"] = key
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(f"{self.api_url}{path}", data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, dict(response.headers), _json(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), _json(error.read()))

    def made_key(self) -> str:
        """The admin's key that the first start made."""
        keys = yaml.safe_load(self.keys_file.read_text())
        return next(str(entry["key"]) for entry in keys if "admin" in entry["roles"])

    def console_url(self, uuid: str, index: int | None = None, key: str = ADMIN_KEY) -> str:
        """A console URL as a client gets it: nova's way, or of the console with that index.

        :raises tools.lab.errors.LabError: what the daemon answered instead.
        """
        path, part = (
            (f"/v3/servers/{uuid}/get-serial-console", "serial_console")
            if index is None
            else (f"/v1/servers/{uuid}/consoles/{index}/tokens", "token")
        )
        answer = self.request("POST", path, key=key)
        if answer.status >= 300:
            raise LabError(f"consoled answered {answer.status} to POST {path}: {answer.body}")
        return str(answer.body[part]["url"])

    def ws_url(self, uuid: str, index: int, key: str = MEMBER_KEY) -> str:
        """The WebSocket address of a console at this daemon, with a fresh token."""
        token = self.console_url(uuid, index, key).partition("?")[2]
        return f"{self._scheme('ws')}://127.0.0.1:{self.port}/serial.html?{token}"

    def consolectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``consolectl --config FILE WORDS``, as on the daemon's machine, whatever its outcome."""
        return subprocess.run(
            [sys.executable, "-m", "consoled.cli", "--config", self.config_file, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )


def _json(data: bytes) -> Any:
    return json.loads(data) if data else None


def render_config(sections: Config) -> str:
    """An INI file."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        for name, options in sections.items()
    )


def inventory(*instances: Mapping[str, object]) -> str:
    """The YAML of a static inventory (JSON is YAML)."""
    return json.dumps({"instances": list(instances)}, indent=1)


@contextmanager
def static_daemon(
    folder: Path, instances: Sequence[Mapping[str, object]], config: Config | None = None
) -> Iterator[Daemon]:
    """A running daemon with the static driver over these instances.

    :param folder: its own; ``inventory.yaml`` is written there.
    """
    path = folder / "inventory.yaml"
    path.write_text(inventory(*instances))
    sections = {name: dict(options) for name, options in (config or {}).items()}
    sections.setdefault("DEFAULT", {})["driver"] = "static"
    sections.setdefault("static", {})["inventory"] = path
    with Daemon(folder, sections) as daemon:
        yield daemon


def add_instance(daemon: Daemon, instance: Mapping[str, object]) -> None:
    """One more instance for a running :func:`static_daemon`."""
    path = daemon.folder / "inventory.yaml"
    path.write_text(inventory(*json.loads(path.read_text())["instances"], instance))
    seen = len(daemon.events())
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for_event("reloaded", since=seen, message="the static driver reloaded")
