"""The WebSocket of one viewer: autobahn's protocol as an adapter of a session.

autobahn never sees the client's own request: :mod:`consoled.proxy.upgrade` has
judged it, and the answer is given here. autobahn takes the socket over when it is open.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import autobahn.twisted.websocket
import autobahn.websocket.protocol
from attrs import field, frozen
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper

from consoled import __version__
from consoled.http.sending import write_now
from consoled.http.waiting import waiting_bytes
from consoled.model import OBSERVER
from consoled.proxy import subprotocol
from consoled.proxy.presence import Busy
from consoled.proxy.reception import Farewell
from consoled.proxy.relay import binary_head, plain_payload
from consoled.proxy.subprotocol import (
    Acknowledged,
    BadMessage,
    BreakWanted,
    Cancelled,
    Confirmed,
    HandedOver,
    Pasting,
    Resized,
)
from consoled.proxy.viewing import Greeting, SessionInputs

log = Logger()

MESSAGE_LIMIT = 64 * 1024
ENCODED_PIECE = 30 * 1024
CLOSE_HANDSHAKE_TIMEOUT = 5
FAILURE_LINGER = 0.5
"""Seconds that a violator has to fetch the reason."""
REASON_LIMIT = 123
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
PONG_PATIENCE = 1.0
"""Seconds between two looks whether a viewer that takes nothing can take a pong."""
SIP = 512
"""Bytes that autobahn gets at a time: 80 of the smallest frames, 2 ms."""
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What the key of a handshake is hashed with (RFC 6455, section 1.3)."""
FORMATTERS = (
    (autobahn.websocket.protocol, "pformat"),
    (autobahn.websocket.protocol, "hltype"),
    (autobahn.websocket.protocol, "hlval"),
    (autobahn.twisted.websocket, "hltype"),
    (autobahn.twisted.websocket, "hlval"),
)
MEANT = (1000, 1005)
"""Close codes of a viewer that is done; any other way to go may be an accident."""


Begin = Callable[["ConsoleSocket"], "SessionInputs | Farewell"]
"""Starts the session of a socket that has just opened."""


def _unformatted(*_: object) -> str:
    return ""


def cut_reason(reason: str) -> bytes:
    """A close reason within a control frame's limit, cut at a character."""
    return reason.encode()[:REASON_LIMIT].decode("utf-8", "ignore").encode()


class ConsoleSocket(WebSocketServerProtocol):
    """One viewer's WebSocket.

    :param begin: starts the session once the socket is open.
    :param chosen: the subprotocol to speak, or None.
    """

    websocket_version = 13
    _pinged: bytes | None = None

    def __init__(self, begin: Begin, chosen: str | None) -> None:
        super().__init__()
        # Of two sets of a transport's details nobody reads either.
        vars(self)["_transport_details"] = None
        self._begin: Begin | None = begin
        self._speaker = subprotocol.speaker(chosen)
        self._session: SessionInputs | None = None
        self._straight: Callable[[bytes], None] | None = None
        self._unread = b""
        self._dismissed = False

    @property
    def acknowledges(self) -> bool:
        """Whether the page says what it has shown."""
        return self._speaker.controls

    def go_straight(self, take: Callable[[bytes], None] | None) -> None:
        """Where the input of ordinary frames goes from now on; None: by autobahn to the session."""
        self._straight = take if self._speaker.is_wire else None

    def dataReceived(self, data: bytes) -> None:
        """An ordinary frame goes its own way; autobahn takes everything else."""
        take = self._straight
        if (
            take is None
            or self.state != self.STATE_OPEN
            or self._unread
            or self.data
            or self.current_frame is not None
            or self.inside_message
            or (payload := plain_payload(data, MESSAGE_LIMIT)) is None
        ):
            self._sip(data)
        elif payload:
            try:
                take(payload)
            except Exception:
                self._fail()

    def _sip(self, data: bytes) -> None:
        """Gives autobahn so much in a turn of the loop: of tiny frames there are many in a read.

        One read brings no more than that either, so that no more than a TLS record waits here.
        """
        waits = bool(self._unread)
        self._unread += data
        if not waits:
            self._swallow()

    def _swallow(self) -> None:
        sip, self._unread = self._unread[:SIP], self._unread[SIP:]
        if self._unread:
            self.factory.reactor.callLater(0, self._swallow)
        if sip:
            self._dataReceived(sip)

    def connectionLost(self, reason: Any = None) -> None:
        """What came before the end counts."""
        rest, self._unread = self._unread, b""
        if rest:
            self._dataReceived(rest)
        super().connectionLost(reason)

    def connectionMade(self) -> None:
        """As autobahn's, without the transport's details and a debug line, which nobody reads."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self._connectionMade()
        # Counts that nobody reads: one book for all takes a kilobyte off each idle session.
        self.trafficStats = self.factory.traffic

    def accept(self, handshake: Handshake) -> None:
        """Answers a handshake that has been judged; the socket is open.

        autobahn would parse a request for it, and keep its parts.
        """
        write_now(self.transport, handshake.answer)
        vars(self).update(state=self.STATE_OPEN, inside_message=False, current_frame=None)
        pings = self.factory.pings
        if pings.interval:
            self.autoPingPendingCall = self.factory._batched_timer.call_later(
                pings.interval, self._sendAutoPing
            )
        self.onOpen()

    def onOpen(self) -> None:
        """Starts the session, or says why there is none."""
        socket: Any = self.transport
        while isinstance(socket, ProtocolWrapper):
            socket = socket.transport
        socket.bufferSize = SIP
        # For sends in chops, which there are none of: an empty deque takes most of a kilobyte.
        vars(self)["send_queue"] = ()
        vars(self).pop("is_open", None)
        self._guard(self._open)

    def _open(self) -> None:
        begin, self._begin = self._begin, None
        assert begin is not None
        started = begin(self)
        if isinstance(started, Farewell):
            self.dismiss(started.code, started.reason, started.busy)
        else:
            self._session = started

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Input, or a control message."""
        if not self._dismissed and self._session is not None:
            self._guard(self._take, payload, isBinary)

    def _take(self, payload: bytes, is_binary: bool) -> None:
        assert self._session is not None
        try:
            message = self._speaker.decode(payload, is_binary)
        except BadMessage as error:
            self._session.ended(POLICY_VIOLATION, str(error))
            return
        if isinstance(message, Acknowledged):
            self._session.acknowledged(message.count)
        elif isinstance(message, Confirmed):
            self._session.confirmed()
        elif isinstance(message, HandedOver):
            self._session.handed_over()
        elif isinstance(message, BreakWanted):
            self._session.break_wanted(message.sysrq)
        elif isinstance(message, Pasting):
            self._session.pasting(message.count)
        elif isinstance(message, Cancelled):
            self._session.cancelled()
        elif isinstance(message, Resized):
            self._session.resized(message.columns, message.rows)
        elif message:
            self._session.typed(message)

    def onMessageFrameData(self, payload: bytes) -> None:
        """A piece of a frame joins those before it.

        autobahn keeps a list: of bytes that come one by one it takes forty times their size.
        """
        if not self.failedByMe:
            _join(self.frame_data, payload)

    def onMessageFrame(self, payload: Any) -> None:
        """A fragment joins those before it, as above."""
        if not self.failedByMe:
            _join(self.message_data, b"".join(payload))

    def onPing(self, payload: bytes) -> None:
        """Answers, as long as the viewer takes the answers.

        While it does not, the newest ping alone waits for its answer (RFC 6455, section
        5.5.3): of a flood of them nothing gathers here.
        """
        if self._pinged is not None:
            self._pinged = payload
        elif waiting_bytes(self.transport):
            self._pinged = payload
            self.factory.reactor.callLater(PONG_PATIENCE, self._answer_ping)
        else:
            self.sendPong(payload)

    def _answer_ping(self) -> None:
        payload, self._pinged = self._pinged, None
        if payload is not None and self.state == self.STATE_OPEN:
            self.onPing(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The socket is gone."""
        dismissed, self._dismissed = self._dismissed, True
        # A session that has dismissed its viewer may have another one by now.
        if self._session is not None and not dismissed:
            meant = code in MEANT
            self._guard(self._session.viewer_left if meant else self._session.viewer_lost)

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """autobahn's hook for a violation: says so, reads nothing more, ends the session.

        What follows a broken frame has no meaning, so that the client's own
        close could not be told apart from a flood.
        """
        if self._dismissed:
            return
        super()._fail_connection(code, reason)
        self._dismissed = True
        self._straight = None
        self._unread = b""
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.pauseProducing()
        self.factory.reactor.callLater(FAILURE_LINGER, transport.abortConnection)
        if self._session is not None:
            self._session.viewer_left()

    def greet(self, greeting: Greeting) -> None:
        """Tells a page that its console is open."""
        if self._speaker.controls:
            instance, console = greeting.console.instance, greeting.console.console
            role = "writer" if greeting.writes else OBSERVER
            hello = subprotocol.hello(
                session_id=greeting.resume.session_id,
                resume=greeting.resume.clear,
                instance={"uuid": instance.uuid, "name": instance.name},
                index=console.index,
                console_type=console.type,
                kind=console.kind,
                role=role,
                offset=greeting.offset,
                lost=greeting.lost,
                replay=greeting.replay,
                unproven=greeting.unproven,
                paste_rate=greeting.paste_rate,
                breaks=greeting.breaks,
                linger=greeting.linger,
            )
            self.sendMessage(hello, isBinary=False)

    def warn(self, text: str, *, until_typing: bool = False) -> None:
        """Tells a page's person what will happen."""
        self._tell(subprotocol.warning(text, until_typing=until_typing))

    def show_company(self, writer: str | None, observers: Sequence[str]) -> None:
        """Tells a page who is on the line."""
        self._tell(subprotocol.viewers(writer, observers))

    def show_request(self, user: str | None, seconds: float) -> None:
        """Tells a page that somebody asks for its console, or does not any more."""
        self._tell(subprotocol.takeover(user, seconds))

    def show_wait(self, user: str | None, seconds: float) -> None:
        """Tells a page that it has the console in a while."""
        self._tell(subprotocol.waiting(user, seconds))

    def show_pasted(self, gone: int, dropped: int | None) -> None:
        """Tells a page how much of its paste is at the console."""
        self._tell(subprotocol.pasted(gone, dropped))

    def _tell(self, message: bytes) -> None:
        if self._speaker.controls and not self._dismissed:
            self.sendMessage(message, isBinary=False)

    def send(self, data: bytes) -> None:
        """Output for the viewer."""
        if self._dismissed or self.state != self.STATE_OPEN:
            return
        if self._speaker.is_wire:
            write_now(self.transport, data, binary_head(len(data)))
        else:
            # autobahn's limit for messages holds for our own as well, and base64 grows.
            for start in range(0, len(data), ENCODED_PIECE):
                payload, is_binary = self._speaker.encode(data[start : start + ENCODED_PIECE])
                self.sendMessage(payload, isBinary=is_binary)

    def dismiss(self, code: int, reason: str, busy: Busy | None = None) -> None:
        """Closes the WebSocket with a code and a plain reason; nothing follows it.

        :param busy: told to a page first.
        """
        if self._dismissed:
            return
        if busy is not None and self._speaker.controls:
            self.sendMessage(_told(busy), isBinary=False)
        self._dismissed = True
        self._straight = None
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.resumeProducing()
        self.sendCloseFrame(code, cut_reason(reason))

    def _guard(self, fn: Callable[..., None], *args: Any) -> None:
        # autobahn loses what its callbacks raise.
        try:
            fn(*args)
        except Exception:
            self._fail()

    def _fail(self) -> None:
        log.failure("a console's WebSocket failed")
        self.dismiss(INTERNAL_ERROR, "Something went wrong inside consoled.")


def _join(kept: list[Any], piece: bytes) -> None:
    """Appends to the one piece of a list; what comes in one piece stays as it is."""
    if not kept:
        kept.append(piece)
        return
    if isinstance(kept[0], bytes):
        kept[0] = bytearray(kept[0])
    kept[0] += piece


def _told(busy: Busy) -> bytes:
    since = busy.since and datetime.fromtimestamp(busy.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return subprotocol.busy(
        busy.user_id, since or None, takeover=busy.takeover, ask=busy.ask, force=busy.force
    )


@frozen
class PingRules:
    """How a vanished viewer is noticed, in seconds."""

    interval: float
    timeout: float


class ConsoleSocketFactory(WebSocketServerFactory):
    """Makes sockets with every unsafe default of autobahn's set.

    :param reactor: for handshake and ping timers.
    :param pings: how a vanished viewer is noticed.
    """

    noisy = False

    def __init__(self, reactor: Any, pings: PingRules) -> None:
        super().__init__(server=f"consoled/{__version__}", reactor=reactor)
        # autobahn formats names and values for debug lines that are not written.
        for module, name in FORMATTERS:
            setattr(module, name, _unformatted)
        self.setProtocolOptions(
            # Origins are judged before the hand-over; the handshake here has none.
            allowedOrigins=["*"],
            allowNullOrigin=False,
            webStatus=False,
            failByDrop=False,
            maxFramePayloadSize=MESSAGE_LIMIT,
            maxMessagePayloadSize=MESSAGE_LIMIT,
            # The handshake is answered as soon as there is a socket.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=CLOSE_HANDSHAKE_TIMEOUT,
            autoPingInterval=pings.interval,
            autoPingTimeout=pings.timeout,
            tcpNoDelay=True,
            utf8validateIncoming=True,
            requireMaskedClientFrames=True,
            versions=[13],
            serveFlashSocketPolicy=False,
        )
        options = {name: getattr(self, name) for name in ConsoleSocket.CONFIG_ATTRS}
        # autobahn copies its options into each connection: here their class has them.
        fixed: dict[str, Any] = {
            name: staticmethod(value) if callable(value) else value
            for name, value in options.items()
        }
        self._kind: type[ConsoleSocket] = type(
            "ConsoleSocket", (ConsoleSocket,), {**fixed, "CONFIG_ATTRS": ()}
        )
        self.traffic = TrafficStats()
        self.pings = pings

    def socket(self, begin: Begin, chosen: str | None) -> ConsoleSocket:
        """A socket for a request that has been judged."""
        protocol = self._kind(begin, chosen)
        protocol.factory = self
        return protocol


@frozen
class Handshake:
    """What of the client's request its answer needs.

    :ivar key: the Sec-WebSocket-Key.
    :ivar chosen: the subprotocol to speak, or None.
    """

    key: bytes
    chosen: str | None = field(default=None)

    @property
    def answer(self) -> bytes:
        """The response that opens the WebSocket (RFC 6455, section 4.2.2)."""
        hashed = hashlib.sha1(self.key + _MAGIC, usedforsecurity=False).digest()
        protocol = b"" if self.chosen is None else _PROTOCOL % self.chosen.encode("ascii")
        return _ANSWER % (protocol, base64.b64encode(hashed))


_PROTOCOL = b"Sec-WebSocket-Protocol: %s\r\n"
_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Server: consoled/%s\r\n"
    b"Upgrade: WebSocket\r\n"
    b"Connection: Upgrade\r\n"
    b"%%sSec-WebSocket-Accept: %%s\r\n\r\n"
) % __version__.encode("ascii")
