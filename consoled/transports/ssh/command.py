"""A connection that a command makes: its standard input and output (``proxy_command``).

The arguments are run as they are, without a shell.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorProcess,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.transports.ssh.errors import NodeFailed, quoted

log = Logger()

_MOST_WORDS = 2048
"""Bytes of a command's error output that are kept for the log."""

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "SSH_AUTH_SOCK")


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class CommandEndpoint:
    """Runs a command.

    :ivar arguments: the program first, looked up in PATH.
    :ivar label: the server that it leads to, for errors.
    :ivar environment: of this process; a few variables of it are the command's.
    """

    reactor: IReactorProcess
    arguments: tuple[str, ...]
    label: str
    environment: dict[str, str]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected to the command.

        :raises consoled.transports.ssh.errors.NodeFailed: it cannot be started.
        """
        protocol: Any = protocolFactory.buildProtocol(HostnameAddress(self.label.encode(), 0))
        wire = _Command(protocol, self.label)
        kept = {name: self.environment[name] for name in _KEPT if name in self.environment}
        try:
            self.reactor.spawnProcess(wire, self.arguments[0], self.arguments, kept)
        except OSError as error:
            return fail(
                NodeFailed(
                    f"The command that leads to the SSH server {self.label} cannot be started.",
                    f"{self.arguments[0]}: {error.strerror}",
                )
            )
        return succeed(protocol)


@implementer(ITransport)
class _Command(ProcessProtocol):
    """One running command, as a transport."""

    disconnecting = False

    def __init__(self, protocol: Any, label: str) -> None:
        self._protocol, self._label = protocol, label
        self._words = b""

    # Of the process.

    def connectionMade(self) -> None:
        """It runs."""
        self._protocol.makeConnection(self)

    def outReceived(self, data: bytes) -> None:
        """Its output."""
        self._protocol.dataReceived(data)

    def errReceived(self, data: bytes) -> None:
        """Its error output."""
        if len(self._words) < _MOST_WORDS:
            self._words += data

    def inConnectionLost(self) -> None:
        """It reads no more; unless that is our doing, it is of no use any more."""
        if not self.disconnecting:
            self._kill()

    def outConnectionLost(self) -> None:
        """It writes no more: it is of no use any more."""
        self._kill()

    def processEnded(self, reason: Failure) -> None:
        """It has ended."""
        if not reason.check(ProcessDone) and not self.disconnecting:
            log.warn(
                "the command that leads to {label} ended: {reason} {words}",
                label=self._label,
                reason=reason.getErrorMessage(),
                words=quoted(self._words),
            )
        self._protocol.connectionLost(reason)

    # Of the protocol.

    def write(self, data: bytes) -> None:
        """To its input."""
        self._process.write(data)

    def writeSequence(self, data: Any) -> None:
        """To its input."""
        self._process.write(b"".join(data))

    def loseConnection(self) -> None:
        """Closes its input, after what waits; it should end then, and is killed otherwise."""
        self.disconnecting = True
        self._process.closeStdin()

    def abortConnection(self) -> None:
        """Kills it."""
        self.disconnecting = True
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Told while its input is full."""
        self._process.pipes[0].registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nobody is told any more."""
        if 0 in self._process.pipes:
            self._process.pipes[0].unregisterProducer()

    def pauseProducing(self) -> None:
        """Reads no more of its output."""
        self._process.pauseProducing()

    def resumeProducing(self) -> None:
        """Goes on."""
        self._process.resumeProducing()

    def getPeer(self) -> IAddress:
        """No address of a socket."""
        return HostnameAddress(self._label.encode(), 0)

    getHost = getPeer

    @property
    def _process(self) -> Any:
        return self.transport
