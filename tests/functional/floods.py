"""What the tests of floods share: plain viewers over raw sockets, and figures of the daemon."""

from __future__ import annotations

import json
import resource
import select
import selectors
import socket
import struct
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from backends import Handler
from prometheus_client.parser import text_string_to_metric_families
from raw_http import PATIENCE, UPGRADE, dial, read_head, request

from tools.lab.daemon import Daemon

MASK = b"\x37\xfa\x21\x3d"
PING, PONG, CLOSE, BINARY, TEXT, MORE = 9, 10, 8, 2, 1, 0
KIB, MIB = 1024, 1024 * 1024


def frame(payload: bytes, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """A client's masked frame of fewer than 64 KiB."""
    size = len(payload)
    first = (0x80 if final else 0) | opcode
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack("!H", size)
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes((first,)) + length + MASK + masked


class Frame(NamedTuple):
    """A server's frame."""

    opcode: int
    payload: bytes


class Viewer:
    """A viewer that reads and writes only what it is told to.

    :param window: bytes of its receive buffer; None for the kernel's own choice.
    """

    def __init__(self, daemon: Daemon, target: str, *, window: int | None = None) -> None:
        self._received = b""
        if window is None:
            self.sock = dial(daemon.port)
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(("127.0.0.1", daemon.port))
        self.sock.sendall(request(target, f"127.0.0.1:{daemon.port}", UPGRADE))
        self.head = read_head(self.sock)

    @property
    def status(self) -> int:
        """Of the answer to its handshake; 0 where there was none."""
        return int(self.head.split()[1]) if self.head else 0

    def next(self) -> Frame:
        """The next frame; a ping is answered first.

        :raises EOFError: the connection ended.
        """
        opcode, size = self._take(1)[0] & 0x0F, self._take(1)[0]
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        found = Frame(opcode, self._take(size))
        if opcode == PING:
            self.sock.sendall(frame(found.payload, PONG))
        return found

    def close_code(self) -> int:
        """The code of the close frame; what comes before is dropped."""
        while (found := self.next()).opcode != CLOSE:
            pass
        return int(struct.unpack("!H", found.payload[:2])[0])

    def echoes(self, data: bytes) -> None:
        """Types something and waits for it."""
        self.sock.sendall(frame(data))
        got = b""
        while len(got) < len(data):
            found = self.next()
            got += found.payload if found.opcode == BINARY else b""
        assert got == data

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        data, self._received = self._received[:size], self._received[size:]
        return data


@contextmanager
def viewer(daemon: Daemon, token: str, *, window: int | None = None) -> Iterator[Viewer]:
    """A viewer, its connection reset in the end."""
    found = Viewer(daemon, f"/serial.html?token={token}", window=window)
    try:
        yield found
    finally:
        found.sock.close()


class Yes:
    """A guest that runs ``yes``, one for each connection, until it reads a ^C.

    :ivar sent: bytes that it has written so far, in all connections.
    :ivar interrupted: ``sent`` as it was when ^C came.
    """

    LINE = b"y\r\n" * 10_000

    def __init__(self) -> None:
        self.sent = 0
        self.interrupted: int | None = None

    @property
    def handler(self) -> Handler:
        """Serves one connection."""
        return self._serve

    def _serve(self, connection: socket.socket) -> None:
        # What a guest's console holds, not what a fast network does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
        connection.setblocking(False)
        while True:
            readable, writable, _ = select.select([connection], [connection], [], PATIENCE)
            if readable:
                typed = connection.recv(4096)
                if not typed:
                    return
                if b"\x03" in typed:
                    self.interrupted = self.sent
                    connection.setblocking(True)
                    connection.sendall(b"^C\r\n$ ")
                    break
            if writable:
                self.sent += connection.send(self.LINE)
        while data := connection.recv(4096):
            connection.sendall(data)


def monitoring(daemon: Daemon, path: str) -> tuple[int, str]:
    """The status and text of a page for monitoring."""
    said = (event["message"] for event in daemon.events() if event["event"] == "listening")
    [message] = [message for message in said if message.startswith("metrics listens on 127.0.0.1 ")]
    where = f"http://127.0.0.1:{message.rpartition(' ')[2]}{path}"
    try:
        with urllib.request.urlopen(where, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figure(daemon: Daemon, name: str, **labels: str) -> float:
    """The sum of the samples of that name (without ``consoled_``) that have these labels."""
    families = text_string_to_metric_families(monitoring(daemon, "/metrics")[1])
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"consoled_{name}" and labels.items() <= sample.labels.items()
    )


def obstacles(daemon: Daemon) -> list[str]:
    """Why it should be sent no work."""
    return list(json.loads(monitoring(daemon, "/readyz")[1]).get("reasons", []))


def memory(pid: int, field: str) -> int:
    """A field of the process's status in bytes: VmRSS, or VmHWM, the most since the last reset."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIB
    raise AssertionError(f"no {field} in the status of {pid}")


def measure_from_now(pid: int) -> int:
    """Forgets the most memory that it had; what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Consoles:
    """Many consoles that echo, each at a port of its own, served by one thread.

    :ivar ports: where they listen.
    """

    def __init__(self, count: int) -> None:
        self._wake, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._listeners = {socket.create_server(("127.0.0.1", 0)) for _ in range(count)}
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self.ports = [int(one.getsockname()[1]) for one in self._listeners]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def connected(self) -> int:
        """How many of them have a client."""
        return len(self._selector.get_map()) - len(self._listeners) - 1

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._wake:
                    return
                if sock in self._listeners:
                    self._selector.register(sock.accept()[0], selectors.EVENT_READ)
                elif not self._echo(sock):
                    self._selector.unregister(sock)
                    sock.close()

    @staticmethod
    def _echo(sock: socket.socket) -> bool:
        with suppress(OSError):
            data = sock.recv(4096)
            sock.sendall(data)
            return bool(data)
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            sock.close()
        self._waker.close()
        self._selector.close()


def allow_descriptors(count: int) -> None:
    """Lets this process have so many open.

    :raises AssertionError: its hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count, f"the hard limit is {hard}"
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def limited_twistd(folder: Path, descriptors: int) -> Path:
    """A twistd whose process may have so many descriptors open, and no more."""
    script = folder / "twistd"
    script.write_text(
        f"#!{sys.executable}\n"
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))\n"
        "from twisted.scripts.twistd import run\n"
        "run()\n"
    )
    script.chmod(0o755)
    return script
