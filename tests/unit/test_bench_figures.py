"""bench.figures: percentiles, spreads and lines of JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Figure, Kind, percentile, percentiles, spread

LATENCY = Kind("latency", "a latency", "µs", False, "p50")


def test_percentiles_are_samples_by_nearest_rank() -> None:
    """Of 1 to 1000, each percentile is the sample of that rank, exactly."""
    found = percentiles(list(range(1000, 0, -1)))
    assert found == {"p50": 500, "p99": 990, "p99.9": 999}


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9])
def test_one_sample_is_every_percentile(percent: float) -> None:
    """A single sample stands for all."""
    assert percentile([7.0], percent) == 7.0


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([0.1, 50.0, 99.0, 99.9, 100.0]))
def test_a_percentile_leaves_few_samples_above(samples: list[int], percent: float) -> None:
    """At least that share of the samples does not exceed it, and with the next smaller less."""
    ordered = sorted(samples)
    found = percentile(ordered, percent)
    share = sum(sample <= found for sample in ordered) * 1000
    below = sum(sample < found for sample in ordered) * 1000
    assert share >= round(percent * 10) * len(ordered) > below


def test_spread_is_median_and_range() -> None:
    """One slow round moves the range and not the median."""
    assert spread([10.0, 11.0, 90.0]) == (11.0, 10.0, 90.0)


def test_line_of_json_has_headline_percentiles_and_machine() -> None:
    """The headline's median is the value; the other statistics stand beside it, rounded."""
    statistics = {"p50": (100.0, 123.456, 200.0), "p99": (500.0, 500.0, 900.0), "p99.9": (1e6,) * 3}
    assert Figure(LATENCY, "consoled", statistics).as_json({"cores": 2}) == {
        "figure": "latency",
        "unit": "µs",
        "subject": "consoled",
        "value": 123.5,
        "low": 100.0,
        "high": 200.0,
        "rounds": 3,
        "p50": 123.5,
        "p99": 500.0,
        "p99_9": 1e6,
        "machine": {"cores": 2},
    }
