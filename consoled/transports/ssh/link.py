"""One SSH connection to one server: the transport layer of RFC 4253, on top of Conch's.

Conch's own client transport is made for one user at a terminal. This one knows its host keys,
survives any number of key exchanges, packs and unpacks packets in fewer steps, and ends with a
reason.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.connection import MSG_CHANNEL_DATA
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    DISCONNECT_CONNECTION_LOST,
    DISCONNECT_KEY_EXCHANGE_FAILED,
    DISCONNECT_MAC_ERROR,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED,
    MSG_DISCONNECT,
    MSG_KEXINIT,
    SSHClientTransport,
)
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from consoled.transports.ssh import algorithms
from consoled.transports.ssh.errors import NodeFailed, SSHError, host_key_refused, quoted
from consoled.transports.ssh.packets import Clear, Form, Suite, payload_of
from consoled.transports.ssh.values import ProxyNode, place_of

log = Logger()

CLOSE_PATIENCE = 1.0
"""Seconds until a connection that does not close is aborted."""

SHORTEST_PACKET = 8
"""Bytes of one packet after its length: a message number and four of padding, in whole blocks."""

LONGEST_PACKET = 256 * 1024
"""Bytes of one packet; OpenSSH's bound."""

SMALL_READ = 1024
"""Bytes of a read up to which an answer of ours, the next key say, may soon carry the
acknowledgement."""

ACK_DELAY = 0.002
"""Seconds that it is waited for."""

REKEY_BYTES = 4 * 1024**3
"""Bytes after which new keys are agreed on (RFC 4344, section 3.2)."""

REKEY_PACKETS = 2**30
"""Packets after which new keys are agreed on (RFC 4344, section 3.1)."""

_DATA = struct.Struct(">BLL")
_QUICKACK: Any = getattr(socket, "TCP_QUICKACK", None)
_SEQUENCE = 0xFFFFFFFF
_SERVICES = 50
"""Message numbers from here on are those of services (RFC 4250, section 4.1.2)."""

_SENTENCES = {
    DISCONNECT_KEY_EXCHANGE_FAILED: "and this server have no SSH algorithms in common",
    DISCONNECT_MAC_ERROR: "sent a packet that was damaged on the way",
    DISCONNECT_PROTOCOL_ERROR: "broke the rules of SSH",
    DISCONNECT_CONNECTION_LOST: "does not speak SSH 2",
    DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED: "does not speak SSH 2",
}


class Quiet(Logger):
    """Takes Conch's own log lines: they say much of each channel, and payloads among it."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """Nothing."""

    def failure(
        self,
        format: str,
        failure: Failure | None = None,
        level: LogLevel = LogLevel.critical,
        **kwargs: object,
    ) -> None:
        """What went wrong in Conch is worth a line, without what it was given."""
        log.failure("SSH: a packet could not be handled", failure, level)


class Link(SSHClientTransport):
    """A connection to one server, from the first byte on.

    :param first: the service that is asked for when the connection is secure.
    :param on_lost: told why, once, when it has ended.

    :ivar node: whom it should reach.
    :ivar heard_at: when the last bytes came, in the clock's seconds.
    :ivar congested: told when writing should stop, and when it may go on.
    :ivar on_data: gets the packets of channels' data, a shorter way than Conch's.
    """

    _log = Quiet()
    supportedKeyExchanges = [*algorithms.KEY_EXCHANGES, algorithms.STRICT_CLIENT]  # noqa: RUF012
    supportedCiphers = list(algorithms.CIPHERS)  # noqa: RUF012
    supportedMACs = list(algorithms.MACS)  # noqa: RUF012
    supportedCompressions = list(algorithms.COMPRESSIONS)  # noqa: RUF012
    ourVersionString = b"SSH-2.0-consoled"

    def __init__(
        self,
        node: ProxyNode,
        first: SSHService,
        clock: IReactorTime,
        on_lost: Callable[[SSHError], None],
    ) -> None:
        self.node = node
        self.heard_at = clock.seconds()
        self.congested: Callable[[bool], None] = lambda congested: None
        self.on_data: Callable[[bytes], None] | None = None
        self._first, self._clock, self._on_lost = first, clock, on_lost
        self._cause: SSHError | None = None
        self._host_key: bytes | None = None
        self._inbox = bytearray()
        self._socket: socket.socket | None = None
        self._ack: IDelayedCall | None = None
        self._outgoing: Form = Clear()
        self._incoming: Form = Clear()
        self._strict = False
        self._secure = self._ended = self._clogged = self._was_busy = False
        self._closing: IDelayedCall | None = None
        self._sent = self._received = self._packets = 0
        known = node.login.host_keys.types(node.host, node.port)
        self.supportedPublicKeys = algorithms.host_key_algorithms(known)

    # What the connection above it uses.

    @property
    def busy(self) -> bool:
        """Whether data should wait: the socket is full, or keys are being agreed on."""
        return self._clogged or self._keyExchangeState != self._KEY_EXCHANGE_NONE

    @property
    def has_heard(self) -> bool:
        """Whether the other side has said that it speaks SSH 2."""
        return bool(self.gotVersion)

    def end(self, error: SSHError) -> None:
        """Closes it for a reason, which is what :attr:`on_lost` is told."""
        if self._cause is None:
            self._cause = error
        self._close()

    def abort(self, error: SSHError) -> None:
        """Ends it at once, without a word to the other side."""
        if self._cause is None:
            self._cause = error
        self._ended = True
        self._wire.abortConnection()

    # Twisted's hooks.

    def connectionMade(self) -> None:
        """The versions are exchanged."""
        self._wire.registerProducer(self, True)
        if isinstance(self.transport, Connection):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            if _QUICKACK is not None:
                self._socket = self.transport.socket
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the other side: packets, after its version."""
        if self._ended:
            return
        self.heard_at = self._clock.seconds()
        try:
            if not self.gotVersion:
                super().dataReceived(data)
            elif self._inbox or not self._take_whole(data):
                self._inbox += data
                self._dispatch()
            if len(data) > SMALL_READ:
                self._acknowledge()
            elif self._ack is None and self._socket is not None:
                self._ack = self._clock.callLater(ACK_DELAY, self._acknowledge)
        except Exception:
            # A packet that lies about its length, or names a channel that there is not.
            log.failure("SSH to {node}: a packet could not be read", node=self.node.label)
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"unreadable packet")

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        """The end: everybody who is still there is told why."""
        self._ended = True
        for timer in (self._closing, self._ack):
            if timer is not None and timer.active():
                timer.cancel()
        error = self._cause or self._why(reason or connectionDone)
        self._cause = error
        super().connectionLost(reason)
        self._on_lost(error)

    def pauseProducing(self) -> None:
        """The socket is full."""
        self._clogged = True
        self._tell()

    def resumeProducing(self) -> None:
        """The socket takes more."""
        self._clogged = False
        self._tell()

    def stopProducing(self) -> None:
        """The socket is gone; :meth:`connectionLost` comes."""

    def _acknowledge(self) -> None:
        """Lets the kernel acknowledge now what nothing was answered to.

        sshd leaves Nagle's algorithm on where it only forwards: its next bytes wait for that, and
        a kernel takes its time with it (40 ms).
        """
        if self._ack is not None:
            if self._ack.active():
                self._ack.cancel()
            self._ack = None
        if self._socket is not None and not self._ended:
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    # Packets (RFC 4253, section 6).

    def _take_whole(self, data: bytes) -> bool:
        """Handles what came if it is exactly one packet, as a keystroke's echo is."""
        form = self._incoming
        length = form.length(data)
        if length is None or not SHORTEST_PACKET <= length <= LONGEST_PACKET:
            return False
        if len(data) != 4 + length + form.extra:
            return False
        payload = self._opened(form.open(self.incomingPacketSequence, data), len(data))
        if payload is not None:
            self._handle(payload)
        return True

    def _dispatch(self) -> None:
        while not self._ended and (payload := self.getPacket()):
            self._handle(payload)

    def _handle(self, payload: bytes) -> None:
        if payload[0] == MSG_CHANNEL_DATA and self.on_data is not None:
            self.on_data(payload)
        else:
            self.dispatchMessage(payload[0], payload[1:])

    def getPacket(self) -> bytes | None:
        """The next packet's payload, if it is complete."""
        inbox, form = self._inbox, self._incoming
        if self.buf:
            inbox += self.buf
            self.buf = b""
        length = form.length(inbox)
        if length is None:
            return None
        if not SHORTEST_PACKET <= length <= LONGEST_PACKET:
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"bad packet length")
            return None
        end = 4 + length + form.extra
        if len(inbox) < end:
            return None
        with memoryview(inbox) as view, view[:end] as sealed:
            packet = form.open(self.incomingPacketSequence, sealed)
        del inbox[:end]
        return self._opened(packet, end)

    def _opened(self, packet: bytes | None, size: int) -> bytes | None:
        """A packet's payload; None where it is not what was sent."""
        if packet is None:
            self.sendDisconnect(DISCONNECT_MAC_ERROR, b"bad MAC")
            return None
        self.incomingPacketSequence = (self.incomingPacketSequence + 1) & _SEQUENCE
        self._received += size
        payload = payload_of(packet)
        if not payload:
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"empty packet")
            return None
        return payload

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Sends a packet, or keeps it until keys are agreed on."""
        if self._ended:
            return
        exchanging = self._keyExchangeState != self._KEY_EXCHANGE_NONE
        if exchanging and not self._allowedKeyExchangeMessageType(messageType):
            self._blockedByKeyExchange.append((messageType, payload))
        else:
            self._seal(bytes((messageType,)) + payload)

    def send_data(self, remote: int, data: bytes | memoryview) -> None:
        """A channel's bytes, a shorter way than Conch's.

        :param remote: the channel's number over there.
        """
        payload = b"".join((_DATA.pack(MSG_CHANNEL_DATA, remote, len(data)), data))
        if self._ended or self._keyExchangeState != self._KEY_EXCHANGE_NONE:
            self.sendPacket(MSG_CHANNEL_DATA, payload[1:])
            return
        self._seal(payload)
        if self._sent + self._received > REKEY_BYTES or self._packets > REKEY_PACKETS:
            self._sent = self._received = self._packets = 0
            self.sendKexInit()

    def _seal(self, payload: bytes) -> None:
        sealed = self._outgoing.seal(self.outgoingPacketSequence, payload)
        self.outgoingPacketSequence = (self.outgoingPacketSequence + 1) & _SEQUENCE
        self._sent += len(sealed)
        self._packets += 1
        self._write(sealed)

    def _write(self, data: bytes) -> None:
        """At once where nothing waits; Twisted's own write waits for the next turn."""
        wire: Any = self.transport
        if (
            isinstance(wire, Connection)
            and not wire.dataBuffer
            and not wire._tempDataBuffer
            and wire.connected
            and not wire.disconnecting
        ):
            try:
                sent = wire.socket.send(data)
            except OSError:
                # A full socket; another error is found again by the ordinary way.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        wire.write(data)

    # Key exchanges (RFC 4253, sections 7 and 9).

    def sendKexInit(self) -> None:
        """The first step of new keys; what is to be sent waits from here on."""
        super().sendKexInit()
        self._tell()

    def ssh_KEXINIT(self, packet: bytes) -> None:
        """The other side's algorithms: the first thing that it says."""
        # Conch's method checks each list, and leaves the choice where it is replaced below.
        super().ssh_KEXINIT(packet)
        if not self._secure:
            offered = getNS(packet[16:])[0].split(b",")
            self._strict = algorithms.STRICT_SERVER in offered
            if self._strict and self.incomingPacketSequence != 1:
                self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"something came before")
        agreed = getattr(self, "nextEncryptions", None)
        if agreed is not None and not self._ended:
            names = (agreed.outCipType, agreed.inCipType, agreed.outMACType, agreed.inMACType)
            self.nextEncryptions = Suite(*names)

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """One message; before the first keys, with a strict exchange, only what belongs to it."""
        is_exchange = messageNum == MSG_DISCONNECT or MSG_KEXINIT <= messageNum < _SERVICES
        if self._strict and not self._secure and not is_exchange:
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"something came in between")
        else:
            super().dispatchMessage(messageNum, payload)

    def _newKeys(self) -> None:
        self._sent = self._received = self._packets = 0
        suite = cast(Suite, self.nextEncryptions)
        self._outgoing, self._incoming = suite.outgoing, suite.incoming
        if self._strict:
            self.outgoingPacketSequence = self.incomingPacketSequence = 0
        super()._newKeys()
        self._tell()

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> Any:
        """The other side's part of an exchange; it has to sign as it was agreed."""
        _, _, signature, _ = getNS(packet, 3)
        if getNS(signature)[0] != self.keyAlg:
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"signature of another kind")
            return None
        return super().ssh_KEX_DH_GEX_GROUP(packet)

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """Whether the server is whom it should be: known, and the same all the time."""
        node = self.node
        known = node.login.host_keys
        same = self._host_key is None or self._host_key == hostKey
        if same and known.accepts(node.host, node.port, hostKey):
            self._host_key = hostKey
            return succeed(True)
        types = known.types(node.host, node.port)
        self._cause = self._cause or host_key_refused(
            node.label, place_of(node.host, node.port), hostKey, bool(types)
        )
        return fail(self._cause)

    def connectionSecure(self) -> None:
        """Keys are agreed on, for the first time or again."""
        if not self._secure:
            self._secure = True
            self.requestService(self._first)

    # Ends.

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        """Says why to the other side, and closes."""
        if self._cause is None:
            what = _SENTENCES.get(reason, "could not go on with SSH")
            self._cause = NodeFailed(
                f"The SSH server {self.node.label} {what}.", self._detail(reason, desc)
            )
        super().sendDisconnect(reason, desc)
        self._close()

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The other side says why it closes."""
        said = quoted(description)
        self.end(
            NodeFailed(
                f"The SSH server {self.node.label} closed the connection: {said or reasonCode}.",
                f"disconnect code {reasonCode}: {said}",
            )
        )

    def receiveDebug(self, alwaysDisplay: bool, message: bytes, lang: bytes) -> None:
        """Not for anybody here."""

    def receiveUnimplemented(self, seqnum: int) -> None:
        """Nothing that is sent is optional but extensions, which nobody waits for."""

    def _close(self) -> None:
        if not self._ended:
            self._ended = True
            self._wire.unregisterProducer()
            self._wire.loseConnection()
            self._closing = self._clock.callLater(CLOSE_PATIENCE, self._wire.abortConnection)

    def _detail(self, reason: int, desc: bytes) -> str:
        detail = quoted(desc)
        if reason == DISCONNECT_KEY_EXCHANGE_FAILED and hasattr(self, "otherKexInitPayload"):
            lists = getNS(self.otherKexInitPayload[17:], 10)
            names = ("key exchange", "host key", "cipher", "", "MAC")
            offered = [
                f"{name}: {quoted(offer)}"
                for name, offer in zip(names, lists, strict=False)
                if name
            ]
            detail += f"; it offers {'; '.join(offered)}"
        return detail

    def _why(self, reason: Failure) -> NodeFailed:
        label = self.node.label
        if not self._secure:
            return NodeFailed(
                f"The SSH server {label} closed the connection before it had proved who it is.",
                f"{reason.getErrorMessage()}; too many connections at once (MaxStartups), a "
                "firewall, or no SSH server",
            )
        return NodeFailed(
            f"The connection to the SSH server {label} was lost.", reason.getErrorMessage()
        )

    def _tell(self) -> None:
        busy = self.busy
        if busy != self._was_busy:
            self._was_busy = busy
            self.congested(busy)

    @property
    def _wire(self) -> Any:
        return self.transport
