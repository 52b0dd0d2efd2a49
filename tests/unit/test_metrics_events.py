"""What is counted from the log's events."""

from __future__ import annotations

import errno
from typing import Any
from unittest import mock
from unittest.mock import MagicMock

import pytest
from metric_samples import figures, make_instruments
from twisted.internet import tcp
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher

from consoled.metrics.events import EventCounts
from consoled.metrics.instruments import Instruments
from consoled.metrics.open_sessions import OpenSessions


class World:
    """A log, and what is counted from it."""

    def __init__(self) -> None:
        self.instruments: Instruments = make_instruments()
        self.publisher = LogPublisher()
        sessions = OpenSessions(self.instruments, lambda _: None, Clock())
        self.counts = EventCounts(self.instruments, sessions, self.publisher)
        self.counts.start()
        self._log = Logger(namespace="test", observer=self.publisher)

    def say(self, event: object, **fields: Any) -> None:
        """One event."""
        self._log.info("something happened", event=event, **fields)

    def open(self, session_id: str, **fields: Any) -> None:
        """A console was opened."""
        self.say("session_opened", session_id=session_id, **fields)

    def end(self, session_id: str, code: int | None, **fields: Any) -> None:
        """A session has ended."""
        more: dict[str, Any] = {"bytes_in": 0, "bytes_out": 0, "paused_s": 0.0, "duration_s": 5.0}
        self.say("session_ended", session_id=session_id, close_code=code, **(more | fields))

    def figures(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of that name that are not 0."""
        return figures(self.instruments, name)


def test_sessions_come_and_go() -> None:
    """Open sessions are counted by transport; ended ones by result and close code."""
    world = World()
    world.open("s1")
    world.open("s2", transport="ssh")
    assert world.figures("sessions_active") == {("tcp",): 1, ("ssh",): 1}
    world.end("s1", 1000, bytes_in=3, bytes_out=70, paused_s=2.5)
    world.end("s2", None)
    world.say("session_refused", close_code=4401)
    assert world.figures("sessions_active") == {}
    assert world.figures("sessions_total") == {
        ("ended", "1000"): 1,
        ("ended", "none"): 1,
        ("refused", "4401"): 1,
    }
    assert world.figures("relay_bytes_total") == {("in",): 3, ("out",): 70}
    assert world.figures("session_duration_seconds_sum") == {(): 10}
    assert world.figures("relay_paused_seconds_total") == {(): 2.5}


def test_a_session_that_never_opened_is_refused() -> None:
    """A session that ends before its console is open counts as refused and has no duration."""
    world = World()
    world.end("s1", 1011)
    assert world.figures("sessions_total") == {("refused", "1011"): 1}
    assert world.figures("session_duration_seconds_count") == {}


def test_conflicts() -> None:
    """A console in use is a conflict, whoever found it: this replica, or the database."""
    world = World()
    world.say("session_refused", close_code=4409)
    world.end("s1", 4409)
    assert world.figures("lease_conflicts_total") == {(): 2}


def test_fencing() -> None:
    """Open sessions that end as the replica lost its standing are counted, others are not."""
    world = World()
    world.open("s1")
    world.end("s1", 1013)
    world.end("s2", 1013)
    world.say("session_refused", close_code=1013)
    assert world.figures("fencing_rejections_total") == {(): 1}


def test_take_overs() -> None:
    """A take-over is counted; a disconnect by an operator has the same code and is not."""
    world = World()
    for session_id in ("s1", "s2"):
        world.open(session_id)
    world.say("session_disconnected", session_id="s2")
    world.say("session_disconnected", session_id="unknown")
    for session_id in ("s1", "s2"):
        world.end(session_id, 4410)
    assert world.figures("takeovers_total") == {(): 1}
    assert world.counts._killed == set()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": 400}, "malformed"),
        ({"status": 426}, "version"),
        ({"status": 403, "origin": "https://evil.example"}, "origin"),
        ({"status": 403, "origin": None}, "origin"),
        ({"status": 403}, "replica"),
        ({"status": 503}, "overload"),
        ({"status": 418}, "other"),
    ],
)
def test_refused_handshakes(fields: dict[str, Any], reason: str) -> None:
    """A refusal's reason is one of a few words, and never what the client sent."""
    world = World()
    world.say("handshake_refused", **fields)
    assert world.figures("handshakes_rejected_total") == {(reason,): 1}


def test_sessions_that_are_not_recorded() -> None:
    """A session that must be recorded and cannot be, and one that goes on, are told apart."""
    world = World()
    world.say("recording_failed", session_id="s1")
    world.say("recording_suffers", session_id="s2")
    world.say("recording_suffers", session_id="s3")
    assert world.figures("recording_errors_total") == {("strict",): 1, ("best_effort",): 2}


def test_recordings_on_their_way() -> None:
    """What is archived, what will be tried again, and what is given up are told apart."""
    world = World()
    world.say("recording_archived", session_id="s1")
    world.say("recording_archive_delayed", session_id="s2")
    world.say("recording_archive_delayed", session_id="s2")
    world.say("recording_archive_failed", session_id="s2")
    figures = world.figures("archive_uploads_total")
    assert figures == {("archived",): 1, ("delayed",): 2, ("failed",): 1}


def test_a_hypervisor_that_comes_and_goes() -> None:
    """Each has its own figure, which is as the last event says."""
    world = World()
    world.say("hypervisor_connected", hypervisor="libvirt")
    world.say("hypervisor_connected", hypervisor="other")
    world.say("hypervisor_lost", hypervisor="libvirt")
    assert world.figures("hypervisor_up") == {("other",): 1}


def test_the_rest() -> None:
    """Tokens, refused connections, exhausted ports are counted; the unknown is left alone."""
    world = World()
    world.say("token_issued")
    world.say("port_range_exhausted")
    world.say("http_refused", status=431)
    world.say("something_else")
    world.say(["not", "a", "name"])
    assert world.figures("tokens_issued_total") == {(): 1}
    assert world.figures("http_refused_total") == {("431",): 1}
    assert world.figures("port_range_exhausted_total") == {(): 1}


def test_stop() -> None:
    """After the stop nothing is counted."""
    world = World()
    world.counts.stop()
    world.say("token_issued")
    assert world.figures("tokens_issued_total") == {}


def test_connections_that_twisted_drops() -> None:
    """Those for which no descriptor is left are counted by the words of Twisted's own accept."""
    world = World()
    accepting = Logger(namespace="test", observer=world.publisher)
    listener, reserve = mock.Mock(), MagicMock()
    came = mock.Mock(), ("192.0.2.1", 1)
    full = OSError(errno.EMFILE, "full")
    listener.accept.side_effect = [full, came, came, BlockingIOError(errno.EAGAIN, "none")]
    assert list(tcp._accept(accepting, range(9), listener, reserve)) == []
    assert world.figures("connections_dropped_total") == {(): 2}
