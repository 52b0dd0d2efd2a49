"""A small Glance for tests, over HTTP on loopback, that fails as it is told, and what asks it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, TypeVar

from attrs import define, field
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token
from twisted.internet.defer import Deferred, fail, succeed

from consoled.openstack.outcomes import outcome_of
from consoled.openstack.values import UserToken

T = TypeVar("T")

OWN = "own-token"
"""Of consoled's own user, who sees and may delete everything."""

CUT = 0
"""In the place of a status: the connection ends without an answer."""


@define(eq=False)
class ImageServer:
    """The images, and what is to go wrong.

    :ivar images: JSON of each by its id.
    :ivar data: what was uploaded.
    :ivar owners: by token, who sees which images.
    :ivar refused: tokens that are no longer taken.
    :ivar trouble: what the next requests of a kind (``POST``, ``PUT``...) are answered with
        instead.
    :ivar keeps: whether what is uploaded is kept.
    :ivar damages: how many uploads are stored as something else.
    :ivar asked: methods and paths, as they came.
    :ivar sent: called with each piece that an upload has brought so far.
    """

    images: dict[str, dict[str, Any]] = field(factory=dict)
    data: dict[str, bytes] = field(factory=dict)
    owners: dict[str, str] = field(factory=dict)
    refused: set[str] = field(factory=set)
    trouble: dict[str, list[int]] = field(factory=dict)
    keeps: bool = True
    damages: int = 0
    asked: list[str] = field(factory=list)
    sent: Callable[[int], object] = field(default=lambda size: None)
    url: str = ""

    def adapter(self, token: str) -> Adapter:
        """As of :class:`consoled.openstack.calls.ServiceCalls`."""
        url = f"{self.url}/v2"
        return Adapter(Session(), auth=Token(url, token), endpoint_override=url)

    def answer(self, handler: Any, method: str) -> tuple[int, Any]:
        """What a request comes to."""
        self.asked.append(f"{method} {handler.path}")
        token = handler.headers["X-Auth-Token"]
        body = self._read(handler)
        if body is None:
            return CUT, None
        if token in self.refused:
            return 401, None
        trouble = self.trouble.get(method)
        if trouble:
            return trouble.pop(0), None
        if method == "POST":
            image = json.loads(body)
            self.images[image["id"]] = image | {"status": "queued", "size": None}
            self.owners[image["id"]] = token
            return 201, self.images[image["id"]]
        image_id = handler.path.split("/")[3]
        if image_id not in self.images or token not in (OWN, self.owners[image_id]):
            return 404, None
        if method == "PUT":
            self.store(image_id, body)
            return 204, None
        if method == "DELETE":
            del self.images[image_id]
            return 204, None
        return 200, self.images[image_id]

    def store(self, image_id: str, body: bytes) -> None:
        """The image has its data."""
        if self.damages:
            self.damages, body = self.damages - 1, b"x" * len(body)
        self.data[image_id] = body
        self.images[image_id] |= {
            "status": "active",
            "size": len(body),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(body).hexdigest(),
        }

    def _read(self, handler: Any) -> bytes | None:
        """The body; None where its client has broken off."""
        length, size, pieces = int(handler.headers.get("Content-Length", 0)), 0, []
        while size < length:
            piece = handler.rfile.read(min(65536, length - size))
            if not piece:
                return None
            size += len(piece)
            if self.keeps:
                pieces.append(piece)
            self.sent(size)
        return b"".join(pieces)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_images: ClassVar[ImageServer]

    def _do(self) -> None:
        status, found = self.server_of_images.answer(self, self.command)
        if status == CUT:
            self.close_connection = True
            return
        body = b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _do

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def image_server() -> Iterator[ImageServer]:
    """A running one."""
    images = ImageServer()
    handler = type("Handler", (_Handler,), {"server_of_images": images})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    images.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield images
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@define(eq=False)
class InlineCalls:
    """Asks at once, and once.

    :ivar asked: on whose behalf, and whether it may be repeated.
    """

    server: ImageServer
    asked: list[tuple[str | None, bool]] = field(factory=list)

    def ask(
        self,
        service: str,
        user: UserToken | None,
        fn: Callable[[Adapter], T],
        *,
        repeat: bool = True,
    ) -> Deferred[T]:
        """As of :class:`consoled.interfaces.Calls`."""
        assert service == "image"
        self.asked.append((user and user.value, repeat))
        try:
            return succeed(fn(self.server.adapter(user.value if user else OWN)))
        except ClientException as error:
            return fail(outcome_of(service, user, error).error)
        except Exception:
            return fail()

    def has(self, service: str) -> Deferred[bool]:
        """It is there."""
        return succeed(True)
