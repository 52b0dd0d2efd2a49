"""A way to a console that is asked for by name: the specification's ``internal_access_path``.

Some hypervisors (XenServer) serve all their consoles on one port. Before the relay the
client says which one it wants, and the server agrees::

    CONNECT /console?ref=... HTTP/1.1

    HTTP/1.1 200 OK

After the blank line the bytes are the console's. Of a plain socket the answer is read in
pieces that cannot reach beyond its end, so that the console's first bytes wait in the
kernel until the protocol wants them. TLS takes back what came with the answer; another
transport's bytes are given to the protocol as soon as it is connected.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.errors import BackendUnreachable
from consoled.transports.tls import ConsoleTLS

LONGEST_ANSWER = 4096
"""Bytes of a server's answer, up to and with the blank line."""

LONGEST_PATH = 1024
"""Characters of a path; the token's field holds no more."""

_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: [^\r\n]*)?\r\n")


def connect_request(path: str) -> bytes:
    """The request for a console.

    :raises consoled.errors.BackendUnreachable: the path would not be one word of one line.
    """
    if not 1 <= len(path) <= LONGEST_PATH or not path.isprintable() or " " in path:
        raise BackendUnreachable(
            "The internal access path of this console is not a text without spaces and "
            "control characters; whoever made its token has to correct it."
        )
    return b"CONNECT " + path.encode() + b" HTTP/1.1\r\n\r\n"


def status_of(answer: bytes) -> int | None:
    """The status in the first line of a complete answer; None where that is no HTTP."""
    match = _STATUS.match(answer)
    return None if match is None else int(match[1])


def least_missing(answer: bytes) -> int:
    """How many more bytes an answer that has not ended has at the least."""
    return next(missing for missing in range(1, 5) if answer.endswith(_END[: 4 - missing]))


@implementer(IStreamClientEndpoint)
@frozen
class ConnectEndpoint:
    """Dials another endpoint, does the exchange, then gives the connection to the factory.

    :ivar endpoint: where to dial.
    :ivar path: the token's ``internal_access_path``.
    :ivar timeout: seconds from the connection to the end of the server's answer.
    """

    endpoint: IStreamClientEndpoint
    path: str
    clock: IReactorTime
    timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory's protocol, connected to the console. Cancelling closes what is open.

        :raises consoled.errors.BackendUnreachable: the server refused, or gave no answer.
        """
        try:
            request = connect_request(self.path)
        except BackendUnreachable as error:
            return fail(error)
        exchanges = _ExchangeFactory(request, protocolFactory, self.clock, self.timeout)
        dial: Deferred[Any] = self.endpoint.connect(exchanges)
        answer: Deferred[IProtocol] = dial.addCallback(lambda exchange: exchange.agreed)
        return answer


@implementer(IProtocolFactory)
@frozen(eq=False)
class _ExchangeFactory:
    """Makes the protocol of one connection."""

    request: bytes
    wrapped: IProtocolFactory
    clock: IReactorTime
    timeout: float

    def doStart(self) -> None:
        """The wrapped factory's own start."""
        self.wrapped.doStart()

    def doStop(self) -> None:
        """The wrapped factory's own stop."""
        self.wrapped.doStop()

    def buildProtocol(self, addr: IAddress) -> _Exchange:
        """The exchange over one connection."""
        return _Exchange(self, addr)


@define(eq=False, slots=False)
class _Exchange(Protocol):
    """Asks for the console; after that it only passes on what the transport says.

    :ivar agreed: the wrapped factory's protocol, or why there is none.
    """

    exchanges: _ExchangeFactory
    addr: IAddress
    agreed: Deferred[IProtocol] = field(init=False)
    _answer: bytes = field(default=b"", init=False)
    _over: bool = field(default=False, init=False)
    _protocol: IProtocol | None = field(default=None, init=False)
    _timer: IDelayedCall = field(init=False)

    @agreed.default
    def _cancellable(self) -> Deferred[IProtocol]:
        return Deferred(lambda _: self._end())

    def connectionMade(self) -> None:
        """The request goes out."""
        clock, timeout = self.exchanges.clock, self.exchanges.timeout
        self._timer = clock.callLater(
            timeout, self._refuse, f"gave no answer to CONNECT within {timeout:g} seconds"
        )
        self._limit_reads()
        self._wire.write(self.exchanges.request)

    def dataReceived(self, data: bytes) -> None:
        """The server's answer, then the console's bytes."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        elif not self._over:
            self._read(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is closed, by whichever side."""
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
        else:
            how = "closed" if reason.check(ConnectionDone) else "lost"
            self._refuse(f"{how} the connection instead of an answer to CONNECT")

    @property
    def _wire(self) -> Any:
        return self.transport

    def _read(self, data: bytes) -> None:
        self._answer += data
        end = self._answer.find(_END) + len(_END)
        ended = end >= len(_END)
        if (end if ended else len(self._answer) + 1) > LONGEST_ANSWER:
            self._refuse(f"answered CONNECT with a header of more than {LONGEST_ANSWER} bytes")
        elif ended:
            self._judge(self._answer[:end], self._answer[end:])
        else:
            self._limit_reads()

    def _limit_reads(self) -> None:
        """Of a plain socket no more is read than is sure to belong to the answer."""
        if isinstance(self.transport, Connection):
            self.transport.bufferSize = least_missing(self._answer)

    def _judge(self, answer: bytes, rest: bytes) -> None:
        status = status_of(answer)
        if status is None:
            self._refuse("answered CONNECT with something that is not HTTP")
        elif status != 200:
            self._refuse(f"answered CONNECT with the status {status}")
        else:
            self._hand_over(rest)

    def _hand_over(self, rest: bytes) -> None:
        protocol = self.exchanges.wrapped.buildProtocol(self.addr)
        if protocol is None:
            self._end()
            self.agreed.errback(NoProtocol())
            return
        self._finish()
        self._protocol = protocol
        if isinstance(self.transport, Connection):
            self.transport.bufferSize = Connection.bufferSize
        protocol.makeConnection(self._wire)
        if isinstance(self.transport, ConsoleTLS):
            self.transport.unread(rest)
        elif rest:
            protocol.dataReceived(rest)
        self.agreed.callback(protocol)

    def _refuse(self, what: str) -> None:
        if not self._over:
            self._end()
            self.agreed.errback(BackendUnreachable(f"The host of this console {what}."))

    def _end(self) -> None:
        self._finish()
        self._wire.abortConnection()

    def _finish(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
