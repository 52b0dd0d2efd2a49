"""Times the dials of a transport."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import frozen
from prometheus_client import Histogram
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionRefusedError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from consoled.errors import BackendTimeout
from consoled.interfaces import Transport
from consoled.metrics.instruments import CANCELLED, CONNECTED, FAILED, REFUSED, TIMED_OUT
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.transports.ssh.errors import TargetRefused

T = TypeVar("T")


@frozen
class TimedTransport:
    """Implements :class:`consoled.interfaces.Transport` around another one.

    :ivar durations: by result.
    :ivar seconds: a clock that does not step.
    """

    transport: Transport
    durations: Histogram
    seconds: Callable[[], float]

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """As the other one's, and timed."""
        endpoint: IStreamClientEndpoint = TimedEndpoint(
            self.transport.endpoint(instance, console, behalf), self.durations, self.seconds
        )
        return endpoint


@implementer(IStreamClientEndpoint)
@frozen
class TimedEndpoint:
    """Where to dial, with a stopwatch."""

    endpoint: IStreamClientEndpoint
    durations: Histogram
    seconds: Callable[[], float]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """As the other one, and timed; cancelling reaches it."""
        dial = self.endpoint.connect(protocolFactory)
        return dial.addBoth(partial(self._note, self.seconds()))

    def _note(self, began: float, outcome: T) -> T:
        self.durations.labels(_result(outcome)).observe(self.seconds() - began)
        return outcome


def _result(outcome: object) -> str:
    if not isinstance(outcome, Failure):
        return CONNECTED
    if outcome.check(CancelledError, ConnectingCancelledError):
        return CANCELLED
    if outcome.check(TimedOut, TimeoutError, TCPTimedOutError, BackendTimeout):
        return TIMED_OUT
    return REFUSED if outcome.check(ConnectionRefusedError, TargetRefused) else FAILED
