"""A web service as an instance may have it: polite, slow and rude ones, by their path."""

from __future__ import annotations

import hashlib
import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

PIECE = bytes(range(256)) * 256
"""64 KiB."""


def digest_of(pieces: int) -> str:
    """The SHA-256 of so many pieces."""
    found = hashlib.sha256()
    for _ in range(pieces):
        found.update(PIECE)
    return found.hexdigest()


class Target(ThreadingHTTPServer):
    """The service.

    :ivar stalled: set when nobody takes what a download sends.
    :ivar gone: set when the other side of a hanging request has closed it.
    :ivar waiting: set when a request hangs.
    :ivar released: lets late uploads be read.
    :ivar connections: how many there have been.
    """

    daemon_threads = True
    # With the default of five, Linux resets some of many that come at once.
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stalled, self.gone, self.waiting = Event(), Event(), Event()
        self.released = Event()
        self.connections = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients go away on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Target

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        answer = getattr(self, "_" + (parts.path.strip("/").partition("/")[0] or "echo"), None)
        (answer or self._echo)(query)

    def _json(self, value: object, status: int = 200, *headers: tuple[str, str]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (("Content-Type", "application/json"), *headers):
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            data = self.rfile.read(min(left, len(PIECE)))
            left -= len(data)
            yield data

    def _echo(self, _query: dict[str, str]) -> None:
        body = b"".join(self._body())
        self._json(
            {
                "method": self.command,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body": body.decode("latin-1"),
            }
        )

    def _upload(self, _query: dict[str, str]) -> None:
        found, size = hashlib.sha256(), 0
        for data in self._body():
            found.update(data)
            size += len(data)
        self._json({"digest": found.hexdigest(), "size": size})

    def _late(self, query: dict[str, str]) -> None:
        """An upload that is not read before somebody says so."""
        self.server.released.wait(30)
        self._upload(query)

    def _download(self, query: dict[str, str]) -> None:
        pieces = int(query["pieces"])
        self.send_response(200)
        self.send_header("Content-Length", str(pieces * len(PIECE)))
        self.end_headers()
        self.connection.setblocking(False)
        for _ in range(pieces):
            left = memoryview(PIECE)
            while left:
                if not select.select([], [self.connection], [], 0.5)[1]:
                    self.server.stalled.set()
                    select.select([], [self.connection], [])
                left = left[self.connection.send(left) :]
        self.connection.setblocking(True)

    def _chunked(self, _query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Sum")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n")

    def _endless(self, _query: dict[str, str]) -> None:
        """Hangs after the beginning of its answer, until the other side goes."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self._hang({})

    def _hang(self, _query: dict[str, str]) -> None:
        self.server.waiting.set()
        try:
            while self.connection.recv(1024):
                pass
        except OSError:
            pass
        self.server.gone.set()
        self.close_connection = True

    def _raw(self, query: dict[str, str]) -> None:
        """Answers with exactly what the query holds, and closes."""
        self.wfile.write(unquote_to_bytes(urlsplit(self.path).query.partition("=")[2]))
        self.close_connection = True

    def _flood(self, _query: dict[str, str]) -> None:
        """A head without end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000)
        self._hang({})

    def _refuse(self, _query: dict[str, str]) -> None:
        """Answers an upload before it has read any of it."""
        self._json({"refused": True}, 413, ("Connection", "close"))
        self.close_connection = True

    def _headers(self, query: dict[str, str]) -> None:
        """Answers with the headers that the query names."""
        names = [(name, value) for name, value in query.items() if name != "status"]
        self._json({}, int(query.get("status", "200")), *names)


@contextmanager
def target() -> Iterator[Target]:
    """A running one."""
    with Target() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
