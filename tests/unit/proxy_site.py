"""The proxy port's website in memory, spoken to in HTTP bytes without a socket."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from wires import Wire

from consoled.http.channel import BoundedSite
from consoled.proxy.forwarded import TrustedProxies
from consoled.proxy.origin import OriginRules
from consoled.proxy.paths import Layout
from consoled.proxy.upgrade import Upgrades
from consoled.proxy.website import ProxyResource, Public, Website, security_headers
from consoled.recording.replays import ReplayLinks

BASE_URL = "http://console.test:6083/serial.html"


class Answer:
    """An answer, parsed."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.status = int(line.split()[1])
        self.headers: Message = BytesHeaderParser().parsebytes(rest)


class Site:
    """A proxy port in memory; its WebSockets are only counted.

    :ivar taken: path and Host of the requests that went on as WebSockets.
    """

    def __init__(
        self,
        folder: Path,
        base_url: str = BASE_URL,
        built_in: bool = True,
        frame_ancestors: tuple[str, ...] = (),
        trusted: TrustedProxies | None = None,
        replays: ReplayLinks | None = None,
    ) -> None:
        self.taken: list[tuple[bytes, str]] = []
        self.clock = Clock()
        unused: Any = None
        upgrades = Upgrades(
            rules=OriginRules(base_url),
            trusted=trusted or TrustedProxies(),
            sockets=unused,
            authority=unused,
            reception=unused,
            hops=unused,
            clock=self.clock,
            sessions=unused,
        )
        self.public = Public(Website(folder, built_in), security_headers(built_in, frame_ancestors))
        counting: Any = _Counting(self, upgrades)
        resource = ProxyResource(Layout.of(base_url), self.public, counting, replays)
        self.site = BoundedSite(resource, self.clock)

    def send(self, data: bytes) -> Wire:
        """A connection that has sent this."""
        wire = Wire(peerAddress=IPv4Address("TCP", "203.0.113.9", 40000))
        wire.protocol = self.site.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        wire.protocol.dataReceived(data)
        return wire

    def upgrade(self, target: str) -> Wire:
        """A request for a WebSocket."""
        return self.send(
            f"GET {target} HTTP/1.1\r\nHost: console.test:6083\r\n"
            "Upgrade: h2c, WebSocket\r\nConnection: Upgrade\r\n\r\n".encode()
        )

    def ask(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """The answer to a request."""
        lines = {"Host": "console.test:6083"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return Answer(
            self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")).written
        )


class _Counting:
    """An Upgrades whose sessions are not begun."""

    def __init__(self, site: Site, real: Upgrades) -> None:
        self._site = site
        self.rules = real.rules
        self.client = real.client
        self.asked_host = real.asked_host

    def take(self, request: Any, host: str) -> None:
        """Counts it."""
        self._site.taken.append((request.path, host))

    def take_hop(self, request: Any) -> None:
        """Counts it."""
        self._site.taken.append((request.path, "a replica"))
