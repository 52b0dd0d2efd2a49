"""One SSH server, reached in one way: its connections, and what has been learned of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.conch.ssh.connection import (
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_RESOURCE_SHORTAGE,
)
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.transports.ssh.carrier import Carrier, ChannelRefused
from consoled.transports.ssh.channel import Stream
from consoled.transports.ssh.errors import NodeFailed, NoForwarding, SSHError
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.session import NC_OPTIONS
from consoled.transports.ssh.values import Route

log = Logger()

MOST_DIALS = 4
"""Connections to one server that are made at the same time."""

ATTEMPTS = 5
"""Connections that a session is tried on, where the first ones turn out to be full."""

Dial = Callable[[Route, float], Deferred[Carrier]]
"""Makes a connection, until a deadline in the clock's seconds."""


@define(eq=False)
class _Waiter:
    """Somebody who waits for a connection with room."""

    session: bool
    deadline: float
    got: Deferred[Carrier]


@define(eq=False)
class Hop:
    """The last server of a route.

    :ivar dial: makes a connection to it.
    :ivar forbids_forwarding: whether it is known to forbid ``direct-tcpip``.
    :ivar nc_options: what its ``nc`` may know, the best first.
    :ivar failure: why it could not be used the last time, or None.
    """

    route: Route
    clock: IReactorTime
    limits: PoolLimits
    dial: Dial
    forbids_forwarding: bool = False
    nc_options: tuple[str, ...] = NC_OPTIONS
    failure: SSHError | None = None
    failed_at: float = 0.0
    carriers: list[Carrier] = field(factory=list, init=False)
    _most_sessions: int | None = field(default=None, init=False)
    _waiters: deque[_Waiter] = field(factory=deque, init=False)
    _dials: list[Deferred[Any]] = field(factory=list, init=False)

    @property
    def label(self) -> str:
        """What logs and people are told."""
        return self.route[-1].label

    @property
    def is_dead(self) -> bool:
        """Whether it has failed a short while ago."""
        recently = self.clock.seconds() - self.failed_at < self.limits.dead_for
        return self.failure is not None and recently

    @property
    def channels(self) -> int:
        """How many channels it carries."""
        return sum(carrier.channels for carrier in self.carriers)

    @property
    def in_use(self) -> bool:
        """Whether there is anything of it that may not be forgotten."""
        return bool(self.carriers or self._waiters or self._dials) or self.is_dead

    async def open(self, make: Callable[[], Stream], deadline: float) -> Stream:
        """An open channel, on whichever connection has room.

        :param make: makes a stream; asked again where a connection turns out to be full.
        :param deadline: when to give up, in the clock's seconds.
        :raises ChannelRefused: the server does not open it.
        :raises consoled.transports.ssh.errors.SSHError: the server, or what it should connect
            to, does not do its part in time.
        """
        for attempt in range(1, ATTEMPTS + 1):
            stream = make()
            carrier = await self._carrier(stream.is_session, deadline)
            try:
                await carrier.open(stream, deadline)
            except ChannelRefused as error:
                full = stream.is_session and error.code != OPEN_ADMINISTRATIVELY_PROHIBITED
                full = full or error.code == OPEN_RESOURCE_SHORTAGE
                if not full:
                    raise
                self._learn(carrier)
                if attempt == ATTEMPTS or self._most_sessions is None:
                    raise NoForwarding(
                        f"The SSH server {self.label} opens no session (MaxSessions).",
                        f"{error.words!r}",
                    ) from None
            except NodeFailed as error:
                self.note(error)
                raise
            else:
                return stream
        raise AssertionError("the last attempt has returned or raised")

    def note(self, error: SSHError) -> None:
        """It has failed just now."""
        self.failure, self.failed_at = error, self.clock.seconds()

    def close(self, error: SSHError) -> None:
        """Ends all there is."""
        for waiter in list(self._waiters):
            waiter.got.errback(error)
        self._waiters.clear()
        for dial in list(self._dials):
            dial.cancel()
        for carrier in list(self.carriers):
            carrier.stop_idling()
            carrier.link.end(error)

    # Connections.

    def _carrier(self, session: bool, deadline: float) -> Deferred[Carrier]:
        carrier = self._with_room(session)
        if carrier is not None and not self._waiters:
            carrier.reserve(session)
            return succeed(carrier)
        waiter = _Waiter(session, deadline, Deferred(lambda _: self._forget(waiter)))
        self._waiters.append(waiter)
        self._dial_more()
        return waiter.got

    def _with_room(self, session: bool) -> Carrier | None:
        return next((carrier for carrier in self.carriers if carrier.has_room(session)), None)

    def _forget(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if not self._waiters:
            for dial in list(self._dials):
                dial.cancel()

    def _dial_more(self) -> None:
        """As many connections as those who wait need, and no more."""
        each = self._most_sessions or self.limits.channels
        while len(self._dials) < MOST_DIALS and len(self._dials) * each < len(self._waiters):
            self._start_dial(min(waiter.deadline for waiter in self._waiters))

    def _start_dial(self, deadline: float) -> None:
        dial = self.dial(self.route, deadline)
        self._dials.append(dial)
        dial.addBoth(self._dialled, dial)

    def _dialled(self, outcome: Carrier | Failure, dial: Deferred[Any]) -> None:
        self._dials.remove(dial)
        if isinstance(outcome, Carrier):
            self.failure = None
            outcome.most_sessions = self._most_sessions
            self.carriers.append(outcome)
            self.serve()
            if not outcome.channels:
                self.rest(outcome)
        elif outcome.check(CancelledError):
            self._dial_more()
        else:
            if isinstance(outcome.value, SSHError):
                self.note(outcome.value)
            waiters, self._waiters = self._waiters, deque()
            for waiter in waiters:
                waiter.got.errback(outcome.value)

    def serve(self) -> None:
        """Gives room to those who wait, in their order."""
        while self._waiters:
            waiter = self._waiters[0]
            carrier = self._with_room(waiter.session)
            if carrier is None:
                self._dial_more()
                return
            self._waiters.popleft()
            carrier.reserve(waiter.session)
            waiter.got.callback(carrier)

    def freed(self, carrier: Carrier, stream: Stream) -> None:
        """A channel has ended, or was not opened."""
        carrier.free(stream.is_session)
        if carrier in self.carriers:
            self.serve()
            if not carrier.channels:
                self.rest(carrier)

    def rest(self, carrier: Carrier) -> None:
        """Nothing uses it; it is kept for a while."""

        def end() -> None:
            self.carriers.remove(carrier)
            carrier.link.end(SSHError(f"The connection to {self.label} was not used any more."))

        carrier.idle(self.limits.linger, end)

    def lost(self, carrier: Carrier, error: SSHError) -> None:
        """A connection has ended."""
        carrier.stop_idling()
        if carrier in self.carriers:
            self.carriers.remove(carrier)
            if isinstance(error, NodeFailed):
                self.note(error)
                log.warn(
                    "SSH to {label}: a connection with {channels} channels ended: {error} "
                    "({detail})",
                    label=self.label,
                    channels=carrier.channels,
                    error=error,
                    detail=error.detail,
                )
        carrier.connection.fail(error)

    # What is learned.

    def _learn(self, carrier: Carrier) -> None:
        """A session was refused while others were open: so many are allowed."""
        carrier.most_sessions = carrier.open_sessions
        if carrier.open_sessions:
            self._most_sessions = carrier.open_sessions
