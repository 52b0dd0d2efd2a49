"""The metrics: their names, their labels, the page."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import yaml
from metric_samples import make_instruments
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consoled import __version__
from consoled.metrics.instruments import LINES_AT_ONCE, Instruments

DOCS = Path(__file__).parents[2] / "docs"

LABELS = {
    *("transport", "result", "close_code", "direction", "op", "reason", "status", "mode", "le"),
    *("hypervisor", "host"),
}
BUILD = {"version", "python", "twisted"}


def page(instruments: Instruments) -> str:
    """The whole text."""
    return b"".join(instruments.page()).decode()


def test_no_label_names_anybody() -> None:
    """The labels are those that are listed here: no user, instance, token or address."""
    registry = CollectorRegistry()
    Instruments(registry)
    # Also of those that have no series yet, which the page does not show.
    declared = {
        label
        for collector in set(registry._collector_to_names)
        for label in getattr(collector, "_labelnames", ())
    }
    assert declared == LABELS - {"le"} | BUILD


def test_the_page_is_prometheus_text() -> None:
    """What is served is read by a parser of the format, each sample in its family."""
    text = page(make_instruments())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("consoled_") for name in families)
    assert families["consoled_relay_bytes"].type == "counter"
    [build] = families["consoled_build_info"].samples
    assert (build.value, build.labels["version"]) == (1, __version__)


def test_the_page_in_pieces_is_the_page() -> None:
    """A long metric comes in pieces that are the library's own text together."""
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    for number in range(3 * LINES_AT_ONCE):
        instruments.sessions.labels("ended", str(number)).inc()
    pieces = list(instruments.page())
    assert max(piece.count(b"\n") for piece in pieces) <= LINES_AT_ONCE + 2
    whole = generate_latest(registry).decode().splitlines()
    assert b"".join(pieces).decode().splitlines() == [n for n in whole if "_created" not in n]


def test_series_are_there_from_the_start() -> None:
    """A series whose labels are known is 0, not absent, before its first event."""
    text = page(make_instruments())
    for sample in (
        'consoled_sessions_active{transport="tcp"}',
        'consoled_token_validations_total{result="invalid"}',
        'consoled_relay_bytes_total{direction="in"}',
        'consoled_backend_connect_duration_seconds_count{result="refused"}',
        'consoled_handshakes_rejected_total{reason="origin"}',
        "consoled_takeovers_total",
    ):
        assert f"\n{sample} 0.0\n" in text


def test_no_times_of_birth() -> None:
    """The page has no sample of a counter's creation."""
    assert "_created" not in page(make_instruments())


def test_the_global_registry_is_left_alone() -> None:
    """Two daemons in one process do not meet, and none of it is in the library's registry."""
    one, other = make_instruments(), make_instruments()
    one.takeovers.inc()
    assert "consoled_takeovers_total 1.0" in page(one)
    assert "consoled_takeovers_total 0.0" in page(other)
    assert not [m.name for m in REGISTRY.collect() if m.name.startswith("consoled")]


def test_every_metric_is_documented() -> None:
    """docs/monitoring.rst has each metric in its table, with its labels, and no other."""
    text = (DOCS / "monitoring.rst").read_text(encoding="utf-8")
    documented = set(re.findall(r"^   \* - ``(consoled_[a-z_]+)``", text, flags=re.MULTILINE))
    families = text_string_to_metric_families(page(make_instruments()))
    there = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert documented == there
    for label in LABELS:
        assert f"``{label}``" in text, label


def test_alerts_are_about_what_there_is() -> None:
    """The examples for Prometheus are YAML, and each name in them is one that is served."""
    text = (DOCS / "monitoring.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", text, flags=re.MULTILINE)
    documents = [yaml.safe_load(textwrap.dedent(block)) for block in blocks]
    rules = documents[1]["groups"][0]["rules"]
    served = {
        sample
        for metric in make_instruments().collect()
        for sample in (metric.name, *(s.name for s in metric.samples))
    }
    # Histograms with labels have no series before their first event.
    served |= {f"{name}{end}" for name in served for end in ("_count", "_bucket", "_total")}
    used = {name for rule in rules for name in re.findall(r"consoled_[a-z_]+", rule["expr"])}
    assert len(used) >= 6
    assert used - served == set()
