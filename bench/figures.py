"""Figures and their statistics: pure rules."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attrs import frozen

from bench.bars import Bar

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest sample that at least ``percent`` of all do not exceed (nearest rank).

    :param ordered: at least one sample, in ascending order.
    """
    rank = -(-len(ordered) * round(percent * 10) // 1000)
    return ordered[max(0, rank - 1)]


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p99 and p99.9 of the samples of one round."""
    ordered = sorted(samples)
    return {name: percentile(ordered, percent) for name, percent in PERCENTILES.items()}


class Spread(NamedTuple):
    """One statistic over all rounds."""

    median: float
    low: float
    high: float


def spread(rounds: Sequence[float]) -> Spread:
    """The median of the rounds, and the lowest and the highest of them."""
    return Spread(statistics.median(rounds), min(rounds), max(rounds))


@frozen
class Kind:
    """What is measured.

    :ivar name: as it stands in JSON.
    :ivar title: for people.
    :ivar more_is_better: of two values, whether the larger is the better one.
    :ivar headline: the statistic that stands for the figure.
    :ivar plotted: whether the picture has it; the table has all.
    :ivar bars: what is asked of consoled's figure.
    """

    name: str
    title: str
    unit: str
    more_is_better: bool
    headline: str = "value"
    plotted: bool = True
    bars: tuple[Bar, ...] = ()


@frozen
class Figure:
    """One kind, measured on one subject.

    :ivar statistics: name to the value of each round.
    """

    kind: Kind
    subject: str
    statistics: Mapping[str, tuple[float, ...]]

    def spread(self, statistic: str | None = None) -> Spread:
        """Median and range of a statistic; of the headline by default."""
        return spread(self.statistics[statistic or self.kind.headline])

    def as_json(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        """The figure's line of JSON.

        :param machine: what it was measured on.
        """
        headline = self.spread()
        line: dict[str, Any] = {
            "figure": self.kind.name,
            "unit": self.kind.unit,
            "subject": self.subject,
            "value": _rounded(headline.median),
            "low": _rounded(headline.low),
            "high": _rounded(headline.high),
            "rounds": len(self.statistics[self.kind.headline]),
        }
        for name in self.statistics:
            if name != "value":
                line[name.replace(".", "_")] = _rounded(self.spread(name).median)
        return {**line, "machine": dict(machine)}


def _rounded(value: float) -> float:
    """Four significant digits; more of them would be noise."""
    return float(f"{value:.4g}")
