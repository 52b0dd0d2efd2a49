"""The sessions that are open now, and what has gone through them so far.

A session counts its own bytes. They are taken over when somebody looks, and when the session
ends, so that a keystroke costs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from prometheus_client import Counter
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from consoled.metrics.instruments import IN, OUT, Instruments

AT_ONCE = 200
"""Sessions that are looked at before the event loop has its turn: about half a millisecond."""


@frozen
class Reading:
    """What one session shows.

    :ivar bytes_in: from its viewer to the guest, since it began.
    :ivar bytes_out: from the guest to its viewer, since it began.
    :ivar paused: seconds for which its viewer has held up the guest.
    :ivar buffered: bytes that wait in this process for either of them.
    """

    bytes_in: int
    bytes_out: int
    paused: float
    buffered: int


@define(eq=False)
class _Seen:
    transport: str
    bytes_in: int = 0
    bytes_out: int = 0
    paused: float = 0.0


@define(eq=False)
class OpenSessions:
    """Sums over the open sessions.

    :ivar read: shows a session by its id; None where it is not here any more.
    :ivar clock: lets others have their turn.
    """

    instruments: Instruments
    read: Callable[[str], Reading | None]
    clock: IReactorTime
    _seen: dict[str, _Seen] = field(factory=dict, init=False)
    _in: Counter = field(init=False)
    _out: Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in = self.instruments.relay_bytes.labels(IN)
        self._out = self.instruments.relay_bytes.labels(OUT)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._seen

    def opened(self, session_id: str, transport: str) -> None:
        """A console was opened.

        :param transport: how its bytes reach it.
        """
        if session_id not in self._seen:
            self._seen[session_id] = _Seen(transport)
            self.instruments.sessions_active.labels(transport).inc()

    def ended(self, session_id: str, bytes_in: int, bytes_out: int, paused: float) -> bool:
        """A session has ended with so many bytes in all; False if it had never opened.

        :param paused: seconds for which its viewers held up the guest.
        """
        seen = self._seen.pop(session_id, None)
        if seen is None:
            return False
        self.instruments.sessions_active.labels(seen.transport).dec()
        self._count(seen, bytes_in, bytes_out, paused)
        return True

    async def look(self) -> None:
        """Counts what has gone through since the last look, and sums up what waits."""
        buffered = 0
        for number, session_id in enumerate(list(self._seen), 1):
            reading = self.read(session_id)
            seen = self._seen.get(session_id)
            if reading is not None and seen is not None:
                self._count(seen, reading.bytes_in, reading.bytes_out, reading.paused)
                buffered += reading.buffered
            if number % AT_ONCE == 0:
                await deferLater(self.clock, 0)
        self.instruments.buffered.set(buffered)

    def _count(self, seen: _Seen, bytes_in: int, bytes_out: int, paused: float) -> None:
        # A counter that went down would count as a restart of the daemon.
        if bytes_in > seen.bytes_in:
            self._in.inc(bytes_in - seen.bytes_in)
            seen.bytes_in = bytes_in
        if bytes_out > seen.bytes_out:
            self._out.inc(bytes_out - seen.bytes_out)
            seen.bytes_out = bytes_out
        if paused > seen.paused:
            self.instruments.relay_paused.inc(paused - seen.paused)
            seen.paused = paused
