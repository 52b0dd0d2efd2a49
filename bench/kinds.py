"""The figures of the relay, and what is asked of them."""

from __future__ import annotations

from bench.bars import Bar
from bench.figures import Kind

KEYSTROKE = Kind(
    "keystroke",
    "keystroke and its echo",
    "µs",
    False,
    "p50",
    bars=(
        Bar(0.75, "p50", "websockify"),
        Bar(1.5, "p50", "haproxy"),
        Bar(1.0, "p99", "websockify"),
    ),
)
KEYSTROKE_TLS = Kind(
    "keystroke_tls",
    "keystroke over TLS",
    "µs",
    False,
    "p50",
    bars=(Bar(0.7, "p50", "autobahn"),),
)
RECORDED = Kind("keystroke_recorded", "keystroke, recorded", "µs", False, "p99")
RECORDING = Kind(
    "recording",
    "keystroke, recorded / not recorded",
    "x",
    False,
    "p99",
    bars=(Bar(1.2, "p99"),),
    plotted=False,
)
TYPING = Kind(
    "typing",
    "keystroke while many type",
    "µs",
    False,
    "p99",
    bars=(Bar(1.0, "p99", "websockify"),),
)
TYPING_FLOODED = Kind(
    "typing_flooded",
    "keystroke while many type, beside a flood",
    "µs",
    False,
    "p99",
    bars=(Bar(3.0, "p99", beside="typing"),),
)
BULK = Kind("bulk", "bulk output", "MB/s", True, bars=(Bar(1.0, peer="websockify"),))
OPENED = Kind(
    "opened", "sessions opened", "1/s", True, bars=(Bar(400.0), Bar(2.0, peer="websockify"))
)
OPENED_TLS = Kind("opened_tls", "sessions opened over TLS", "1/s", True, bars=(Bar(150.0),))
ISSUED = Kind("issued", "console URLs issued", "1/s", True)


def idle_kind(count: int, *, tls: bool = False) -> Kind:
    """Memory with that many idle sessions."""
    if tls:
        title = f"memory per idle session over TLS of {count}"
        return Kind(f"idle_tls_{count}", title, "KiB", False, bars=(Bar(48.0),))
    title = f"memory per idle session of {count}"
    return Kind(f"idle_{count}", title, "KiB", False, bars=(Bar(16.0),))
