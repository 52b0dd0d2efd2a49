"""The consoles behind every relay: ``python -m bench.backend '{"echo": 2, ...}'``.

One process, one epoll loop, on loopback. Each connection is greeted with one
byte, so that a client knows when it reaches all the way; then an ``echo``
console answers what it gets, a ``quiet`` one never says more, and a ``flood``
one sends as fast as it is read. The first line of output is the JSON of the
ports. Then each line of input is answered with ``drained`` as soon as nobody
is connected. It ends with its input.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import sys
from collections.abc import Callable

GREETING = b"\n"
BACKLOG = 4096
BLOCK = os.urandom(256 << 10)

Handler = Callable[[int], None]


class Backend:
    """Listening sockets and their connections.

    :param counts: how many consoles of each kind.
    """

    def __init__(self, counts: dict[str, int]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._connections = 0
        self._waiting = 0
        self._kinds = {"echo": self._echo, "quiet": self._quiet, "flood": self._flood}
        self.ports = {
            kind: [self._listen(kind) for _ in range(count)] for kind, count in counts.items()
        }

    def run(self) -> None:
        """Serves until the input ends."""
        self._epoll.register(0, select.EPOLLIN)
        while True:
            for descriptor, events in self._epoll.poll():
                if descriptor:
                    # A connection may have been closed by an earlier event of this turn.
                    handler = self._handlers.get(descriptor)
                    if handler is not None:
                        handler(events)
                elif not self._order():
                    return
            if self._waiting and not self._connections:
                os.write(1, b"drained\n" * self._waiting)
                self._waiting = 0

    def _order(self) -> bool:
        lines = os.read(0, 1024)
        self._waiting += lines.count(b"\n")
        return bool(lines)

    def _listen(self, kind: str) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        listener.setblocking(False)

        def accept(_: int) -> None:
            try:
                connection, _peer = listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.send(GREETING)
            self._connections += 1
            self._kinds[kind](connection)

        self._watch(listener, select.EPOLLIN, accept)
        return int(listener.getsockname()[1])

    def _watch(self, watched: socket.socket, events: int, handler: Handler) -> None:
        self._handlers[watched.fileno()] = handler
        self._epoll.register(watched, events)

    def _close(self, connection: socket.socket) -> None:
        del self._handlers[connection.fileno()]
        connection.close()
        self._connections -= 1

    def _echo(self, connection: socket.socket) -> None:
        receive, send = connection.recv, connection.send

        def readable(_: int) -> None:
            try:
                data = receive(65536)
                if data:
                    send(data)
                    return
            except OSError:
                pass
            self._close(connection)

        self._watch(connection, select.EPOLLIN, readable)

    def _quiet(self, connection: socket.socket) -> None:
        def readable(_: int) -> None:
            try:
                if connection.recv(65536):
                    return
            except OSError:
                pass
            self._close(connection)

        self._watch(connection, select.EPOLLIN, readable)

    def _flood(self, connection: socket.socket) -> None:
        send = connection.send

        def ready(events: int) -> None:
            try:
                if events & select.EPOLLIN and not connection.recv(65536):
                    self._close(connection)
                elif events & select.EPOLLOUT:
                    send(BLOCK)
            except BlockingIOError:
                pass
            except OSError:
                self._close(connection)

        self._watch(connection, select.EPOLLIN | select.EPOLLOUT, ready)


def main(counts: str) -> None:
    """Serves consoles of the kinds and numbers of ``counts`` (JSON)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    backend = Backend(json.loads(counts))
    os.write(1, json.dumps(backend.ports).encode() + b"\n")
    backend.run()


if __name__ == "__main__":
    main(sys.argv[1])
