"""The bounds of a pool."""

from __future__ import annotations

from attrs import frozen


@frozen
class PoolLimits:
    """Seconds and numbers.

    :ivar connect_timeout: seconds for a stream or a shell, with everything on the way to it.
    :ivar linger: seconds that a connection is kept after its last channel.
    :ivar keepalive: seconds between two questions whether a server is there.
    :ivar patience: seconds that it may take to answer, while nothing else comes of it; with
        ``keepalive`` the time in which a frozen server is noticed.
    :ivar channels: channels of one connection; another one is made for more.
    :ivar dead_for: seconds that a server which failed is remembered as such.
    """

    connect_timeout: float = 10.0
    linger: float = 60.0
    keepalive: float = 10.0
    patience: float = 10.0
    channels: int = 200
    dead_for: float = 30.0
