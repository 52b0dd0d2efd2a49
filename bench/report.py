"""The figures as a table for people, as lines of JSON, and as reStructuredText."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.figures import Figure, Kind, Spread

OURS = "consoled"
Row = list[str]


def table(figures: Sequence[Figure]) -> list[Row]:
    """Header and rows: what, unit, each subject's median and range, consoled's ratio to each.

    The last two columns say what is asked, and whether it is met.
    """
    subjects = list(dict.fromkeys(figure.subject for figure in figures))
    peers = [subject for subject in subjects if subject != OURS]
    ratios = [f"consoled / {peer}" for peer in peers]
    header = ["figure", "unit", *subjects, *ratios, "bar", "met"]
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
                *_judged(figures, kind, statistic),
            ]


def verdicts(
    figures: Sequence[Figure], kind: Kind, statistic: str | None = None
) -> dict[str, bool | None]:
    """What is asked of a kind, and whether consoled's figure meets it.

    :param statistic: of this one only.
    :returns: None for a bar that is set against something that was not measured.
    """
    found = {(figure.kind.name, figure.subject): figure for figure in figures}
    ours = found.get((kind.name, OURS))
    if ours is None:
        return {}
    answers: dict[str, bool | None] = {}
    for bar in kind.bars:
        if statistic in (None, bar.statistic):
            other = found.get((bar.beside or kind.name, bar.peer or OURS))
            measured = None if other is None else other.spread(bar.statistic).median
            met = bar.met(ours.spread(bar.statistic).median, measured, kind.more_is_better)
            answers[bar.text(kind.more_is_better)] = met
    return answers


def _judged(figures: Sequence[Figure], kind: Kind, statistic: str) -> tuple[str, str]:
    answers = verdicts(figures, kind, statistic)
    if not answers:
        return "-", "-"
    words = {True: "met", False: "not met", None: "-"}
    return ", ".join(answers), ", ".join(words[met] for met in answers.values())


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
    """One line of JSON a figure; consoled's have what is asked of them, and whether it is met."""
    lines = (_line(figure, figures, machine) for figure in figures)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _line(figure: Figure, figures: Sequence[Figure], machine: Mapping[str, Any]) -> dict[str, Any]:
    line = figure.as_json(machine)
    if figure.subject == OURS and figure.kind.bars:
        line["bars"] = verdicts(figures, figure.kind)
    return line


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
