"""A replica that answers what it is told to."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol


class Neighbour(Protocol):
    """Another replica, which answers whatever it is told to, and then hangs up."""

    def __init__(self, answer: bytes, heard: list[bytes]) -> None:
        self._answer = answer
        self._heard = heard

    def dataReceived(self, data: bytes) -> None:
        """A request."""
        self._heard.append(data)
        transport: Any = self.transport
        transport.write(self._answer)
        transport.loseConnection()
