"""The site for a monitoring system: its pages, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from metric_samples import make_instruments
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from wires import Wire

from consoled.metrics.health import Readiness
from consoled.metrics.open_sessions import OpenSessions, Reading
from consoled.metrics.pages import Pages, make_site


class World:
    """The site, and a client of it."""

    def __init__(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.database: Callable[[], Deferred[Any]] = lambda: succeed(None)
        self.draining = False
        self.instruments = make_instruments()
        self.sessions = OpenSessions(self.instruments, lambda _: Reading(7, 9, 0, 0), self.reactor)
        readiness = Readiness(
            database=self,
            clock=self.reactor,
            draining=lambda: self.draining,
            registered=lambda: True,
            full=lambda: False,
            lag=lambda: 0.0,
        )
        self.site = make_site(Pages(self.instruments, self.sessions, readiness, self.reactor))

    def read(self, fn: Any, *args: Any) -> Deferred[Any]:
        """The database's answer."""
        return self.database()

    def run(self, fn: Any, *args: Any) -> Deferred[Any]:
        """Nothing is written."""
        raise AssertionError

    def send(self, target: str, method: str = "GET") -> Wire:
        """One request; its connection."""
        wire = Wire()
        wire.protocol = self.site.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        wire.protocol.dataReceived(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        return wire

    def get(self, target: str, method: str = "GET") -> tuple[int, str, str]:
        """Status, head and body."""
        wire = self.send(target, method)
        while not wire.written:
            self.reactor.advance(0)
        head, _, body = wire.written.decode().partition("\r\n\r\n")
        return int(head.split()[1]), head, body


def test_metrics() -> None:
    """The figures, with those of sessions that are still open."""
    world = World()
    world.sessions.opened("s1", "tcp")
    status, head, body = world.get("/metrics")
    assert status == 200
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    families = {f.name: f for f in text_string_to_metric_families(body)}
    relayed = {s.labels["direction"]: s.value for s in families["consoled_relay_bytes"].samples}
    assert relayed == {"in": 7, "out": 9}


def test_health() -> None:
    """A process that lives says so, whatever else is away, and asks nobody."""
    world = World()
    world.draining, world.database = True, Deferred
    assert world.get("/healthz")[::2] == (200, "ok\n")


def test_ready() -> None:
    """A replica that is ready says so."""
    status, head, body = World().get("/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})
    assert "Cache-Control: no-store" in head


def test_not_ready() -> None:
    """A replica that is not ready says why, with 503."""
    world = World()
    world.draining = True
    status, _, body = world.get("/readyz")
    assert status == 503
    assert json.loads(body) == {"status": "not ready", "reasons": ["The daemon is stopping."]}


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [("/", "GET", 404), ("/metrics/", "GET", 404), ("/metrics", "POST", 405)],
)
def test_refusals(target: str, method: str, status: int) -> None:
    """What is not there, and what is not read, is refused in a sentence."""
    found, _, body = World().get(target, method)
    assert found == status
    assert body.endswith(".\n")


def test_head_and_query() -> None:
    """A query changes nothing; HEAD has the length of the body and no body."""
    world = World()
    assert world.get("/healthz?verbose")[0] == 200
    status, head, body = world.get("/healthz", "HEAD")
    assert (status, body) == (200, "")
    assert "Content-Length: 3" in head


def test_a_client_that_goes_away() -> None:
    """A probe that gives up leaves nothing behind, and no error in the log."""
    world = World()
    asked: Deferred[Any] = Deferred()
    world.database = lambda: asked
    with capturedLogs() as events:
        wire = world.send("/readyz")
        wire.drop()
        asked.callback(None)
    assert wire.written == b""
    assert [e for e in events if "log_failure" in e] == []


def test_an_unforeseen_error() -> None:
    """An error inside is a 500 whose cause is in the log only."""
    world = World()
    world.sessions.opened("s1", "tcp")
    world.sessions.read = lambda _: 1 / 0  # type: ignore[assignment,return-value]  # breaks
    with capturedLogs() as events:
        status, _, body = world.get("/metrics")
    assert status == 500
    assert "ZeroDivision" not in body
    assert any("log_failure" in e for e in events)
