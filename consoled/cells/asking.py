"""A request to another cell's API, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from consoled import __version__
from consoled.cells.hop import CELL, NOT_HERE, VERSION
from consoled.forwarding.agent import AgentEndpoints

CONNECT_LIMIT = 3.0
"""Seconds until a connection stands."""
LARGEST = 16 * 1024 * 1024
"""Bytes of an answer."""
IDLE = 8
"""Seconds that a connection is kept for the next request."""
CONNECTIONS = 16
"""Kept to one cell."""


class Unreachable(Exception):
    """There is no answer of that cell's; the text says why."""


class TooLarge(Exception):
    """The answer is over :data:`LARGEST`."""


@frozen
class Wish:
    """A request for another cell. Its target may have a console token in it.

    :ivar target: path and query as the client wrote them.
    :ivar plain: the same without a service token of ours, for a cell that refuses it; None where
        there is none in it.
    """

    method: bytes
    target: bytes = field(repr=False)
    headers: Headers = field(factory=Headers, repr=False, eq=False)
    body: bytes = field(default=b"", repr=False)
    plain: Wish | None = field(default=None, repr=False)

    def asking(self, target: bytes) -> Wish:
        """By the same client, a GET of something else.

        :param target: its path and query.
        """
        plain = None if self.plain is None else self.plain.asking(target)
        return Wish(b"GET", target, self.headers, plain=plain)


@frozen
class CellAnswer:
    """What a cell answered.

    :ivar version: of its consoled.
    """

    status: int
    headers: Headers = field(repr=False, eq=False)
    body: bytes = field(repr=False)
    version: str

    @property
    def says_no(self) -> bool:
        """Whether the cell has nothing of what was asked for."""
        return self.status == HTTPStatus.NOT_FOUND and self.headers.hasHeader(NOT_HERE)


@define(eq=False)
class CellClient:
    """Asks one cell.

    :ivar name: of the cell, which each answer has to have.
    :ivar api_url: where its API is.
    :ivar timeout: seconds until its answer is here.
    :ivar dial: leads to a host and a port; the host's name is looked up there.
    :ivar trust: who vouches for an https address; None for whom this system trusts.
    """

    name: str
    api_url: str
    reactor: Any
    timeout: float
    trust: Any = None
    dial: Callable[[str, int], IStreamClientEndpoint] | None = None
    _pool: HTTPConnectionPool = field(init=False)
    _agent: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pool = HTTPConnectionPool(self.reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE
        dial = self.dial or partial(_endpoint, self.reactor)
        endpoints = AgentEndpoints(dial, self.trust)
        self._agent = Agent.usingEndpointFactory(self.reactor, endpoints, self._pool)

    def ask(self, wish: Wish) -> Deferred[CellAnswer]:
        """Its answer, whatever the status. Cancelling gives the request up.

        :raises Unreachable: there is none in time, or it is not this cell's.
        :raises TooLarge: there is one, and it is too large.
        """
        return Deferred.fromCoroutine(self._ask(wish))

    def stop(self) -> Deferred[Any]:
        """Closes what is kept."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed

    async def _ask(self, wish: Wish) -> CellAnswer:
        asked = Deferred.fromCoroutine(self._exchange(wish))
        # Not addTimeout: Agent's Deferreds tell of a cancellation by an error of their own.
        timer = self.reactor.callLater(self.timeout, asked.cancel)
        try:
            return await asked
        except (Unreachable, TooLarge):
            raise
        except Exception as error:  # whatever a network, TLS or HTTP has
            cause = _cause(error)
            if not isinstance(cause, CancelledError):
                raise Unreachable(_words(cause)) from error
            if timer.active():
                raise cause from None
            raise Unreachable(f"it did not answer within {self.timeout:g} s") from None
        finally:
            if timer.active():
                timer.cancel()

    async def _exchange(self, wish: Wish) -> CellAnswer:
        headers = wish.headers.copy()
        headers.setRawHeaders("User-Agent", [f"consoled/{__version__}"])
        producer = _Body(wish.body) if wish.body else None
        uri = self.api_url.encode("ascii") + wish.target
        response = await self._agent.request(wish.method, uri, headers, producer)
        collecting = _Collecting(response.length)
        response.deliverBody(collecting)
        body = await collecting.whole
        self._check(response)
        [version] = response.headers.getRawHeaders(VERSION, ["unknown"])[:1]
        return CellAnswer(response.code, response.headers, body, version)

    def _check(self, response: Any) -> None:
        """That the answer is this cell's.

        :raises Unreachable: it is not.
        """
        names = response.headers.getRawHeaders(CELL, [])
        if not names:
            raise Unreachable(
                f"what answers there ({response.code}) is not its consoled; look at api_url"
            )
        if names != [self.name]:
            raise Unreachable("another cell answers there; look at api_url")


def _endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    return HostnameEndpoint(reactor, host, port, timeout=CONNECT_LIMIT)


def _cause(error: Exception) -> BaseException:
    """Twisted puts what went wrong with a request into a list of failures."""
    reasons = getattr(error, "reasons", None)
    cause: BaseException = reasons[0].value if reasons else error
    return cause


def _words(cause: BaseException) -> str:
    return " ".join(str(cause).split())[:200] or type(cause).__name__


@implementer(IBodyProducer)
class _Body:
    """A short body."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """All of it at once."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is written already."""

    def resumeProducing(self) -> None:
        """It is written already."""

    def stopProducing(self) -> None:
        """It is written already."""


class _Collecting(Protocol):
    """Takes a body, up to a bound.

    :ivar whole: fires with all of it.
    """

    def __init__(self, length: object) -> None:
        self.whole: Deferred[bytes] = Deferred(self._give_up)
        self._length = length if isinstance(length, int) else 0
        self._pieces: list[bytes] = []
        self._size = 0

    def connectionMade(self) -> None:
        """Refuses what says that it is too large."""
        if self._length > LARGEST:
            self._end(Failure(TooLarge()))

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        self._size += len(data)
        self._pieces.append(data)
        if self._size > LARGEST:
            self._end(Failure(TooLarge()))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """All has come, or no more will."""
        if reason is None or reason.check(ResponseDone, PotentialDataLoss):
            self._end(b"".join(self._pieces))
        else:
            self._end(reason)

    def _end(self, outcome: bytes | Failure) -> None:
        if self.whole.called:
            return
        if isinstance(outcome, Failure):
            self._drop()
            self.whole.errback(outcome)
        else:
            self.whole.callback(outcome)

    def _give_up(self, _whole: Deferred[bytes]) -> None:
        self._drop()

    def _drop(self) -> None:
        self._pieces.clear()
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
