"""A Keystone for the benchmark, whose requests are counted, and how long its runs are."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

from attrs import frozen

from bench.sockets import HOST
from tools.lab.keystone import Keystone

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "server", "date"})


@frozen
class OpenStackScale:
    """How long these measurements are.

    :ivar warm: console URLs that are issued for one token, which the daemon remembers.
    :ivar cold: that are issued for as many tokens, each of which Keystone is asked about.
    :ivar uploads: of a recording, each way.
    :ivar size: bytes of a recording.
    :ivar questions: about an image's properties, each way.
    """

    warm: int = 2000
    cold: int = 100
    uploads: int = 20
    size: int = 4 << 20
    questions: int = 40


FULL = OpenStackScale()
QUICK = OpenStackScale(warm=20, cold=4, uploads=1, size=1 << 16, questions=2)


class CountedKeystone(Keystone):
    """A Keystone behind a server that counts what it is asked, by whomever.

    :ivar asked: how many requests that were.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0
        self._front: _Front | None = None

    @property
    def url(self) -> str:
        """Of what counts."""
        if self._front is None:
            return super().url
        return f"http://{HOST}:{self._front.server_port}/v3"

    def start(self) -> Self:
        """Starts what counts first, so that its address is the one that everybody gets."""
        self._front = _Front(self)
        return super().start()

    def stop(self) -> None:
        """Ends both."""
        super().stop()
        if self._front is not None:
            self._front.end()
            self._front = None


class _Front(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, keystone: CountedKeystone) -> None:
        super().__init__((HOST, 0), _Forward)
        self.keystone = keystone
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._keystone = cast(_Front, self.server).keystone
        self._behind = HTTPConnection(HOST, self._keystone.port)

    def finish(self) -> None:
        self._behind.close()
        with suppress(OSError):
            super().finish()

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def forward(self) -> None:
        """Counts the request, and passes it and its answer on."""
        self._keystone.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._behind.request(self.command, self.path, body, dict(self.headers.items()))
        answer = self._behind.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = forward
