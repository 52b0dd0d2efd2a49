"""The gate in front of a console's output: closed while the viewer cannot take more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

CREDIT_WINDOW = 256 * 1024
"""Bytes of output that a page may leave unacknowledged."""


class Source(Protocol):
    """What the gate holds back: a transport that can stop reading."""

    def pauseProducing(self) -> None:
        """Stops reading."""

    def resumeProducing(self) -> None:
        """Reads again."""


@define(eq=False)
class Valve:
    """A source that several hold back, each for a reason of its own.

    :ivar source: stops when the first one holds it, and goes on after the last.
    """

    source: Source
    _reasons: set[str] = field(factory=set, init=False)

    def hold(self, reason: str) -> None:
        """One more reason to stop."""
        if not self._reasons:
            self.source.pauseProducing()
        self._reasons.add(reason)

    def free(self, reason: str) -> None:
        """One reason less."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self.source.resumeProducing()

    def turn_to(self, source: Source) -> None:
        """Another source in the place of one that is gone."""
        self.source = source
        if self._reasons:
            source.pauseProducing()

    def pauseProducing(self) -> None:
        """The viewer's gate is closed."""
        self.hold("viewer")

    def resumeProducing(self) -> None:
        """The viewer's gate is open."""
        self.free("viewer")


@implementer(IPushProducer)
@define(eq=False)
class Gate:
    """Holds the console's output back for each reason there is, for a bounded time.

    It is the producer of the viewer's transport, whose full buffer is one
    reason; output that the page has not acknowledged is another.

    :ivar source: the console's transport.
    :ivar clock: for the stall limit.
    :ivar stall_timeout: seconds that a viewer may hold the guest (design.md, invariant 4).
    :ivar on_stall: called once when that is over.
    """

    source: Source
    clock: IReactorTime
    stall_timeout: float
    on_stall: Callable[[], None]
    _reasons: set[str] = field(factory=set, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _held: float = field(default=0.0, init=False)
    _sent: int = field(default=0, init=False)
    _acknowledged: int = field(default=0, init=False)

    @property
    def held(self) -> float:
        """Seconds for which the source was held back so far."""
        return self._held + (self.clock.seconds() - self._since if self._reasons else 0.0)

    def spend(self, count: int) -> None:
        """That many bytes went to a page that acknowledges."""
        self._sent += count
        if self._sent - self._acknowledged > CREDIT_WINDOW:
            self._hold("credit")

    def acknowledge(self, count: int) -> None:
        """The page has shown ``count`` bytes in all; more than were sent counts as all."""
        shown = min(count, self._sent)
        if shown <= self._acknowledged:
            return
        self._acknowledged = shown
        if self._sent - shown <= CREDIT_WINDOW // 2:
            self._free("credit")
        if self._timer is not None:
            self._timer.reset(self.stall_timeout)

    def pauseProducing(self) -> None:
        """The viewer's transport is full."""
        self._hold("socket")

    def resumeProducing(self) -> None:
        """The viewer's transport has room."""
        self._free("socket")

    def stopProducing(self) -> None:
        """The viewer's transport is gone; its own connectionLost says so to the session."""

    def dismantle(self) -> None:
        """Lets the source go; the gate is not used again."""
        self._stop_timer()
        if self._reasons:
            self._held = self.held
            self._reasons.clear()
            self.source.resumeProducing()

    def _hold(self, reason: str) -> None:
        if not self._reasons:
            self._since = self.clock.seconds()
            self.source.pauseProducing()
            self._timer = self.clock.callLater(self.stall_timeout, self._stalled)
        self._reasons.add(reason)

    def _free(self, reason: str) -> None:
        if reason in self._reasons:
            held = self.held
            self._reasons.remove(reason)
            if not self._reasons:
                self._held = held
                self._stop_timer()
                self.source.resumeProducing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stalled(self) -> None:
        self._timer = None
        self.on_stall()


@implementer(IPushProducer)
@define(eq=False)
class InputThrottle:
    """The producer of the console's transport: a guest that does not read stops the input.

    The console outlives its viewers, so the one whose input is stopped changes.
    """

    _source: Source | None = field(default=None, init=False)
    _reasons: frozenset[str] = field(default=frozenset(), init=False)

    def turn_to(self, source: Source | None) -> None:
        """Another viewer's input, or nobody's."""
        self._source = source
        if self._reasons and source is not None:
            source.pauseProducing()

    def holds(self, reason: str) -> bool:
        """Whether that is one of the reasons."""
        return reason in self._reasons

    def hold(self, reason: str) -> None:
        """One more reason to stop."""
        self._reasons |= {reason}
        if self._source is not None:
            self._source.pauseProducing()

    def free(self, reason: str) -> None:
        """One reason less."""
        self._reasons -= {reason}
        if not self._reasons and self._source is not None:
            self._source.resumeProducing()

    def pauseProducing(self) -> None:
        """The console's buffer is full."""
        self.hold("console")

    def resumeProducing(self) -> None:
        """The console has room."""
        self.free("console")

    def stopProducing(self) -> None:
        """The console's transport is gone; the line says so to the session."""
