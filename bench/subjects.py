"""What is measured: the daemon, its peers, and no relay at all.

A subject gives endpoints, nothing else differs. ``echo``, ``flood`` and
``quiet`` are the kinds of :mod:`bench.backend`.
"""

from __future__ import annotations

import importlib.util
import json
import select
import shutil
import socket
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field, frozen

from bench.cells import KEY, KEYS, Databases
from bench.certificate import Certificate
from bench.errors import BenchError
from bench.processes import ROOT, Backend, ask
from bench.sockets import HOST, Endpoint
from tools.lab.daemon import Daemon as ConsoledDaemon
from tools.lab.kept import KeptProcess
from tools.lab.ports import free_ports

START_LIMIT = 30.0
CONSOLES_EACH = 64
"""Consoles of one instance; the static inventory takes no more."""


@frozen
class Ground:
    """What every subject stands on.

    :ivar folder: for configurations, state and logs.
    """

    folder: Path
    backend: Backend
    certificate: Certificate


@frozen
class Idle:
    """A subject that has served nobody yet, for its memory.

    :ivar endpoints: for sessions that nobody uses.
    :ivar keeper: the process whose descendants are the subject's processes.
    """

    endpoints: Sequence[Endpoint]
    keeper: int


@define
class Subject(ABC):
    """One of those that are compared.

    :ivar stack: ends what the subject has started.
    """

    ground: Ground
    stack: ExitStack = field(factory=ExitStack)

    name = ""
    relays = True
    plain = True
    tls = True
    forks = False

    @abstractmethod
    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """One console of that kind."""

    @abstractmethod
    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """Consoles of that kind for as many sessions as are to be open at once."""

    @contextmanager
    def idle(self, count: int, *, tls: bool = False) -> Iterator[Idle]:
        """A fresh process of the subject with that many quiet consoles."""
        raise NotImplementedError(f"{self.name} has no process of its own")
        yield

    def close(self) -> None:
        """Ends what it has started."""
        self.stack.close()

    def _folder(self, purpose: str) -> Path:
        folder = self.ground.folder / f"{self.name}-{purpose}-{uuid.uuid4().hex[:6]}"
        folder.mkdir(mode=0o700)
        return folder


class Direct(Subject):
    """The client connects to the backend: the floor."""

    name = "direct"
    relays = False
    tls = False

    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """The backend's own port."""
        return Endpoint(self.ground.backend.ports[kind][0])

    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """The backend's own ports."""
        return [Endpoint(port) for port in self.ground.backend.ports[kind][:count]]


@define
class Websockify(Subject):
    """websockify as its users run it: a process per session, no check of a token."""

    _running: dict[tuple[str, bool], Endpoint] = field(factory=dict, init=False)

    name = "websockify"
    forks = True

    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """One websockify for each kind, and one more with TLS."""
        if (kind, tls) not in self._running:
            port, _ = self._start(self.stack, kind, tls)
            self._running[kind, tls] = self._endpoint(port, tls)
        return self._running[kind, tls]

    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """The same console many times: websockify does not mind."""
        return [self.endpoint(kind, tls=tls)] * count

    @contextmanager
    def idle(self, count: int, *, tls: bool = False) -> Iterator[Idle]:
        """A new websockify."""
        with ExitStack() as stack:
            port, process = self._start(stack, "quiet", tls)
            yield Idle([self._endpoint(port, tls)] * count, process.pid)

    def _endpoint(self, port: int, tls: bool) -> Endpoint:
        cert = str(self.ground.certificate.cert) if tls else None
        return Endpoint(port, "/websockify", cert)

    def _start(self, stack: ExitStack, kind: str, tls: bool) -> tuple[int, KeptProcess]:
        (port,) = free_ports(1)
        cert = self.ground.certificate
        secure = ["--ssl-only", f"--cert={cert.cert}", f"--key={cert.key}"] if tls else []
        target = f"{HOST}:{self.ground.backend.ports[kind][0]}"
        argv = [sys.executable, "-m", "websockify", *secure, f"{HOST}:{port}", target]
        process = KeptProcess(argv, self._folder(kind) / "log")
        stack.enter_context(process)
        wait_for_port(port, process)
        return port, process


@define
class HAProxy(Subject):
    """HAProxy in TCP mode, one thread: it knows neither WebSocket nor tokens."""

    _running: dict[tuple[str, bool], Endpoint] | None = field(default=None, init=False)

    name = "haproxy"

    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """One frontend for each kind, of one HAProxy."""
        if self._running is None:
            self._running, _ = self._start(self.stack)
        return self._running[kind, tls]

    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """The same console many times: HAProxy does not mind."""
        return [self.endpoint(kind, tls=tls)] * count

    @contextmanager
    def idle(self, count: int, *, tls: bool = False) -> Iterator[Idle]:
        """A new HAProxy."""
        with ExitStack() as stack:
            running, process = self._start(stack)
            yield Idle([running["quiet", tls]] * count, process.pid)

    def _start(self, stack: ExitStack) -> tuple[dict[tuple[str, bool], Endpoint], KeptProcess]:
        folder = self._folder("tcp")
        both, authority = self.ground.certificate.both, str(self.ground.certificate.cert)
        text = HAPROXY
        running = {}
        for kind, ports in self.ground.backend.ports.items():
            for tls, port in zip((False, True), free_ports(2), strict=True):
                secure = f" ssl crt {both}" if tls else ""
                text += f"listen {kind}-{port}\n bind {HOST}:{port}{secure}\n"
                text += f" server backend {HOST}:{ports[0]}\n"
                running[kind, tls] = Endpoint(port, None, authority if tls else None)
        (folder / "haproxy.cfg").write_text(text)
        program = haproxy_program()
        assert program is not None
        argv = [program, "-db", "-f", str(folder / "haproxy.cfg")]
        process = KeptProcess(argv, folder / "log")
        stack.enter_context(process)
        wait_for_port(running["quiet", False].port, process)
        return running, process


HAPROXY = """\
global
 maxconn 8000
 nbthread 1
defaults
 mode tcp
 timeout connect 10s
 timeout client 10m
 timeout server 10m
"""


@define
class AutobahnTLS(Subject):
    """autobahn and Twisted as their documents show them (:mod:`bench.autobahn_tls`), TLS only."""

    _running: dict[str, Endpoint] = field(factory=dict, init=False)

    name = "autobahn"
    plain = False

    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """One relay for each kind."""
        assert tls, "it speaks nothing else"
        if kind not in self._running:
            self._running[kind], _ = self._start(self.stack, kind)
        return self._running[kind]

    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """The same console many times: the relay does not mind."""
        return [self.endpoint(kind, tls=tls)] * count

    @contextmanager
    def idle(self, count: int, *, tls: bool = False) -> Iterator[Idle]:
        """A new relay."""
        with ExitStack() as stack:
            endpoint, process = self._start(stack, "quiet")
            yield Idle([endpoint] * count, process.pid)

    def _start(self, stack: ExitStack, kind: str) -> tuple[Endpoint, KeptProcess]:
        (port,) = free_ports(1)
        cert = self.ground.certificate
        words = [port, self.ground.backend.ports[kind][0], cert.cert, cert.key]
        argv = [sys.executable, "-m", "bench.autobahn_tls", *map(str, words)]
        process = KeptProcess(argv, self._folder(kind) / "log", cwd=ROOT)
        stack.enter_context(process)
        wait_for_port(port, process)
        return Endpoint(port, "/", str(cert.cert)), process


@frozen
class Manner:
    """How a daemon is configured.

    :ivar record: whether its sessions are recorded.
    """

    tls: bool = False
    record: bool = False


@define
class Daemon(Subject):
    """``twistd consoled`` with the static driver and an embedded SQLite."""

    _daemons: dict[Manner, RunningDaemon] = field(factory=dict, init=False)
    _endpoints: dict[tuple[Manner, int], Endpoint] = field(factory=dict, init=False)
    _databases: Databases | None = field(default=None, init=False)

    name = "consoled"

    def endpoint(self, kind: str, *, tls: bool = False) -> Endpoint:
        """One token, issued once and used for each round."""
        return self._of(self.ground.backend.ports[kind][:1], Manner(tls))[0]

    def recorded(self, kind: str) -> Endpoint:
        """One console of that kind, of a daemon that records its sessions."""
        return self._of(self.ground.backend.ports[kind][:1], Manner(record=True))[0]

    def many(self, kind: str, count: int, *, tls: bool = False) -> list[Endpoint]:
        """A console and a token each: a console has one writer, so a session needs its own."""
        return self._of(self.ground.backend.ports[kind][:count], Manner(tls))

    @contextmanager
    def idle(self, count: int, *, tls: bool = False) -> Iterator[Idle]:
        """A new daemon with an empty database."""
        with ExitStack() as stack:
            running = self._start(stack, Manner(tls))
            endpoints = running.endpoints(self.ground.backend.ports["quiet"][:count])
            yield Idle(endpoints, running.daemon.process.pid)

    def api(self, count: int) -> tuple[int, list[str]]:
        """The API's port, and paths that give a console URL each."""
        running = self._running(Manner())
        ports = self.ground.backend.ports["quiet"][:count]
        return running.daemon.api_port, [running.path(port) for port in ports]

    def databases(self) -> Databases:
        """Databases for cells of several daemons."""
        if self._databases is None:
            self._databases = Databases()
            self.stack.callback(self._databases.close)
        return self._databases

    def _of(self, ports: Sequence[int], manner: Manner) -> list[Endpoint]:
        new = [port for port in ports if (manner, port) not in self._endpoints]
        if new:
            issued = self._running(manner).endpoints(new)
            self._endpoints.update({(manner, port): e for port, e in zip(new, issued, strict=True)})
        return [self._endpoints[manner, port] for port in ports]

    def _running(self, manner: Manner) -> RunningDaemon:
        if manner not in self._daemons:
            self._daemons[manner] = self._start(self.stack, manner)
        return self._daemons[manner]

    def _start(self, stack: ExitStack, manner: Manner) -> RunningDaemon:
        folder = self._folder("recorded" if manner.record else "tls" if manner.tls else "plain")
        ports = [port for group in self.ground.backend.ports.values() for port in group]
        places = {
            port: (
                str(uuid.uuid5(uuid.NAMESPACE_OID, str(at // CONSOLES_EACH))),
                at % CONSOLES_EACH,
            )
            for at, port in enumerate(ports)
        }
        inventory: dict[str, list[str]] = {}
        for port, (instance, _) in places.items():
            inventory.setdefault(instance, []).append(f"{HOST}:{port}")
        instances = [
            {"uuid": instance, "name": instance[:8], "host": "bench", "serial": serial}
            for instance, serial in inventory.items()
        ]
        (folder / "inventory.yaml").write_text(json.dumps({"instances": instances}))
        keys = folder / "bench-keys.yaml"
        keys.touch(mode=0o600)
        keys.write_text(KEYS)
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": folder / "inventory.yaml"},
            "api": {"keys_file": keys},
            # Nobody comes back: a round that waited for that would measure nothing.
            "proxy": {"linger": 0, "max_sessions": len(ports) + 200},
            "serial_console": {"record": manner.record},
        }
        authority = None
        if manner.tls:
            cert = self.ground.certificate
            authority = str(cert.cert)
            config["serial_console"] |= {"cert": cert.cert, "key": cert.key, "ssl_only": True}
        daemon = stack.enter_context(ConsoledDaemon(folder, config))
        return RunningDaemon(daemon, places, authority)


@frozen
class RunningDaemon:
    """A daemon and its consoles.

    :ivar places: a backend's port to the instance and the index of its console.
    """

    daemon: ConsoledDaemon
    places: dict[int, tuple[str, int]]
    authority: str | None

    def path(self, port: int) -> str:
        """The API's path for a token of that console."""
        instance, index = self.places[port]
        return f"/v1/servers/{instance}/consoles/{index}/tokens"

    def endpoints(self, ports: Sequence[int]) -> list[Endpoint]:
        """A new token for each of these consoles."""
        answer = ask(
            action="issue",
            ports=[self.daemon.api_port],
            key=KEY,
            paths=[self.path(port) for port in ports],
            at_once=8,
        )
        queries = (urlsplit(url).query for url in answer["urls"])
        return [Endpoint(self.daemon.port, f"/?{query}", self.authority) for query in queries]


SUBJECTS: tuple[type[Subject], ...] = (Daemon, Websockify, HAProxy, AutobahnTLS, Direct)


def haproxy_program() -> str | None:
    """Where HAProxy is (Debian's is not on a user's PATH)."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


def missing(subject: type[Subject]) -> str | None:
    """Why a subject is left out, or None where it can be measured."""
    if subject is HAProxy and haproxy_program() is None:
        return "HAProxy is left out: it is not installed (Debian: apt-get install haproxy)"
    if subject is Websockify and importlib.util.find_spec("websockify") is None:
        return "websockify is left out: it is not installed (requirements/bench.txt)"
    return None


def wait_for_port(port: int, process: KeptProcess) -> None:
    """Waits until somebody listens there.

    :raises bench.errors.BenchError: the process ended or took too long.
    """
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if not probe.connect_ex((HOST, port)):
                return
        if select.select([process.ended], [], [], 0.02)[0]:
            raise BenchError(f"a peer ended at its start; its log ends with:\n{process.tail()}")
    raise BenchError(f"a peer did not listen in time; its log ends with:\n{process.tail()}")
