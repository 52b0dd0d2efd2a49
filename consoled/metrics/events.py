"""Counts what the log tells: the events of docs/deploying-proxy.rst.

The parts of the daemon say what happens to them once, for people; nothing in them is there
for the figures.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogPublisher
from zope.interface import implementer

from consoled.errors import ConsoleBusy, Unavailable
from consoled.metrics.instruments import (
    ARCHIVED,
    BEST_EFFORT,
    DELAYED,
    FAILED,
    MALFORMED,
    ORIGIN,
    OTHER,
    OVERLOAD,
    REPLICA,
    STRICT,
    TCP,
    VERSION,
    Instruments,
)
from consoled.metrics.open_sessions import OpenSessions
from consoled.proxy.core import TAKEN_OVER

ENDED, REFUSED = "ended", "refused"
NO_CODE = "none"
"""The close code of a session whose viewer was gone before it ended."""

DROPPED = "EMFILE recovery: Closed socket from {address}"
"""What Twisted says, and it alone, when no descriptor is left for a new connection."""

_REASONS = {400: MALFORMED, 426: VERSION, 503: OVERLOAD}


@implementer(ILogObserver)
@define(eq=False)
class EventCounts:
    """An observer of the log.

    :ivar publisher: where the events come by.
    """

    instruments: Instruments
    sessions: OpenSessions
    publisher: LogPublisher
    _handlers: dict[object, Callable[[LogEvent], None]] = field(init=False)
    _killed: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._handlers = {
            "session_opened": self._opened,
            "session_ended": self._ended,
            "session_refused": self._refused,
            "session_disconnected": self._disconnected,
            "handshake_refused": self._handshake_refused,
            "http_refused": self._http_refused,
            "recording_failed": lambda _: self._not_recorded(STRICT),
            "recording_suffers": lambda _: self._not_recorded(BEST_EFFORT),
            "recording_archived": lambda _: self._archive(ARCHIVED),
            "recording_archive_failed": lambda _: self._archive(FAILED),
            "recording_archive_delayed": lambda _: self._archive(DELAYED),
            "token_issued": lambda _: self.instruments.tokens_issued.inc(),
            "port_range_exhausted": lambda _: self.instruments.ports_exhausted.inc(),
            "hypervisor_connected": lambda event: self._hypervisor(event, 1),
            "hypervisor_lost": lambda event: self._hypervisor(event, 0),
        }

    def start(self) -> None:
        """Counts from now on."""
        self.publisher.addObserver(self)

    def stop(self) -> None:
        """Counts nothing more."""
        self.publisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """One event of anybody's."""
        name = event.get("event")
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is not None:
            handler(event)
        elif event.get("log_format") == DROPPED:
            self.instruments.connections_dropped.inc()

    def _opened(self, event: LogEvent) -> None:
        self.sessions.opened(event["session_id"], event.get("transport") or TCP)

    def _ended(self, event: LogEvent) -> None:
        figures = event["bytes_in"], event["bytes_out"], event["paused_s"]
        if self.sessions.ended(event["session_id"], *figures):
            self._was_open(event)
        else:
            self._refused(event)
        self._killed.discard(event["session_id"])

    def _was_open(self, event: LogEvent) -> None:
        self._over(ENDED, event)
        self.instruments.session_duration.observe(event["duration_s"])
        code = event.get("close_code")
        if code == Unavailable.close_code:
            self.instruments.fencing_rejections.inc()
        elif code == TAKEN_OVER and event["session_id"] not in self._killed:
            self.instruments.takeovers.inc()

    def _disconnected(self, event: LogEvent) -> None:
        # An operator's disconnect has the code of a take-over; it is told before the end.
        if event["session_id"] in self.sessions:
            self._killed.add(event["session_id"])

    def _refused(self, event: LogEvent) -> None:
        self._over(REFUSED, event)
        if event.get("close_code") == ConsoleBusy.close_code:
            self.instruments.lease_conflicts.inc()

    def _over(self, result: str, event: LogEvent) -> None:
        code = event.get("close_code")
        self.instruments.sessions.labels(result, NO_CODE if code is None else str(code)).inc()

    def _handshake_refused(self, event: LogEvent) -> None:
        status = event["status"]
        if status == 403:
            # Only the rules of browsers have an origin to tell of.
            reason = ORIGIN if "origin" in event else REPLICA
        else:
            reason = _REASONS.get(status, OTHER)
        self.instruments.handshakes_rejected.labels(reason).inc()

    def _not_recorded(self, mode: str) -> None:
        # Each of the two is said once in a session, and only in its mode.
        self.instruments.recording_errors.labels(mode).inc()

    def _archive(self, result: str) -> None:
        self.instruments.archive_uploads.labels(result).inc()

    def _hypervisor(self, event: LogEvent, up: int) -> None:
        self.instruments.hypervisor_up.labels(event["hypervisor"]).set(up)

    def _http_refused(self, event: LogEvent) -> None:
        self.instruments.http_refused.labels(str(event["status"])).inc()
