"""A connection that is open, and how much it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.error import ConchError
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from consoled.transports.ssh.channel import Stream
from consoled.transports.ssh.connection import Connection
from consoled.transports.ssh.errors import TargetFailed
from consoled.transports.ssh.link import Link


class ChannelRefused(ConchError):
    """A server does not open a channel.

    :ivar code: why (RFC 4254, section 5.1).
    :ivar words: what it says of that.
    """

    def __init__(self, code: int, words: bytes) -> None:
        super().__init__(words, code)
        self.code, self.words = code, words


class Carrier:
    """One connection of a hop.

    :param link: its transport layer.
    :param connection: its channels.
    :param most: channels that it may carry.

    :ivar channels: places that are taken, by channels or by those who are about to open one.
    :ivar sessions: those of them that the server counts as sessions.
    :ivar most_sessions: how many it has turned out to allow; None while that is not known.
    :ivar trusted: false while it seems not to answer.
    """

    def __init__(self, link: Link, connection: Connection, clock: IReactorTime, most: int) -> None:
        self.link, self.connection = link, connection
        self.channels = self.sessions = 0
        self.most_sessions: int | None = None
        self.trusted = True
        self._clock, self._most = clock, most
        self._idle: IDelayedCall | None = None

    def has_room(self, session: bool) -> bool:
        """Whether one more channel may be asked for."""
        if not self.trusted or self.channels >= self._most:
            return False
        return not session or self.most_sessions is None or self.sessions < self.most_sessions

    @property
    def open_sessions(self) -> int:
        """Sessions that the server has agreed to, and has not closed."""
        return sum(stream.is_session for stream in self.connection.channelsToRemoteChannel)

    def reserve(self, session: bool) -> None:
        """Takes a place."""
        self.stop_idling()
        self.channels += 1
        self.sessions += session

    def free(self, session: bool) -> None:
        """Gives a place back."""
        self.channels -= 1
        self.sessions -= session

    def idle(self, linger: float, on_end: Callable[[], None]) -> None:
        """Nothing is carried: so many seconds from now it is closed."""
        self.stop_idling()
        self._idle = self._clock.callLater(linger, on_end)

    def stop_idling(self) -> None:
        """It is used, or gone."""
        if self._idle is not None and self._idle.active():
            self._idle.cancel()

    async def open(self, stream: Stream, deadline: float) -> None:
        """Opens a channel in a place that is taken.

        :param deadline: when to give up, in the clock's seconds.
        :raises ChannelRefused: the server does not open it.
        :raises consoled.transports.ssh.errors.SSHError: nothing came in time, or the
            connection was lost.
        """
        remaining = max(0.0, deadline - self._clock.seconds())
        answered: list[bool] = []

        def probe() -> None:
            self.connection.probe().addCallbacks(lambda _: answered.append(True), lambda _: None)

        def give_up() -> None:
            timed_out.append(True)
            stream.opened.cancel()

        timed_out: list[bool] = []
        timers = [
            self._clock.callLater(remaining / 2, probe),
            self._clock.callLater(remaining, give_up),
        ]
        stream.ask_for(self.connection)
        try:
            await stream.opened
        except CancelledError:
            if not timed_out:
                raise
            raise self._silence(stream, bool(answered)) from None
        except ConchError as error:
            words, code = (*error.args, None)[:2]
            raise ChannelRefused(code if isinstance(code, int) else 0, words) from None
        finally:
            for timer in timers:
                if timer.active():
                    timer.cancel()

    def _silence(self, stream: Stream, answered: bool) -> Exception:
        """Nothing came in time: of the server itself, or of what is behind it."""
        label = self.link.node.label
        if answered or self.link.heard_at > self._clock.seconds() - 1.0:
            return TargetFailed(
                f"Port {stream.port} cannot be reached through the SSH server {label}: there was "
                "no answer in time."
            )
        self.trusted = False
        self.connection.probe().addCallbacks(self._trust, lambda _: None)
        return self.connection.silent()

    def _trust(self, _: Any) -> None:
        self.trusted = True
