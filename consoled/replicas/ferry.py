"""The ferry: a viewer's bytes to the replica that has its console, and back, unread.

The owner speaks WebSocket with the viewer itself, its pings and its flow control included:
here a byte is a byte. Each side's full buffer stops the reading of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from consoled.http.sending import write_now


class Side(Protocol):
    """One of the two connections."""

    def __init__(self) -> None:
        self.other: Side | None = None
        self.on_end: Callable[[], None] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """Goes to the other side."""
        if self.other is not None:
            write_now(self.other.transport, data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Ends the other side, after what is on its way there."""
        other, self.other = self.other, None
        if other is not None:
            other.leave()
        self.on_end()

    def leave(self) -> None:
        """The other side is gone."""
        self.other = None
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()


class OwnerSide(Side):
    """The connection to the owner: asks first, and shows that it is alive by an answer.

    :param request: the head of the HTTP request, whole.
    :ivar answered: fires with the first piece of the answer, or fails when there is none.
    """

    def __init__(self, request: bytes) -> None:
        super().__init__()
        self._request = request
        self.answered: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Says what is wanted; the answer is the viewer's."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """The first piece waits for the viewer, and the others with it."""
        if self.answered.called:
            super().dataReceived(data)
        else:
            transport: Any = self.transport
            transport.pauseProducing()
            self.answered.callback(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Ends the viewer's side, or the wait for an answer."""
        if not self.answered.called:
            self.answered.errback(reason or ConnectionDone())
        super().connectionLost(reason)


class ViewerSide(Side):
    """The connection of the viewer; made when it takes over from HTTP.

    :param first: the beginning of the owner's answer.
    """

    def __init__(self, first: bytes) -> None:
        super().__init__()
        self._first = first

    def connectionMade(self) -> None:
        """Joins the two."""
        mine: Any = self.transport
        if self.other is None:
            mine.abortConnection()
            return
        theirs: Any = self.other.transport
        mine.registerProducer(theirs, True)
        theirs.registerProducer(mine, True)
        mine.write(self._first)
        theirs.resumeProducing()


@define(eq=False)
class Hop:
    """One viewer on its way.

    :ivar viewer_side: takes the viewer's connection.
    """

    owner_side: OwnerSide
    viewer_side: ViewerSide

    def __attrs_post_init__(self) -> None:
        self.viewer_side.other = self.owner_side
        self.owner_side.other = self.viewer_side

    def drop(self) -> None:
        """Cuts both connections."""
        for side in (self.owner_side, self.viewer_side):
            side.other = None
            transport: Any = side.transport
            if transport is not None:
                transport.abortConnection()
