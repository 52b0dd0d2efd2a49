"""The figures as a table for people, as lines of JSON, and as reStructuredText."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.figures import Figure, Kind, Spread

OURS = "consoled"
Row = list[str]


def table(figures: Sequence[Figure]) -> list[Row]:
    """Header and rows: what, unit, each subject's median and range, consoled's ratio to each."""
    subjects = list(dict.fromkeys(figure.subject for figure in figures))
    peers = [subject for subject in subjects if subject != OURS]
    header = ["figure", "unit", *subjects, *(f"consoled / {peer}" for peer in peers)]
    return [header, *_rows(figures, subjects, peers)]


def _rows(figures: Sequence[Figure], subjects: list[str], peers: list[str]) -> Iterator[Row]:
    for kind in dict.fromkeys(figure.kind for figure in figures):
        found = {figure.subject: figure for figure in figures if figure.kind == kind}
        for statistic in next(iter(found.values())).statistics:
            spreads = {name: figure.spread(statistic) for name, figure in found.items()}
            yield [
                _title(kind, statistic),
                kind.unit,
                *(_cell(spreads.get(subject)) for subject in subjects),
                *(_ratio(spreads, peer) for peer in peers),
            ]


def _title(kind: Kind, statistic: str) -> str:
    return kind.title if statistic == "value" else f"{kind.title}, {statistic}"


def _cell(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{short(found.median)} ({short(found.low)}-{short(found.high)})"


def _ratio(spreads: Mapping[str, Spread], peer: str) -> str:
    ours, theirs = spreads.get(OURS), spreads.get(peer)
    if ours is None or theirs is None or not theirs.median:
        return "-"
    return f"{ours.median / theirs.median:.3g}x"


def short(value: float) -> str:
    """A number with three significant digits and no exponent."""
    digits = len(str(abs(int(value))))
    return f"{value:.{max(0, 3 - digits)}f}"


def as_text(rows: Sequence[Row]) -> str:
    """The rows in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def as_rst(rows: Sequence[Row]) -> str:
    """The rows as a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'  -' if at else '* -'} {cell}" for at, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def as_json_lines(figures: Sequence[Figure], machine: Mapping[str, Any]) -> str:
    """One line of JSON a figure."""
    return "".join(
        json.dumps(figure.as_json(machine), ensure_ascii=False) + "\n" for figure in figures
    )


def publish(page: str, block: str) -> str:
    """The page with the block in place of what stands between its two markers.

    :raises ValueError: the page lacks a marker.
    """
    start, end = ".. figures: begin\n", ".. figures: end\n"
    before, found, rest = page.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"the page lacks the lines {start.strip()!r} and {end.strip()!r}")
    return f"{before}{start}\n{block}\n{end}{after}"
