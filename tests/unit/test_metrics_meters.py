"""The metrics put together: what starts and stops, the listener, its options."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from metric_samples import figures
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher, capturedLogs

from consoled.errors import ConfigError
from consoled.metrics.lag import INTERVAL
from consoled.metrics.meters import Meters, MonitoringListener
from consoled.options import load


def test_parts_count_while_they_run() -> None:
    """Events and lag count from the start of the parts to their stop."""
    reactor, publisher = MemoryReactorClock(), LogPublisher()
    meters = Meters(reactor, lambda _: None, publisher)
    log = Logger(namespace="test", observer=publisher)

    def something_happens() -> tuple[object, object]:
        log.info("a token", event="token_issued")
        reactor.advance(INTERVAL)
        return (
            figures(meters.instruments, "tokens_issued_total").get(()),
            figures(meters.instruments, "reactor_lag_seconds_count").get(()),
        )

    assert something_happens() == (None, None)
    for part in meters.parts:
        part.start()
    assert something_happens() == (1, 1)
    for part in meters.parts:
        part.stop()
    assert something_happens() == (1, 1)
    assert reactor.getDelayedCalls() == []


class Port:
    """A listening port that only remembers that it was closed."""

    closed = False

    def getHost(self) -> IPv4Address:
        """Where it listens."""
        return IPv4Address("TCP", "127.0.0.1", 9184)

    def stopListening(self) -> Deferred[None]:
        """Closes."""
        self.closed = True
        return succeed(None)


class Reactor:
    """Takes over a bound socket."""

    def __init__(self) -> None:
        self.port = Port()

    def adoptStreamPort(self, *_: object) -> Port:
        """The port."""
        return self.port


def test_the_listener() -> None:
    """It says where it listens and closes when it is stopped; before that there is nothing."""
    reactor: Any = Reactor()
    listener = MonitoringListener(reactor, socket.socket(), Factory())
    assert listener.part.stop() is None
    with capturedLogs() as events:
        listener.part.start()
    [event] = events
    assert (event["event"], event["name"], event["port"]) == ("listening", "metrics", 9184)
    listener.part.stop()
    assert reactor.port.closed


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", 9184), ("port = 0", 0), ("port = 1234", 1234), ("port =", None)],
)
def test_the_port(tmp_path: Path, line: str, expected: int | None) -> None:
    """A port, any free one, or no listener at all."""
    path = tmp_path / "consoled.conf"
    path.write_text(f"[metrics]\n{line}\n")
    assert load("c1", [path], {}).metrics.port == expected


def test_bad_options(tmp_path: Path) -> None:
    """A port that is none is refused with its place."""
    path = tmp_path / "consoled.conf"
    path.write_text("[metrics]\nport = 70000\n")
    with pytest.raises(ConfigError, match=r"consoled.conf:2: \[metrics\] port: '70000'"):
        load("c1", [path], {})
