"""How an observer keeps up: never by slowing anyone, but by skipping to live."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from consoled.proxy.gate import CREDIT_WINDOW
from consoled.proxy.ring import Ring


@implementer(IPushProducer)
@define(eq=False)
class Trailing:
    """Sends an observer the line's output, as far as it can take it (design.md, invariant 4).

    While its socket is full, or its page has not shown what it got, nothing is sent; then it
    gets what the ring still has, and is told how much it has missed.

    :ivar ring: of the line; the output is there before it comes here.
    :ivar send: sends output.
    :ivar skipped: told how many bytes were left out.
    :ivar position: the offset of the next byte to send.
    """

    ring: Ring
    send: Callable[[bytes], None]
    skipped: Callable[[int], None]
    position: int
    _reasons: set[str] = field(factory=set, init=False)
    _sent: int = field(default=0, init=False)
    _acknowledged: int = field(default=0, init=False)

    def printed(self, data: bytes) -> None:
        """New output of the line."""
        if not self._reasons:
            self.position = self.ring.end
            self.send(data)

    def spend(self, count: int) -> None:
        """That many bytes went to a page that acknowledges."""
        self._sent += count
        if self._sent - self._acknowledged > CREDIT_WINDOW:
            self._reasons.add("credit")

    def acknowledge(self, count: int) -> None:
        """The page has shown ``count`` bytes in all."""
        self._acknowledged = max(self._acknowledged, min(count, self._sent))
        if self._sent - self._acknowledged <= CREDIT_WINDOW // 2:
            self._free("credit")

    def pauseProducing(self) -> None:
        """The viewer's transport is full."""
        self._reasons.add("socket")

    def resumeProducing(self) -> None:
        """The viewer's transport has room."""
        self._free("socket")

    def stopProducing(self) -> None:
        """The viewer's transport is gone; its own connectionLost says so to the session."""

    def dismantle(self) -> None:
        """Nothing is sent any more."""
        self._reasons.add("gone")

    def _free(self, reason: str) -> None:
        if reason not in self._reasons:
            return
        self._reasons.remove(reason)
        if self._reasons:
            return
        backlog = self.ring.since(self.position)
        if backlog.lost:
            self.skipped(backlog.lost)
        self.position = self.ring.end
        if backlog.data:
            self.send(backlog.data)
