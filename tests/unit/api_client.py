"""The real resource tree over fakes, spoken to in HTTP bytes without a socket."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any, cast

from attrs import Factory, define, evolve, field, frozen
from fakes import FakeAuthority, FakeDirectory, FakeDriver, FakeIdentity
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Request, Site

from consoled.api.app import ApiParts, make_api
from consoled.api.compute import ComputeApi
from consoled.api.domains import Configurators
from consoled.auth.policy import PolicyEnforcer
from consoled.breaking import ConsoleBreaker
from consoled.cells.parts import CellParts
from consoled.compute.image_source import Questions
from consoled.compute.migration.parts import HostMigrations
from consoled.interfaces import BreakControl, TokenStore
from consoled.issuing import ConsoleIssuer
from consoled.proxy.book import SessionBook
from consoled.proxy.opening import Opener
from consoled.reaching.groups import NodeGroups
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.revoking import TokenRegister
from consoled.workers import InlineWorker

BASE_URL = "http://127.0.0.1:6083/serial.html"
WS_BASE_URL = "ws://127.0.0.1:6083/"
CLIENT = IPv4Address("TCP", "192.0.2.77", 54321)


@frozen
class Answer:
    """A parsed answer."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The text of a fault, whose form is checked on the way."""
        ((name, inner),) = self.json.items()
        assert set(inner) == {"code", "message"}
        assert inner["code"] == self.status
        assert name == self.fault
        return cast(str, inner["message"])

    @property
    def fault(self) -> str:
        """nova's name of the fault."""
        (name,) = self.json
        return cast(str, name)


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_args: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


class Connection:
    """One client connection to a site in memory."""

    def __init__(self, site: Site) -> None:
        self._transport = StringTransport(peerAddress=CLIENT)
        self._protocol = site.buildProtocol(CLIENT)
        self._protocol.makeConnection(self._transport)

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Writes a request; the headers that it needs are added."""
        lines = {"Host": "api.test:8774"} | dict(headers)
        if body:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._protocol.dataReceived(
            f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        )

    def answer(self, method: str) -> Answer | None:
        """What has come back, or None so far."""
        data = self._transport.value()
        if not data:
            return None
        response = HTTPResponse(cast(Any, _Socket(data)), method=method)
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def leave(self) -> None:
        """The client goes away."""
        self._protocol.connectionLost(Failure(ConnectionDone()))


@define
class ApiClient:
    """Sends requests to an API whose parts can be reached and changed.

    :ivar key: sent as ``X-Auth-Token``, or None.
    """

    driver: FakeDriver = field(factory=FakeDriver)
    authority: FakeAuthority = field(factory=FakeAuthority)
    identity: FakeIdentity = field(factory=FakeIdentity)
    directory: FakeDirectory = field(factory=FakeDirectory)
    store: TokenStore | None = None
    recordings: RecordingStore | None = None
    replays: ReplayLinks | None = None
    outsiders: frozenset[int] = frozenset()
    shells: Callable[..., Deferred[bool]] | None = None
    opener: Opener | None = None
    breaks: BreakControl | None = None
    sessions: SessionBook | None = None
    domains: Configurators | None = None
    images: Questions | None = None
    migrations: HostMigrations | None = None
    groups: NodeGroups | None = None
    cells: CellParts | None = None
    policy_file: Path | None = None
    enabled: bool = True
    key: str | None = "member-key"
    clock: MemoryReactorClock = field(factory=MemoryReactorClock)
    request_class: type[Request] = Request
    site: Site = field(default=Factory(lambda self: self._make_site(), takes_self=True), init=False)

    def _make_site(self) -> Site:
        policy = PolicyEnforcer(InlineWorker(), self.policy_file)
        issuer = ConsoleIssuer(
            driver=self.driver,
            policy=policy,
            authority=self.authority,
            directory=self.directory,
            enabled=self.enabled,
            base_url=BASE_URL,
            outsiders=lambda instance: succeed(self.outsiders),
            shells=self.shells,
        )
        register = TokenRegister(policy, self.store)
        parts = ApiParts(
            self.identity if self.cells is None else self.cells.identity,
            issuer,
            register,
            recordings=self.recordings,
            replays=self.replays,
            groups=self.groups,
            breaker=self.opener
            and ConsoleBreaker(issuer, self.opener, self.breaks, self.clock, self.sessions),
            domains=self.domains,
            images=self.images,
            migrations=self.migrations,
            compute=ComputeApi(evolve(issuer, base_url=WS_BASE_URL)),
            cells=self.cells,
        )
        api = make_api(parts, seconds=self.clock.seconds)
        return Site(
            api,
            requestFactory=self.request_class,
            reactor=self.clock,
            parsePOSTFormSubmission=False,
        )

    def start(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Connection:
        """A connection with that request sent."""
        connection = Connection(self.site)
        credential = {} if self.key is None else {"X-Auth-Token": self.key}
        connection.send(method, target, credential | dict(headers or {}), body)
        return connection

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to that request, with what every answer has checked."""
        answer = self.start(method, target, body, headers).answer(method)
        assert answer is not None, "no answer yet"
        assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.status != 204:
            assert answer.headers["Content-Type"] == "application/json"
        if answer.body:
            assert isinstance(answer.json, dict)
        return answer

    def get(self, target: str) -> Answer:
        """``GET``."""
        return self.ask("GET", target)

    def post(
        self, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """``POST``, as JSON where there is a body and nothing else is said."""
        kind = {"Content-Type": "application/json"} if body else {}
        return self.ask("POST", target, body, kind | dict(headers or {}))
