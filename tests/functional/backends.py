"""What stands behind the static driver in tests: small TCP servers on loopback."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Handler = Callable[[socket.socket], None]


class Backend:
    """A listening console that serves each connection in a thread.

    :param handler: gets the connected socket; the connection ends when it returns.
    :ivar accepted: gets each connection's socket as it comes.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.accepted: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.accepted.put(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._handler(connection)

    def close(self) -> None:
        """Stops listening and drops every connection."""
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def echo(connection: socket.socket) -> None:
    """Sends back what comes."""
    while data := connection.recv(65536):
        connection.sendall(data)


def silent(connection: socket.socket) -> None:
    """Reads and says nothing."""
    while connection.recv(65536):
        pass


class Recorder:
    """A handler that keeps what comes.

    :param greeting: what it says first.
    """

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __call__(self, connection: socket.socket) -> None:
        """Serves one connection."""
        connection.sendall(self._greeting)
        while data := connection.recv(65536):
            self._received.put(data)

    def until(self, end: bytes, timeout: float = 60.0) -> bytes:
        """What has come since the last call, up to that end.

        :raises queue.Empty: it does not come in time.
        """
        received = b""
        while not received.endswith(end):
            received += self._received.get(timeout=timeout)
        return received


def deaf(connection: socket.socket) -> None:
    """Neither reads nor writes, until the other side goes."""
    threading.Event().wait(120)


def saying(output: bytes) -> Handler:
    """A handler that greets with that output, then echoes."""

    def handle(connection: socket.socket) -> None:
        connection.sendall(output)
        echo(connection)

    return handle


def flooding(connection: socket.socket) -> None:
    """Writes as fast as it may, until it reads a ^C; then echoes."""
    line = b"all work and no play makes a dull guest\r\n" * 100
    connection.setblocking(False)
    pending = b""
    while True:
        with suppress(BlockingIOError):
            got = connection.recv(4096)
            if not got:
                return
            if b"\x03" in got:
                break
        with suppress(BlockingIOError):
            pending = pending or line
            pending = pending[connection.send(pending) :]
    connection.setblocking(True)
    connection.sendall(pending + b"\r\ninterrupted\r\n")
    echo(connection)


@contextmanager
def backend(handler: Handler) -> Iterator[Backend]:
    """A running backend."""
    running = Backend(handler)
    try:
        yield running
    finally:
        running.close()
