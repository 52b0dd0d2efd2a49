"""What a logged-in connection carries: channels, and the question whether it still lives.

The service ``ssh-connection`` (RFC 4254), on top of Conch's.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    SSHConnection,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from consoled.transports.ssh.channel import Stream
from consoled.transports.ssh.errors import NodeFailed, SSHError
from consoled.transports.ssh.link import Link, Quiet

FIRST_PROBES = 3
"""Questions at the start, one after the other: the first answer comes late, from a server that
is still busy with the login, and a round trip that seems long makes windows larger than needed."""

_KEEPALIVE = b"keepalive@openssh.com"
_DATA = struct.Struct(">LL")
_DATA_PACKET = struct.Struct(">BLL")
_EXTENDED = struct.Struct(">LLL")
_PROHIBITED = struct.pack(">LLL", OPEN_ADMINISTRATIVELY_PROHIBITED, 0, 0)


class Connection(SSHConnection):
    """The channels of one connection.

    :param clock: for round trips and keepalive.
    :param interval: seconds between two questions whether the server is there.
    :param patience: seconds that it may take to answer, while nothing else comes of it.
    :param on_ready: called when the login is over.
    :param on_closed: called after each channel that has ended.

    :ivar seconds: the clock's seconds.
    :ivar round_trip: the shortest way there and back so far, in seconds.
    """

    _log = Quiet()

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        patience: float,
        on_ready: Callable[[], None],
        on_closed: Callable[[Stream], None],
    ) -> None:
        super().__init__()
        self.round_trip = 1.0
        self.seconds = clock.seconds
        self.busy = False
        self._probes = 0
        self._clock, self._interval, self._patience = clock, interval, patience
        self._on_ready, self._on_closed = on_ready, on_closed
        self._timer: IDelayedCall | None = None
        self._stalled: deque[Stream] = deque()
        self._over: SSHError | None = None

    @property
    def link(self) -> Link:
        """The transport layer below."""
        return cast(Link, self.transport)

    # Life.

    def serviceStarted(self) -> None:
        """Logged in."""
        self.link.congested = self._congested
        self.link.on_data = self._data
        self.busy = self.link.busy
        self._ask()
        self._on_ready()

    def serviceStopped(self) -> None:
        """The connection is gone; :meth:`fail` tells the channels why."""

    def fail(self, error: SSHError) -> None:
        """The connection has ended: so have its channels."""
        self._over = error
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        channels = list(self.channels.values())
        self.channels.clear()
        self.localToRemoteChannel.clear()
        self.channelsToRemoteChannel.clear()
        answers = [answer for waiting in self.deferreds.values() for answer in waiting]
        self.deferreds = {"global": []}
        # The channels come first: what they have asked is not why they end.
        for channel in channels:
            channel.cut_off(error)
        for answer in answers:
            answer.errback(error)

    def later(self, delay: float, fn: Callable[..., Any]) -> IDelayedCall:
        """A call in so many seconds."""
        return self._clock.callLater(delay, fn)

    # Whether the server is there.

    def probe(self) -> Deferred[None]:
        """Fires when the server has answered a question that costs it nothing.

        :raises SSHError: it will not any more.
        """
        sent_at = self._clock.seconds()

        def answered(outcome: Any) -> None:
            if isinstance(outcome, Failure) and self._over is not None:
                raise self._over
            # No server knows this request: its refusal is the answer.
            self.round_trip = min(self.round_trip, self._clock.seconds() - sent_at)

        if self._over is not None:
            return succeed(None).addCallback(lambda _: answered(Failure(self._over)))
        asked: Deferred[Any] = self.sendGlobalRequest(_KEEPALIVE, b"", wantReply=1)
        return asked.addBoth(answered)

    def _ask(self) -> None:
        asked_at = self._clock.seconds()
        self._timer = self._clock.callLater(self._patience, self._doubt, asked_at)
        self.probe().addCallbacks(lambda _: self._rest(), lambda _: None)

    def _rest(self) -> None:
        if self._over is None and self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._probes += 1
            wait = 0.0 if self._probes < FIRST_PROBES else self._interval
            self._timer = self._clock.callLater(wait, self._ask)

    def _doubt(self, asked_at: float) -> None:
        heard_at = self.link.heard_at
        if heard_at > asked_at:
            # The answer waits behind other data.
            left = heard_at + self._patience - self._clock.seconds()
            self._timer = self._clock.callLater(left, self._doubt, heard_at)
        else:
            self.link.abort(self.silent())

    def silent(self) -> SSHError:
        """The error for a server that is connected and does not answer."""
        return NodeFailed(
            f"The SSH server {self.link.node.label} does not answer any more.",
            f"nothing came of it for {self._clock.seconds() - self.link.heard_at:.0f} seconds",
        )

    # Data.

    def _data(self, payload: bytes) -> None:
        """Bytes for a channel; its window is its own affair."""
        _, number, length = _DATA_PACKET.unpack_from(payload)
        channel = self.channels[number]
        if length != len(payload) - _DATA_PACKET.size or not channel.window.receive(length):
            self.sendClose(channel)
            channel.cut_off(channel.broke_the_rules())
            return
        channel.arrived(payload[_DATA_PACKET.size :])

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        """The error output of a command."""
        number, _, length = _EXTENDED.unpack_from(packet)
        channel = self.channels[number]
        if not channel.window.receive(length):
            self.sendClose(channel)
            channel.cut_off(channel.broke_the_rules())
            return
        channel.error_output(getNS(packet[8:])[0])

    def send(self, channel: Stream, data: bytes | memoryview) -> None:
        """A channel's bytes, as many as its other side takes in one packet."""
        if not channel.localClosed:
            link: Any = self.transport
            link.send_data(self.channelsToRemoteChannel[channel], data)

    def grant(self, channel: Stream, count: int) -> None:
        """Promises a channel's other side so many bytes more."""
        remote = self.channelsToRemoteChannel.get(channel)
        if remote is not None and not channel.localClosed:
            self.link.sendPacket(MSG_CHANNEL_WINDOW_ADJUST, _DATA.pack(remote, count))

    def stall(self, channel: Stream) -> None:
        """The channel has something to send when the connection is not busy any more."""
        if channel not in self._stalled:
            self._stalled.append(channel)

    def _congested(self, busy: bool) -> None:
        self.busy = busy
        if busy:
            for channel in list(self.channels.values()):
                channel.hold_producer()
            return
        # Each in its turn, until it is busy again.
        for _ in range(len(self._stalled)):
            if self.busy:
                return
            self._stalled.popleft().flush()
        for channel in list(self.channels.values()):
            if self.busy:
                return
            channel.release_producer()

    # Ends of channels.

    def channelClosed(self, channel: Stream) -> None:
        """Both sides have closed it."""
        super().channelClosed(channel)
        self._on_closed(channel)

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """A server opens no channels here: none is asked for."""
        _, rest = getNS(packet)
        self.link.sendPacket(MSG_CHANNEL_OPEN_FAILURE, rest[:4] + _PROHIBITED)
