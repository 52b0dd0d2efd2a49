"""The WebSocket handshake, judged before autobahn sees it.

Host, Origin and protocol violations are HTTP statuses here; a refusal that the
browser's user should understand completes the handshake and closes at once
(design.md, invariant 6).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from consoled.errors import ConsoledError, TokenInvalid, Unavailable
from consoled.http.listen import peer_address
from consoled.interfaces import TokenAuthority
from consoled.leasing.values import LeaseRow
from consoled.model import ConsoleAuthToken
from consoled.proxy import subprotocol
from consoled.proxy.book import SessionBook
from consoled.proxy.forwarded import TrustedProxies
from consoled.proxy.origin import OriginRules
from consoled.proxy.reception import Arrival, Farewell, Reception
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.viewing import SessionInputs
from consoled.proxy.websocket import ConsoleSocket, ConsoleSocketFactory, Handshake
from consoled.replicas.hops import Hops

log = Logger()

T = TypeVar("T")

UPGRADE_REQUIRED = b"Upgrade Required"
"""The phrase of 426, which Twisted does not know."""

TOKEN_CHECK_LIMIT = 3.0
"""Seconds for the token check; past it the handshake is completed and closed with 1013."""

HANDSHAKE_DEADLINE = 10.0
"""Seconds from a handshake to its answer, whatever it waits for; past it the answer is 503."""

RETRY_AFTER = b"1"
"""Seconds, in a refusal for want of room."""

TOO_MANY = "Too many consoles are being opened at this moment. Try again in a second."
TOO_LATE = "The console could not be opened in time. Try again in a moment."


_OFFSET = re.compile(r"[0-9]{1,18}", re.ASCII)


class BadHandshake(Exception):
    """The request is no WebSocket handshake; ``status`` and the text answer it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def wants_upgrade(request: Any) -> bool:
    """Whether the request asks for a WebSocket."""
    upgrade = request.getHeader(b"upgrade") or ""
    return "websocket" in [part.strip().lower() for part in _text(upgrade).split(",")]


def parse_handshake(
    request: Any, choose: Callable[[list[str]], str | None] = subprotocol.choose
) -> Handshake:
    """The handshake of a request that asks for a WebSocket (RFC 6455, section 4.2.1).

    :param choose: the subprotocol to speak, of those offered; ValueError where there is none.
    :raises BadHandshake: what is wrong with it.
    """
    connection = _text(request.getHeader(b"connection") or "").lower().split(",")
    if request.method != b"GET" or request.clientproto != b"HTTP/1.1":
        raise BadHandshake(400, "A WebSocket handshake is a GET of HTTP/1.1.")
    if "upgrade" not in [part.strip() for part in connection]:
        raise BadHandshake(400, "A WebSocket handshake needs Connection: Upgrade.")
    if request.content.read(1):
        raise BadHandshake(400, "A WebSocket handshake has no body.")
    if _only(request, b"sec-websocket-version") != b"13":
        raise BadHandshake(426, "This server speaks WebSocket version 13.")
    key = _only(request, b"sec-websocket-key")
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        nonce = b""
    if len(nonce) != 16:
        raise BadHandshake(400, "Sec-WebSocket-Key must be 16 bytes in base64.")
    try:
        offered = request.requestHeaders.getRawHeaders(b"sec-websocket-protocol") or []
        chosen = choose(_text(b",".join(offered)).split(","))
    except ValueError as error:
        raise BadHandshake(400, f"Sec-WebSocket-Protocol: {error}.") from None
    return Handshake(key, chosen)


def clear_token(request: Any) -> str | None:
    """The token: the last one in the query, else the cookie's (reference: nova-contract)."""
    values = request.args.get(b"token")
    value = values[-1] if values else request.getCookie(b"token")
    return _text(value) if value else None


def _last(request: Any, name: bytes) -> str:
    values = request.args.get(name)
    return _text(values[-1]) if values else ""


def _resume_key(request: Any) -> ResumeKey | None:
    return ResumeKey.parse(_last(request, b"resume"))


def _since(request: Any) -> int | None:
    text = _last(request, b"since")
    return int(text) if _OFFSET.fullmatch(text) else None


def _log_unforeseen(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("a WebSocket handshake failed", failure)


def _only(request: Any, name: bytes) -> bytes:
    values = request.requestHeaders.getRawHeaders(name) or []
    return values[0].strip() if len(values) == 1 else b""


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def client_address(trusted: TrustedProxies, request: Any) -> str:
    """The client's address behind the operator's own load balancers."""
    values = request.requestHeaders.getRawHeaders(b"x-forwarded-for") or []
    return trusted.client(_peer(request), [_text(value) for value in values])


def _peer(request: Any) -> str:
    return peer_address(request.getClientAddress().host)


@define
class Upgrades:
    """Turns judged requests into sessions.

    :ivar rules: Host and Origin; swapped on SIGHUP.
    :ivar trusted: whose X-Forwarded headers count.
    :ivar reception: gives sessions to viewers.
    :ivar hops: takes viewers of consoles that another replica has to that one.
    :ivar max_handshakes: how many may be on their way at once; further ones get 503.
    """

    rules: OriginRules
    trusted: TrustedProxies
    sockets: ConsoleSocketFactory
    authority: TokenAuthority
    reception: Reception
    hops: Hops
    clock: Any
    sessions: SessionBook
    max_handshakes: int = 1000
    _under_way: int = field(default=0, init=False)

    def take(self, request: Any, host: str) -> None:
        """Answers a request for a WebSocket, now or later.

        :param host: the Host that the client asked for, already accepted.
        """
        self._judge(request, lambda handshake: self._upgrade(request, host, handshake))

    def take_hop(self, request: Any) -> None:
        """Answers another replica that brings a viewer, now or later."""
        self._judge(request, lambda handshake: self._receive_hop(request, handshake))

    def _judge(self, request: Any, go_on: Callable[[Handshake], Coroutine[Any, Any, None]]) -> None:
        try:
            handshake = parse_handshake(request)
        except BadHandshake as error:
            self._answer(request, error.status, str(error))
            return
        if self._under_way >= self.max_handshakes:
            self._answer(request, 503, TOO_MANY)
            return
        self._under_way += 1
        task = Deferred.fromCoroutine(go_on(handshake)).addBoth(self._done)
        task.addTimeout(HANDSHAKE_DEADLINE, self.clock)
        request.notifyFinish().addErrback(lambda _: task.cancel())
        task.addErrback(self._too_late, request).addErrback(_log_unforeseen)

    def _done(self, outcome: T) -> T:
        self._under_way -= 1
        return outcome

    def _too_late(self, failure: Failure, request: Any) -> None:
        # What was cut short is in front of the hand-over: the request has no answer yet.
        failure.trap(TimedOut)
        self._answer(request, 503, TOO_LATE)

    async def _upgrade(self, request: Any, host: str, handshake: Handshake) -> None:
        # The hand-over must not happen inside the request's own parsing: what came with the
        # request in one segment would be lost there.
        await deferLater(self.clock, 0)
        origins = request.requestHeaders.getRawHeaders(b"origin") or []
        origin = _text(b",".join(origins)) if origins else None
        arrival = Arrival(
            outcome=await self._check_token(clear_token(request)),
            resume=_resume_key(request),
            since=_since(request),
            takeover=_last(request, b"takeover") in ("1", "force"),
            force=_last(request, b"takeover") == "force",
            facts={
                "request_id": request.request_id,
                "src": self.client(request),
                "origin": origin,
            },
        )
        owner = await self._owner(arrival)
        access_url = self.reception.access_url(arrival) or self.rules.base_url
        refusal = self.rules.origin_refusal(origin, host, access_url)
        if refusal is not None:
            self._answer(request, 403, refusal, origin=origin)
        elif self._spoke_too_early(request):
            pass
        elif isinstance(owner, ConsoledError):
            await self._hand_over(request, handshake, evolve(arrival, outcome=owner, resume=None))
        elif owner is not None:
            await self._hop(request, handshake, arrival, owner)
        else:
            await self._hand_over(request, handshake, arrival)

    async def _owner(self, arrival: Arrival) -> LeaseRow | ConsoledError | None:
        """The lease of the other replica that this viewer has to go to, if there is one."""
        token, resume = arrival.token, arrival.resume
        if self.reception.has(arrival) or (token is None and resume is None):
            return None
        try:
            return await self.hops.owner(token, None if resume is None else resume.session_id)
        except ConsoledError as error:
            return error

    async def _hop(
        self, request: Any, handshake: Handshake, arrival: Arrival, owner: LeaseRow
    ) -> None:
        try:
            hop = await self.hops.begin(owner, handshake, arrival)
        except ConsoledError as error:
            await self._hand_over(request, handshake, evolve(arrival, outcome=error, resume=None))
            return
        if self._spoke_too_early(request):
            hop.drop()
            return
        adopt(request, hop.viewer_side)

    async def _receive_hop(self, request: Any, handshake: Handshake) -> None:
        await deferLater(self.clock, 0)
        arrival = await self.hops.arrival(request.requestHeaders)
        if arrival is None:
            self._answer(request, 403, "This is a way for the cell's own replicas only.")
        elif not self._spoke_too_early(request):
            await self._hand_over(request, handshake, arrival)

    def _spoke_too_early(self, request: Any) -> bool:
        if not request.channel._dataBuffer:
            return False
        # RFC 6455, section 4.1: a client waits for the answer before it sends more.
        self._answer(request, 400, "Data was sent before the handshake was answered.")
        return True

    async def _check_token(self, clear: str | None) -> ConsoleAuthToken | ConsoledError:
        if clear is None:
            return TokenInvalid("This URL has no token. Get a new console URL.")
        try:
            check = self.authority.validate(clear)
            return await check.addTimeout(TOKEN_CHECK_LIMIT, self.clock)
        except ConsoledError as error:
            return error
        except TimedOut:
            return Unavailable("The token could not be checked in time. Try again in a moment.")
        except CancelledError:
            raise
        except Exception:
            log.failure("the token check failed")
            return ConsoledError("Something went wrong inside consoled. Its log says what.")

    async def _hand_over(self, request: Any, handshake: Handshake, arrival: Arrival) -> None:
        token = arrival.token
        if token is not None and self.reception.adopts(arrival):
            try:
                await self.authority.spend(token)
                arrival = evolve(arrival, spent=True)
            except ConsoledError as error:
                arrival = evolve(arrival, outcome=error)

        def begin(socket: ConsoleSocket) -> SessionInputs | Farewell:
            return self.reception.receive(socket, arrival)

        socket = self.sockets.socket(begin, handshake.chosen)
        self.sessions.connected()
        socket.is_closed.addCallback(lambda _: self.sessions.disconnected())
        adopt(request, socket)
        socket.accept(handshake)

    def _answer(self, request: Any, status: int, sentence: str, **facts: object) -> None:
        log.info(
            "WebSocket handshake refused with {status}: {reason}",
            event="handshake_refused",
            status=status,
            reason=sentence,
            request_id=request.request_id,
            src=self.client(request),
            **facts,
        )
        request.setResponseCode(status, UPGRADE_REQUIRED if status == 426 else None)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"connection", b"close")
        if status == 503:
            request.setHeader(b"retry-after", RETRY_AFTER)
        if status == 426:
            request.setHeader(b"sec-websocket-version", b"13")
        request.write(f"{sentence}\n".encode())
        request.finish()

    def client(self, request: Any) -> str:
        """The client's address, as far as it is known."""
        return client_address(self.trusted, request)

    def asked_host(self, request: Any) -> str:
        """The Host that the client asked for, as far as it is known."""
        (header,) = request.requestHeaders.getRawHeaders(b"host")
        values = request.requestHeaders.getRawHeaders(b"x-forwarded-host") or []
        return self.trusted.host(_peer(request), _text(header), [_text(value) for value in values])


def adopt(request: Any, protocol: Protocol) -> None:
    """Gives the request's connection to the protocol for good.

    :param request: a request whose connection has sent nothing after it.
    """
    channel = request.channel
    transport = channel.transport
    # The HTTP channel is the transport's producer until then; a second one is refused.
    transport.unregisterProducer()
    channel.transport = None
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
