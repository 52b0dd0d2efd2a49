"""The way of a writer's input to the guest: a key at once, a paste at its pace.

Bytes that have to wait, because they came too fast or the console takes no more, wait here in
their order. More than :data:`ROOM` of them stop the viewer's socket; up to there what the
client has to say besides (an acknowledgement, a cancel) is still heard.
"""

from __future__ import annotations

import sys
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from consoled.proxy.gate import Source
from consoled.proxy.pacing import Bucket

KEY = 16
"""Bytes of a message that goes at once where nothing waits before it: a key, a mouse report. So
nobody's typing is counted, or waits for a clock."""

ROOM = 12 * 1024
"""Bytes that may wait here before the viewer's socket is stopped; one message may be on top."""

REPORT = 1024
"""Bytes of a paste that are worth a word to its page."""


class Outlet(Protocol):
    """Where the input goes, and who hears of it."""

    def let_out(self, data: bytes) -> None:
        """Input whose turn it is, to the guest."""

    def tell_pasted(self, gone: int, dropped: int | None) -> None:
        """So much of the announced paste is at the console; how many bytes never come, if any do
        not: then the paste is over."""


@define(eq=False)
class Inlet:
    """One viewer's input on its way.

    It is what a console that takes no more stops (:class:`gate.InputThrottle`).

    :ivar viewer: the viewer's transport, to be stopped.
    :ivar rate: bytes a second; 0 does not pace.
    :ivar at_once: messages of up to so many bytes go past it, to the outlet; -1 for none.
    """

    viewer: Source
    clock: IReactorTime
    rate: float
    outlet: Outlet
    at_once: int = field(init=False)
    _queue: bytearray | None = field(default=None, init=False)
    _bucket: Bucket | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _blocked: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)
    _paste: _Paste | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._settle()

    @property
    def waiting(self) -> int:
        """Bytes that wait here."""
        return len(self._queue or b"")

    @property
    def busy(self) -> bool:
        """Whether input is on its way: it waits here, or a paste is not over."""
        return self.waiting > 0 or self._paste is not None

    def take(self, data: bytes) -> None:
        """Input that is more than a key, or has to wait its turn."""
        paste = self._paste
        if paste is not None:
            paste.came += len(data)
            if paste.refused:
                self._forget_refused(paste)
                return
        if self._queue is None:
            self._queue = bytearray()
        self._queue += data
        if self._timer is None:
            self._flow()
        self._settle()

    def announce(self, count: int) -> None:
        """A paste begins: of so many bytes of input from here on, its page is told where they are.

        What waits already goes first, and is not counted.
        """
        self._paste = _Paste(count, ahead=self.waiting) if count else None
        self._settle()

    def cancel(self) -> None:
        """The person wants no more of the paste: what waits is dropped, and its page is told."""
        paste = self._paste
        if paste is None:
            return
        if not paste.refused:
            dropped = self._empty()
            self.outlet.tell_pasted(paste.gone, dropped)
        self._paste = None
        self._settle()

    def drop(self) -> int:
        """What waits goes nowhere; nor does what is still to come of a paste, unless its client
        cancels it first.

        :returns: how many bytes waited.
        """
        dropped = self._empty()
        paste = self._paste
        if paste is not None and not paste.refused:
            paste.refused = True
            self.outlet.tell_pasted(paste.gone, dropped)
            self._forget_refused(paste)
        self._settle()
        return dropped

    def stop(self) -> None:
        """The viewer is gone; this is not used again."""
        self._empty()
        self._blocked = True

    def pauseProducing(self) -> None:
        """The console takes no more."""
        self._blocked = True
        self._settle()

    def resumeProducing(self) -> None:
        """The console has room."""
        self._blocked = False
        if self._timer is None:
            self._flow()
        self._settle()

    def _tick(self) -> None:
        self._timer = None
        self._flow()
        self._settle()

    def _flow(self) -> None:
        """Lets out what may go now; the rest has its time."""
        queue = self._queue
        if not queue:
            return
        if self._bucket is None:
            self._bucket = Bucket(self.rate, self.clock.seconds())
        # Giving it away can block this, or end the session.
        while queue and not self._blocked:
            granted = self._bucket.grant(len(queue), self.clock.seconds())
            if not granted:
                self._timer = self.clock.callLater(self._bucket.wait(), self._tick)
                return
            piece = bytes(queue[:granted])
            del queue[:granted]
            self.outlet.let_out(piece)
            self._count(granted)

    def _count(self, granted: int) -> None:
        paste = self._paste
        if paste is None or paste.refused:
            return
        if paste.let_out(granted, nothing_waits=not self._queue):
            self.outlet.tell_pasted(paste.gone, None)
        if paste.gone >= paste.count:
            self._paste = None

    def _forget_refused(self, paste: _Paste) -> None:
        if paste.came >= paste.count:
            self._paste = None
            self._settle()

    def _empty(self) -> int:
        dropped, self._queue = self.waiting, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return dropped

    def _settle(self) -> None:
        """Whether keys pass, and whether the viewer is read from."""
        waiting = self.waiting
        if waiting or self._blocked or self._paste is not None:
            self.at_once = -1
        else:
            self._queue = None
            self.at_once = KEY if self.rate else sys.maxsize
        if not self._stopped and waiting > ROOM:
            self._stopped = True
            self.viewer.pauseProducing()
        elif self._stopped and waiting <= ROOM // 2:
            self._stopped = False
            self.viewer.resumeProducing()


@define(eq=False)
class _Paste:
    """What is known of an announced paste.

    :ivar count: its bytes.
    :ivar ahead: bytes that go before it.
    :ivar came: how many have come.
    :ivar gone: how many are at the console.
    :ivar refused: whether what is still to come of it is dropped.
    """

    count: int
    ahead: int
    came: int = 0
    gone: int = 0
    refused: bool = False
    _told: int = 0

    def let_out(self, size: int, *, nothing_waits: bool) -> bool:
        """Counts bytes at the console; whether that is to be told."""
        before = min(self.ahead, size)
        self.ahead -= before
        self.gone = min(self.count, self.gone + size - before)
        due = self.gone - self._told >= REPORT or nothing_waits or self.gone == self.count
        if due and self.gone > self._told:
            self._told = self.gone
            return True
        return False
