"""Every metric of the daemon, by the names of reference/operations.md.

Base units, the prefix ``consoled_``, ``_total`` for what only grows. Labels have few values,
all of them ours: never a user, an instance, a token or an address.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import twisted
from consoled import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LINES_AT_ONCE = 50
"""Lines of the page that are made before the event loop has its turn."""

TCP = "tcp"
"""The transport of a session that names none."""

VALID, INVALID, UNAVAILABLE, CANCELLED, FAILED = (
    "valid",
    "invalid",
    "unavailable",
    "cancelled",
    "failed",
)
CONNECTED, REFUSED, TIMED_OUT = "connected", "refused", "timed_out"
IN, OUT = "in", "out"
MALFORMED, VERSION, ORIGIN, REPLICA, OVERLOAD, OTHER = (
    "malformed",
    "version",
    "origin",
    "replica",
    "overload",
    "other",
)
STRICT, BEST_EFFORT = "strict", "best_effort"
ARCHIVED, DELAYED = "archived", "delayed"

_SESSION = (1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_DIAL = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10)
_LAG = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_DATABASE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


class Instruments:
    """The metrics, in a registry of their own.

    :param registry: where they are kept; never the library's global one.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.sessions_active = self._gauge(
            "sessions_active",
            "Sessions that are open now, those that wait for their viewer included.",
            "transport",
        )
        self.sessions = self._counter(
            "sessions_total",
            "Sessions that have ended, and viewers that got none.",
            *("result", "close_code"),
        )
        self.session_duration = self._histogram(
            "session_duration_seconds", "How long ended sessions were open.", _SESSION
        )
        self.tokens_issued = self._counter(
            "tokens_issued_total", "Console URLs that were given out."
        )
        self.token_validations = self._counter(
            "token_validations_total", "Checks of a viewer's token.", "result"
        )
        self.relay_bytes = self._counter(
            "relay_bytes_total",
            "Bytes from viewers to guests (in) and from guests to viewers (out).",
            "direction",
        )
        self.relay_paused = self._counter(
            "relay_paused_seconds_total",
            "Seconds in which guests were held up because a viewer took no more output.",
        )
        self.buffered = self._gauge(
            "buffered_bytes", "Bytes that wait in this process for a viewer or a guest to take."
        )
        self.takeovers = self._counter(
            "takeovers_total", "Sessions that lost their console to another user."
        )
        self.lease_conflicts = self._counter(
            "lease_conflicts_total", "Viewers that found their console in use."
        )
        self.fencing_rejections = self._counter(
            "fencing_rejections_total",
            "Open sessions that were ended because this replica lost the right to their console.",
        )
        self.backend_connect = self._histogram(
            "backend_connect_duration_seconds", "Dials of consoles.", _DIAL, "result"
        )
        self.reactor_lag = self._histogram(
            "reactor_lag_seconds", "How late the event loop ran a timer, twice a second.", _LAG
        )
        self.database = self._histogram(
            "db_operation_duration_seconds",
            "Transactions from the question to the answer, with the wait for a connection.",
            _DATABASE,
            *("op", "result"),
        )
        self.handshakes_rejected = self._counter(
            "handshakes_rejected_total",
            "WebSocket handshakes that were refused with an HTTP status.",
            "reason",
        )
        self.recording_errors = self._counter(
            "recording_errors_total",
            "Sessions that could not be recorded, wholly or in part.",
            "mode",
        )
        self.archive_uploads = self._counter(
            "archive_uploads_total",
            "Recordings on their way to the archive: archived, failed, or delayed to another try.",
            "result",
        )
        self.http_refused = self._counter(
            "http_refused_total",
            "HTTP connections that broke a rule or were too slow, on all listeners.",
            "status",
        )
        self.connections_dropped = self._counter(
            "connections_dropped_total",
            "Connections that were closed at once, as no file descriptor was left for them.",
        )
        self.ports_exhausted = self._counter(
            "port_range_exhausted_total",
            "Serial ports that got no TCP port, as none of [serial_console] port_range was free.",
        )
        self.ports_free = self._gauge(
            "ports_free",
            "Ports of a compute host's port_range that are nobody's, by the books.",
            "host",
        )
        self.ports_used = self._gauge(
            "ports_used",
            "Ports of a compute host's port_range that belong to serial consoles.",
            "host",
        )
        self.hypervisor_up = self._gauge(
            "hypervisor_up",
            "Whether the hypervisor tells what happens to its domains (1), or is away (0).",
            "hypervisor",
        )
        self.ssh_connections = self._gauge(
            "ssh_connections", "Connections to SSH servers that are open now."
        )
        self.ssh_channels = self._gauge(
            "ssh_channels",
            "Streams and shells that those connections carry, further connections among them.",
        )
        self.build_info = self._gauge(
            "build_info", "1, with what is running.", "version", "python", "twisted"
        )
        self._show_from_the_start()

    def _show_from_the_start(self) -> None:
        """A series that begins with its first event has no rate for that event."""
        self.sessions_active.labels(TCP)
        for result in (VALID, INVALID, UNAVAILABLE, CANCELLED, FAILED):
            self.token_validations.labels(result)
        for direction in (IN, OUT):
            self.relay_bytes.labels(direction)
        for result in (CONNECTED, REFUSED, TIMED_OUT, CANCELLED, FAILED):
            self.backend_connect.labels(result)
        for reason in (MALFORMED, VERSION, ORIGIN, REPLICA, OVERLOAD, OTHER):
            self.handshakes_rejected.labels(reason)
        for mode in (STRICT, BEST_EFFORT):
            self.recording_errors.labels(mode)
        for result in (ARCHIVED, FAILED, DELAYED):
            self.archive_uploads.labels(result)
        self.build_info.labels(__version__, platform.python_version(), twisted.__version__).set(1)

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples.

        Without the library's ``_created`` ones: each counter's time of birth doubles the
        page, and the text format has no use for it.
        """
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric

    def page(self) -> Iterator[bytes]:
        """All of them in Prometheus' text format (:data:`CONTENT_TYPE`), piece by piece.

        Altogether it takes some milliseconds, which nobody's keystrokes should wait for.
        """
        for metric in self.collect():
            samples = metric.samples
            for start in range(0, max(1, len(samples)), LINES_AT_ONCE):
                metric.samples = samples[start : start + LINES_AT_ONCE]
                text = generate_latest(_Only(metric))
                # Help and type stand once, before the first sample.
                yield text.split(b"\n", 2)[2] if start else text

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"consoled_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"consoled_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"consoled_{name}", text, labels, registry=self._registry, buckets=buckets)


@frozen
class _Only(Collector):
    """One metric, for the library's text."""

    metric: Metric

    def collect(self) -> Iterable[Metric]:
        """That one."""
        return [self.metric]
