"""The figures as one SVG: a panel a figure, a bar a subject, whiskers from low to high."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.figures import Figure, Kind
from bench.report import short

COLOURS = {
    "consoled": "#1f6feb",
    "websockify": "#d4731c",
    "haproxy": "#3d8c40",
    "autobahn": "#8250df",
    "direct": "#8b949e",
}
COLUMNS = 2
PANEL_WIDTH = 430
LABEL_WIDTH = 86
VALUE_WIDTH = 96
BAR = 18
STEP = 26
TITLE_HEIGHT = 34
MARGIN = 16
OUTLIER = 1.5
"""How far beyond the longest bar a whisker reaches; it is cut there."""


def svg(figures: Sequence[Figure], caption: str) -> str:
    """The picture.

    :param caption: below all panels: what was measured on.
    """
    kinds = list(dict.fromkeys(figure.kind for figure in figures if figure.kind.plotted))
    panels = [[figure for figure in figures if figure.kind == kind] for kind in kinds]
    body: list[str] = []
    top = MARGIN
    for at in range(0, len(panels), COLUMNS):
        row = panels[at : at + COLUMNS]
        for column, panel in enumerate(row):
            left = MARGIN + column * (PANEL_WIDTH + MARGIN)
            body += _panel(panel[0].kind, panel, left, top)
        top += TITLE_HEIGHT + STEP * max(map(len, row)) + MARGIN
    width = COLUMNS * (PANEL_WIDTH + MARGIN) + MARGIN
    height = top + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *body,
            _text(MARGIN, top + MARGIN, caption, fill="#57606a", size=11),
            "</svg>\n",
        ]
    )


def _panel(kind: Kind, figures: Sequence[Figure], left: int, top: int) -> Iterator[str]:
    better = "more" if kind.more_is_better else "less"
    statistic = "" if kind.headline == "value" else f", {kind.headline}"
    yield _text(left, top + 14, f"{kind.title}{statistic}", weight="bold")
    yield _text(left, top + 27, f"{kind.unit}; {better} is better", fill="#57606a", size=10)
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    # One round that something disturbed must not flatten every bar.
    most = OUTLIER * max(figure.spread().median for figure in figures)
    most = min(most, max(figure.spread().high for figure in figures)) or 1
    start = left + LABEL_WIDTH
    for row, figure in enumerate(figures):
        y = top + TITLE_HEIGHT + row * STEP
        middle = y + BAR / 2
        found = figure.spread()
        low, end, high = (
            start + room * min(1, value / most) for value in (found.low, found.median, found.high)
        )
        colour = COLOURS.get(figure.subject, "#6e7781")
        yield _text(start - 8, middle + 4, figure.subject, anchor="end")
        yield _rect(start, y, end - start, BAR, colour)
        yield (
            f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8'
            f'M{high:.1f} {middle - 4:.1f}v8" stroke="#24292f" fill="none"/>'
        )
        yield _text(max(end, high) + 6, middle + 4, short(found.median))


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    fill: str = "#24292f",
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
    )
