"""A request's body that is handed on while it arrives, as fast as it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class BodyTaker(Protocol):
    """Where a body goes."""

    def write(self, data: bytes) -> None:
        """A piece of it."""

    def ended(self) -> None:
        """That was the last piece."""


@implementer(IPushProducer)
@define(eq=False)
class StreamedBody:
    """The body of one request.

    Until somebody takes it nothing is read from the connection, so that no more than one read
    waits here.

    :ivar length: its bytes, or None where they come in chunks.
    :ivar pause: stops reading from the connection.
    :ivar resume: reads on.
    :ivar received: its bytes so far.
    :ivar whole: whether all of it has arrived.
    """

    length: int | None
    pause: Callable[[], None]
    resume: Callable[[], None]
    received: int = field(default=0, init=False)
    whole: bool = field(default=False, init=False)
    _held: bool = field(default=True, init=False)
    _kept: list[bytes] = field(factory=list, init=False)
    _taker: BodyTaker | None = field(default=None, init=False)
    _dropped: bool = field(default=False, init=False)
    _told: bool = field(default=False, init=False)

    @property
    def held(self) -> bool:
        """Whether nothing may be read from the connection now."""
        return self._held and not self.whole

    def start(self, taker: BodyTaker) -> None:
        """Hands on what there is, and then what comes."""
        self._taker = taker
        self.resumeProducing()

    def feed(self, data: bytes) -> None:
        """A piece has arrived."""
        self.received += len(data)
        if self._dropped:
            return
        if self._held or self._taker is None:
            self._kept.append(data)
            self.pause()
        else:
            self._taker.write(data)

    def end(self) -> None:
        """All of it has arrived."""
        self.whole = True
        # Only a connection that is read shows that its client has gone.
        self.resume()
        self._tell_end()

    def drop(self) -> None:
        """Nobody wants the rest: it is read and forgotten."""
        self._dropped = True
        self._taker = None
        self._kept.clear()
        self._held = False
        self.resume()

    def pauseProducing(self) -> None:
        """The taker has enough for now."""
        if not self._dropped:
            self._held = True
            if not self.whole:
                self.pause()

    def resumeProducing(self) -> None:
        """The taker wants more."""
        if self._dropped or self._taker is None:
            return
        self._held = False
        while self._kept and not self._held:
            self._taker.write(self._kept.pop(0))
        if not self._held:
            self.resume()
            self._tell_end()

    def stopProducing(self) -> None:
        """The taker is gone."""
        self.drop()

    def _tell_end(self) -> None:
        if self.whole and not self._kept and not self._told and self._taker is not None:
            self._told = True
            self._taker.ended()
