"""What the fault tests share: cells over real databases, viewers, a guest's port like QEMU's."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import pytest
from databases import new_database
from sqlalchemy import Connection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from consoled.db import schema
from consoled.db.engine import make_engine
from tools.lab.daemon import MEMBER_KEY, STEP, Config, Daemon, inventory

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which something does not happen any more."""

PAGE = Subprotocol("consoled.v1")


def uuid_of(name: str) -> str:
    """The uuid of the instance of that name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def described(name: str, *ports: int, **more: object) -> dict[str, object]:
    """An instance with a console at each of those ports."""
    serial = [f"127.0.0.1:{port}" for port in ports]
    known = {"uuid": uuid_of(name), "name": name, "project_id": "demo", "host": "rack1"}
    return {**known, "serial": serial, **more}


def cell_database(session: pytest.Session, kind: str, folder: Path) -> str:
    """The URL of a new cell database with its schema."""
    url = new_database(session, kind, folder)
    engine = make_engine(url, None)
    schema.upgrade(engine)
    engine.dispose()
    return url


def in_database(url: str, fn: Callable[[Connection], T]) -> T:
    """The result of a function in a transaction of its own."""
    engine = make_engine(url, None)
    try:
        with engine.begin() as connection:
            return fn(connection)
    finally:
        engine.dispose()


def until(daemon: Daemon, what: str, true: Callable[[], bool]) -> None:
    """Waits until that is true, while the daemon runs."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"it never came true: {what}"
        assert not select.select([daemon.process.ended], [], [], STEP)[0], "the daemon has ended"


# Tokens and viewers


def new_token(daemon: Daemon, name: str, index: int = 0, key: str = MEMBER_KEY) -> str:
    """A fresh clear token of a console."""
    return daemon.console_url(uuid_of(name), index, key).partition("token=")[2]


def address(daemon: Daemon, token: str) -> str:
    """Where a token opens its console."""
    return f"ws://127.0.0.1:{daemon.port}/serial.html?token={token}"


class Visit(NamedTuple):
    """How a page's WebSocket began: a greeting, or a close code and its reason."""

    client: ClientConnection
    hello: dict[str, Any]
    code: int | None
    reason: str

    @property
    def open(self) -> bool:
        """Whether the console is there."""
        return self.code is None

    def says(self, data: bytes) -> None:
        """Types something, and waits until the guest has echoed it."""
        self.client.send(data)
        self.prints(data)

    def prints(self, data: bytes) -> None:
        """Exactly these bytes of output come next."""
        got = b""
        while len(got) < len(data):
            piece = self.client.recv(PATIENCE)
            assert isinstance(piece, bytes), piece
            got += piece
        assert got == data

    def ends(self) -> tuple[int, str, bytes]:
        """The code and reason with which the server closes, and the output before that."""
        output = b""
        try:
            while True:
                message = self.client.recv(PATIENCE)
                output += message if isinstance(message, bytes) else b""
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, closed
            return closed.rcvd.code, closed.rcvd.reason, output


@contextmanager
def visit(where: str, **options: Any) -> Iterator[Visit]:
    """Opens a console as the page does."""
    with connect(
        where, subprotocols=[PAGE], compression=None, open_timeout=PATIENCE, **options
    ) as client:
        try:
            while (said := json.loads(client.recv(PATIENCE)))["type"] != "hello":
                pass
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, closed
            yield Visit(client, {}, closed.rcvd.code, closed.rcvd.reason)
            return
        yield Visit(client, said, None, "")


@contextmanager
def visit_when_free(
    daemon: Daemon, where: str, meanwhile: tuple[int, ...] = (4409,)
) -> Iterator[Visit]:
    """Opens a console as an impatient person does, again and again.

    :param meanwhile: the close codes that are no reason to give up.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        with visit(where) as found:
            if found.open:
                yield found
                return
            assert found.code in meanwhile, (found.code, found.reason)
        assert time.monotonic() < deadline, "the console stayed taken"
        # The silence of a dead owner is an event of nobody's.
        assert not select.select([daemon.process.ended], [], [], 0.25)[0]


def refusal(where: str) -> int | None:
    """The close code that a viewer gets at once; None for an open console."""
    with visit(where) as found:
        return found.code


# The wall clock of a daemon


class WallClock:
    """A wall clock that can be set, as the Python code of one daemon sees it.

    :param folder: for its file and its twistd.
    """

    SCRIPT = (
        "#!{python}\n"
        "import time\n"
        "from pathlib import Path\n"
        "wall, clock = time.time, Path({clock!r})\n"
        "time.time = lambda: wall() + float(clock.read_text())\n"
        "from twisted.scripts.twistd import run\n"
        "run()\n"
    )

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.twistd = folder / "twistd"
        """What starts a daemon by this clock."""
        self.twistd.write_text(self.SCRIPT.format(python=sys.executable, clock=str(self._file)))
        self.twistd.chmod(0o755)

    def set(self, seconds: float) -> None:
        """Steps it to so many seconds before or after the right time."""
        coming = self._file.with_suffix(".new")
        coming.write_text(str(seconds))
        coming.replace(self._file)


@contextmanager
def daemon_by(
    clock: WallClock, folder: Path, instances: Sequence[Mapping[str, object]], config: Config
) -> Iterator[Daemon]:
    """A running daemon with the static driver, by that wall clock."""
    path = folder / "inventory.yaml"
    path.write_text(inventory(*instances))
    driver: Config = {"DEFAULT": {"driver": "static"}, "static": {"inventory": path}}
    with Daemon(folder, {**driver, **config}, twistd=clock.twistd) as daemon:
        yield daemon


# Guests' ports


class OneClientPort:
    """A port that serves one client at a time, as QEMU's socket does; others wait in its queue.

    It greets the n-th client with 200 kB of the digit n, then echoes.

    :ivar received: what each client has sent, in the order of their coming.
    :ivar overlaps: how many came while the one before them had not closed.
    """

    GREETING = 200_000

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.overlaps = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._waker = socket.socketpair()
        self._client: socket.socket | None = None
        self._output = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def greeting(self, number: int) -> bytes:
        """What the client of that number (1 is the first) is told."""
        return b"%d" % number * self.GREETING

    def _serve(self) -> None:
        kept_waiting = False
        while True:
            sources = [self._wake, *([self._client] if self._client else [])]
            sources += [] if kept_waiting else [self._listener]
            writers = [self._client] if self._client and self._output else []
            ready, writable, _ = select.select(sources, writers, [])
            if self._wake in ready:
                return
            # Loopback delivers in order: who closes before it dials again is gone by now.
            if self._client and not self._read():
                self._client.close()
                self._client = None
            elif self._client and self._listener in ready:
                self.overlaps += 1
                kept_waiting = True
            elif self._client and self._client in writable:
                self._write()
            if self._client is None and (kept_waiting or self._listener in ready):
                kept_waiting = False
                self._accept()

    def _accept(self) -> None:
        self._client, _ = self._listener.accept()
        self._client.setblocking(False)
        self.received.append(b"")
        self._output = self.greeting(len(self.received))

    def _read(self) -> bool:
        """Reads what there is; whether the client is still there."""
        assert self._client is not None
        try:
            while data := self._client.recv(65536):
                self.received[-1] += data
                self._output += data
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _write(self) -> None:
        assert self._client is not None
        with suppress(OSError):
            self._output = self._output[self._client.send(self._output) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.send(b"x")
        self._thread.join()
        for sock in (self._listener, self._wake, self._waker, self._client):
            if sock is not None:
                sock.close()


SYN_SENT = 2
_STATE = struct.Struct("B")


class FullPort:
    """A port whose queue is full: a dial to it gets no answer at all, as from a dead network."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._fillers: list[socket.socket] = []
        for _ in range(16):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            (state,) = _STATE.unpack(filler.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))
            if state == SYN_SENT:
                filler.close()
                break
            self._fillers.append(filler)
        else:
            raise AssertionError("the queue never filled")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def dials(self) -> list[int]:
        """The states (tcp_states.h) of other sockets that are connected to it, or dial it."""
        own = {filler.getsockname()[1] for filler in self._fillers}
        found = []
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if _port(remote) == self.port and _port(local) not in own:
                found.append(int(state, 16))
        return found

    def drain(self) -> None:
        """Makes room: from now on it answers."""
        for filler in self._fillers:
            self._listener.accept()[0].close()
            filler.close()
        self._listener.listen(16)

    def accept(self) -> socket.socket:
        """The next connection, as soon as it comes."""
        self._listener.settimeout(PATIENCE)
        return self._listener.accept()[0]

    def queue_is_empty(self) -> bool:
        """Whether nobody waits to be accepted."""
        return not select.select([self._listener], [], [], 0)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._fillers):
            sock.close()


def _port(place: str) -> int:
    return int(place.rpartition(":")[2], 16)


# Processes


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


@contextmanager
def signalled(pids: list[int], first: int, last: int) -> Iterator[None]:
    """Sends processes a signal, and in the end another: SIGSTOP and SIGCONT."""
    for pid in pids:
        os.kill(pid, first)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, last)


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, with its bytes as they are at that moment."""
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()
