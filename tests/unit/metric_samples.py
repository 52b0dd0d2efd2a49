"""Reads single figures out of the instruments."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from consoled.metrics.instruments import Instruments


def make_instruments() -> Instruments:
    """Instruments in a registry of their own."""
    return Instruments(CollectorRegistry())


def figures(instruments: Instruments, name: str) -> dict[tuple[str, ...], float]:
    """The samples of that name (without ``consoled_``) that are not 0, by their labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in instruments.collect()
        for sample in metric.samples
        if sample.name == f"consoled_{name}" and sample.value
    }
