"""What ``consolectl forward`` runs: a WebSocket to the API for each local connection."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, cast

from attrs import define, field
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from consoled import __version__
from consoled.cli.dialling import api_endpoint
from consoled.cli.endpoint import Endpoint
from consoled.cli.failure import Failure
from consoled.cli.forward import Spec
from consoled.cli.output import printable, say
from consoled.forwarding.speech import EOF, PIECE, TCP_V1, is_eof
from consoled.http.listen import KEEPALIVE

LIMIT = 1024 * 1024
"""Bytes of a message of the daemon's that are taken."""
FAULT_LIMIT = 64 * 1024
"""Bytes of a refusal."""
STOP_LIMIT = 2.0
"""Seconds that the daemon has to take the closes after ^C."""
_DONE = 1000


@define(eq=False)
class Teller:
    """Says what happens: lines for people, or objects for scripts.

    :ivar server_id: the server's uuid.
    :ivar server_name: what people call it.
    """

    server_id: str
    server_name: str
    wants_json: bool

    def listening(self, address: str, local: int, port: int) -> None:
        """A local port is open."""
        facts = {"address": address, "local_port": local, "port": port}
        where = f"[{address}]:{local}" if ":" in address else f"{address}:{local}"
        self._tell(
            {"event": "listening", "server_id": self.server_id, **facts},
            f"{where} leads to port {port} of {self.server_name}; ^C ends it",
        )

    def opened(self, number: int, peer: str, port: int) -> None:
        """A connection stands."""
        self._tell(
            {"event": "opened", "connection": number, "peer": peer, "port": port},
            f"#{number} {peer} is connected to {self.server_name}:{port}",
        )

    def refused(self, number: int, peer: str, reason: str) -> None:
        """A connection could not be made."""
        self._tell(
            {"event": "refused", "connection": number, "peer": peer, "reason": reason},
            f"#{number} {peer} is refused: {reason}",
        )

    def ended(self, number: int, counts: Mapping[str, int], seconds: float, reason: str) -> None:
        """A connection is over.

        :param counts: ``bytes_in`` to the server, ``bytes_out`` from it.
        :param reason: why, where that is not the usual end.
        """
        facts = {**counts, "duration_s": round(seconds, 3), "reason": reason or None}
        self._tell(
            {"event": "ended", "connection": number, **facts},
            f"#{number} ended after {seconds:.1f} s: {counts['bytes_in']:,} bytes there, "
            f"{counts['bytes_out']:,} back" + (f"; {reason}" if reason else ""),
        )

    def _tell(self, value: Mapping[str, object], text: str) -> None:
        if self.wants_json:
            say(json.dumps(value))
        else:
            say(f"consolectl: {printable(text)}", err=True)


@implementer(IHalfCloseableProtocol)
class LocalSide(Protocol):
    """One local connection."""

    def __init__(self, tunnels: Tunnels, port: int) -> None:
        self._tunnels = tunnels
        self._port = port
        self._number = 0
        self._peer = ""
        self._began = 0.0
        # autobahn is typed in part only.
        self._socket: Any = None
        self._dial: Deferred[Any] | None = None
        self._opened = False
        self._told = False
        self._sends = True
        self._takes = True
        self._counts = {"bytes_in": 0, "bytes_out": 0}
        self.gone: Deferred[None] = Deferred()

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """Asks the daemon for a tunnel; until then nothing is read."""
        self._transport.setTcpNoDelay(True)
        self._transport.pauseProducing()
        peer = self._transport.getPeer()
        self._peer = f"{peer.host}:{peer.port}"
        self._began = time.monotonic()
        self._number = self._tunnels.joined(self)
        self._dial = self._tunnels.dial(self, self._port)
        self._dial.addErrback(self._unreachable)

    def _unreachable(self, failure: TwistedFailure) -> None:
        self.refused(f"the API cannot be reached: {failure.getErrorMessage()}")

    def opened(self, socket: TunnelSocket) -> None:
        """The tunnel stands."""
        self._socket = socket
        theirs: Any = socket.transport
        if not self._transport.connected:
            socket.sendClose(_DONE)
            return
        self._opened = True
        self._tunnels.teller.opened(self._number, self._peer, self._port)
        theirs.registerProducer(self._transport, True)
        self._transport.registerProducer(theirs, True)
        self._transport.resumeProducing()

    def refused(self, reason: str) -> None:
        """There is no tunnel."""
        if not self._told:
            self._told = True
            self._tunnels.teller.refused(self._number, self._peer, reason)
        self._transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes for the server."""
        self._counts["bytes_in"] += len(data)
        if self._socket is not None:
            for start in range(0, len(data), PIECE):
                self._socket.sendMessage(data[start : start + PIECE], isBinary=True)

    def bring(self, data: bytes) -> None:
        """Bytes of the server."""
        self._counts["bytes_out"] += len(data)
        if self._takes:
            self._transport.write(data)

    def server_ended(self) -> None:
        """The server has no more bytes."""
        if self._takes:
            self._takes = False
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()
            self._close_if_done()

    def readConnectionLost(self) -> None:
        """The local side has no more bytes."""
        self._sends = False
        if self._socket is not None:
            self._socket.sendMessage(EOF, isBinary=False)
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        """The local side takes no more bytes, or has been told that there are none."""

    def _close_if_done(self) -> None:
        if not self._sends and not self._takes and self._socket is not None:
            self._socket.leave()

    def tunnel_gone(self, clean: bool, reason: str) -> None:
        """The WebSocket is gone."""
        self._socket = None
        if not self._opened:
            self.refused(reason)
            return
        self._end("" if clean else reason)
        if self._transport is not None:
            self._transport.unregisterProducer()
            if clean:
                self._transport.loseConnection()
            else:
                self._transport.abortConnection()

    def connectionLost(self, reason: TwistedFailure = connectionDone) -> None:
        """The local side is gone."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.leave()
        elif self._dial is not None:
            self._dial.cancel()
        if self._opened:
            self._end("")
        self._told = True
        self._tunnels.left(self)
        self.gone.callback(None)

    def leave(self) -> None:
        """^C."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _end(self, reason: str) -> None:
        if not self._told:
            self._told = True
            seconds = time.monotonic() - self._began
            self._tunnels.teller.ended(self._number, self._counts, seconds, reason)


class TunnelSocket(WebSocketClientProtocol):
    """The WebSocket of one local connection."""

    local: LocalSide
    transport: Any
    _left = False

    def connectionMade(self) -> None:
        """Has the kernel look whether the daemon is there.

        Not autobahn's pings: while the local side takes nothing, no answer to one is read.
        """
        connection = self.transport
        while isinstance(connection, ProtocolWrapper):
            connection = connection.transport
        for level, option, value in KEEPALIVE:
            connection.socket.setsockopt(level, option, value)
        super().connectionMade()

    def processHandshake(self) -> None:
        """A refusal has a body that says why: autobahn would not show it."""
        head, blank, body = bytes(self.data).partition(b"\r\n\r\n")
        if not blank or head.startswith(b"HTTP/1.1 101 "):
            if not blank and len(head) > FAULT_LIMIT:
                self._refuse("its answer is not HTTP")
                return
            parse: Any = super().processHandshake
            parse()
            return
        length = _length(head)
        if length is not None and len(body) < min(length, FAULT_LIMIT):
            return
        self._refuse(_sentence(head, body))

    def _refuse(self, sentence: str) -> None:
        self.local.refused(sentence)
        self.transport.abortConnection()

    def onOpen(self) -> None:
        """The daemon is connected to the server's port."""
        self.local.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Bytes of the server, or the end of them."""
        if isBinary:
            self.local.bring(payload)
        elif is_eof(payload):
            self.local.server_ended()

    def leave(self) -> None:
        """Nobody needs it any more."""
        if not self._left:
            self._left = True
            self.transport.unregisterProducer()
            self.transport.resumeProducing()
            self.sendClose(_DONE)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """It is gone."""
        clean = self._left or (wasClean and code == _DONE)
        self.local.tunnel_gone(clean, reason or "the connection to the API broke")


@define(eq=False)
class Tunnels:
    """All connections of one call.

    :ivar endpoint: of the API.
    """

    reactor: Any
    api: Endpoint
    endpoint: IStreamClientEndpoint
    teller: Teller
    _numbers: count[int] = field(factory=lambda: count(1), init=False)
    _sides: set[LocalSide] = field(factory=set, init=False)

    def dial(self, local: LocalSide, port: int) -> Deferred[Any]:
        """A WebSocket for a local connection."""
        route = f"/v1/servers/{self.teller.server_id}/tcp/{port}"
        factory = WebSocketClientFactory(
            "ws" + self.api.url.removeprefix("http") + route,
            protocols=[TCP_V1],
            headers={"X-Auth-Token": self.api.key},
            useragent=f"consolectl/{__version__}",
            reactor=self.reactor,
        )
        factory.noisy = False
        factory.setProtocolOptions(
            failByDrop=False,
            maxFramePayloadSize=LIMIT,
            maxMessagePayloadSize=LIMIT,
            openHandshakeTimeout=60,
            closeHandshakeTimeout=5,
            tcpNoDelay=True,
        )

        def build() -> TunnelSocket:
            socket = TunnelSocket()
            socket.local = local
            return socket

        factory.protocol = cast(Any, build)
        connected: Deferred[Any] = self.endpoint.connect(factory)
        return connected

    def joined(self, side: LocalSide) -> int:
        """A local connection has come; its number."""
        self._sides.add(side)
        return next(self._numbers)

    def left(self, side: LocalSide) -> None:
        """A local connection is gone."""
        self._sides.discard(side)

    def end(self) -> Deferred[Any]:
        """Ends all; fires when they are gone, or when it takes too long."""
        if not self._sides:
            return succeed(None)
        gone = [side.gone for side in self._sides]
        for side in list(self._sides):
            side.leave()
        ended: Deferred[Any] = DeferredList(gone)
        return ended.addTimeout(STOP_LIMIT, self.reactor).addErrback(lambda _: None)


class LocalFactory(Factory[LocalSide]):
    """Makes the local side of each connection to one local port."""

    noisy = False

    def __init__(self, tunnels: Tunnels, port: int) -> None:
        self._tunnels = tunnels
        self._port = port

    def buildProtocol(self, addr: IAddress | None) -> LocalSide:
        """One local connection."""
        return LocalSide(self._tunnels, self._port)


def run_tunnels(
    api: Endpoint, server_id: str, server_name: str, specs: Sequence[Spec], *, wants_json: bool
) -> None:
    """Listens until ^C.

    :raises consoled.cli.failure.Failure: a local port cannot be listened on.
    """
    from twisted.internet import reactor

    teller = Teller(server_id, server_name, wants_json)
    tunnels = Tunnels(reactor, api, api_endpoint(reactor, api), teller)
    problems: list[str] = []

    async def listen() -> None:
        for spec in specs:
            kind = TCP6ServerEndpoint if ":" in spec.bind else TCP4ServerEndpoint
            endpoint = kind(reactor, spec.local, interface=spec.bind)
            listen_on: Any = endpoint.listen
            port = await listen_on(LocalFactory(tunnels, spec.port))
            here = port.getHost()
            teller.listening(spec.bind, here.port, spec.port)

    def failed(failure: TwistedFailure) -> None:
        error: Any = failure.value
        if isinstance(error, CannotListenError):
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            problems.append(f"cannot listen on {error.interface}:{error.port}: {reason}")
        else:
            problems.append(failure.getErrorMessage())
        running: Any = reactor
        running.stop()

    def start() -> None:
        Deferred.fromCoroutine(listen()).addErrback(failed)

    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", tunnels.end)
    running.callWhenRunning(start)
    running.run()
    if problems:
        raise Failure(problems[0])


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None


def _sentence(head: bytes, body: bytes) -> str:
    """What the daemon says of a refusal."""
    status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
    try:
        [inner] = json.loads(body).values()
        return f"{inner['message']} ({inner['code']})"
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return f"the API answers {status or 'something that is not HTTP'}"
