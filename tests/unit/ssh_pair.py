"""Our side of SSH and Conch's server, in memory, with a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from consoled.transports.ssh.channel import DirectStream, Stream
from consoled.transports.ssh.connection import Connection
from consoled.transports.ssh.errors import SSHError
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.link import Link
from consoled.transports.ssh.login import KeyLogin
from consoled.transports.ssh.offers import offer_of
from consoled.transports.ssh.values import Login, NoKeys, ProxyNode
from consoled.workers import InlineWorker

USER_KEY = Key(ed25519.Ed25519PrivateKey.generate())
HOST_KEY = Key(ed25519.Ed25519PrivateKey.generate())
RSA_HOST_KEY = Key(rsa.generate_private_key(65537, 2048))


def known(*keys: Key) -> HostKeys:
    """These keys, accepted of any host."""
    return HostKeys.parse("\n".join(key.public().toString("openssh").decode() for key in keys))


class LetsIn(SSHService):
    """A server's login that asks for a proof, and takes any."""

    name = b"ssh-userauth"
    protocolMessages = {50: "MSG_USERAUTH_REQUEST"}  # noqa: RUF012 - Conch's name
    logins = 0

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> None:
        """The key, then its proof."""
        transport: Any = self.transport
        if b"publickey\x01" in packet:
            transport.factory.logins += 1
            transport.sendPacket(52, b"")
            transport.setService(transport.factory.connection)
        else:
            transport.sendPacket(60, NS(b"ssh-ed25519") + NS(USER_KEY.public().blob()))


class ServerChannel(SSHChannel):
    """The server's end of a stream; keeps what comes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.got = b""
        self.ended = False
        self.takes = True

    def dataReceived(self, data: bytes) -> None:
        """Kept."""
        self.got += data

    def eofReceived(self) -> None:
        """The end of it."""
        self.ended = True


class ServerConnection(SSHConnection):
    """Opens what it is asked for, or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[ServerChannel] = []
        self.window = 0
        self.answers = True
        self.opens = True

    def getChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> Any:
        """A new channel."""
        channel = ServerChannel(
            localWindow=self.window,
            remoteWindow=windowSize,
            remoteMaxPacket=maxPacket,
            conn=self,
        )
        self.opened.append(channel)
        return channel

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """Answered, unless it is to be ignored."""
        if self.opens:
            super().ssh_CHANNEL_OPEN(packet)

    def ssh_GLOBAL_REQUEST(self, packet: bytes) -> None:
        """Refused, unless it is to be ignored."""
        if self.answers:
            super().ssh_GLOBAL_REQUEST(packet)


class ServerFactory(SSHFactory):
    """Conch's server with our host keys."""

    def __init__(self, *keys: Key) -> None:
        self.connection = ServerConnection()
        self.logins = 0
        self.services = {b"ssh-userauth": LetsIn}
        self.has(*keys)

    def has(self, *keys: Key) -> None:
        """Its host keys, from now on."""
        self.privateKeys = {key.sshType(): key for key in keys}
        self.publicKeys = {kind: key.public() for kind, key in self.privateKeys.items()}


class Reader(Protocol):
    """Keeps what it gets, and the end."""

    def __init__(self) -> None:
        self.got = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Kept."""
        self.got += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default
        """The end."""
        self.reason = reason


class OneReader:
    """A factory of one protocol."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        """It."""
        return self.protocol


class Pair:
    """Both sides of one connection.

    :ivar lost: why ours has ended.
    :ivar closed: streams that have ended.
    """

    def __init__(
        self, accepted: HostKeys | None = None, host_keys: tuple[Key, ...] = (HOST_KEY,)
    ) -> None:
        accepted = known(HOST_KEY) if accepted is None else accepted
        self.clock = Clock()
        self.clock.advance(1000)
        self.lost: list[SSHError] = []
        self.closed: list[Stream] = []
        self.ready: list[bool] = []
        self.connection = Connection(
            self.clock, 10.0, 10.0, lambda: self.ready.append(True), self.closed.append
        )
        node = ProxyNode("gate", 22, Login("joe", NoKeys(), accepted))
        offers = [offer_of(USER_KEY, InlineWorker())]
        self.link = Link(node, KeyLogin("joe", offers, self.connection), self.clock, self._ended)
        self.factory = ServerFactory(*host_keys)
        self.server = SSHServerTransport()
        self.server.factory = self.factory
        self.server.supportedPublicKeys = [
            name for key in host_keys for name in key.supportedSignatureAlgorithms()
        ]
        ours = FakeTransport(self.link, isServer=False)
        theirs = FakeTransport(self.server, isServer=True)
        self.pump = connect(self.server, theirs, self.link, ours)
        self.run()

    def _ended(self, error: SSHError) -> None:
        self.lost.append(error)
        self.connection.fail(error)

    @property
    def far(self) -> ServerConnection:
        """The server's connection."""
        return self.factory.connection

    def run(self) -> None:
        """Lets both sides say all that they have to, at this time."""
        for _ in range(500):
            self.clock.advance(0)
            if not self.pump.pump():
                self.clock.advance(0)
                if not self.pump.pump():
                    return
        raise AssertionError("they do not come to an end")

    def open(self) -> tuple[Stream, Deferred[Stream]]:
        """A stream that has been asked for."""
        stream = DirectStream("10.0.0.5", 23)
        stream.ask_for(self.connection)
        self.run()
        return stream, stream.opened

    def stream(self, protocol: Any = None) -> tuple[Stream, Any, ServerChannel]:
        """An open stream, its protocol, and the server's end."""
        stream, _ = self.open()
        reader = protocol or Reader()
        stream.attach(OneReader(reader))
        self.run()
        return stream, reader, self.far.opened[-1]
