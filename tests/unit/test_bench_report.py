"""bench.report and bench.plot: what people and programs read."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from bench import report
from bench.bars import Bar
from bench.figures import Figure, Kind
from bench.plot import svg

LATENCY = Kind(
    "latency",
    "a latency",
    "µs",
    False,
    "p50",
    bars=(
        Bar(0.75, "p50", "websockify"),
        Bar(2.0, "p50", "haproxy"),
        Bar(1.0, "p99", "websockify"),
    ),
)
RATE = Kind("rate", "a rate", "1/s", True, bars=(Bar(400),))
FIGURES = [
    Figure(LATENCY, "consoled", {"p50": (90.0, 100.0, 110.0), "p99": (400.0, 500.0, 600.0)}),
    Figure(LATENCY, "websockify", {"p50": (190.0, 200.0, 210.0), "p99": (250.0, 250.0, 250.0)}),
    Figure(RATE, "consoled", {"value": (1000.0,)}),
]


def test_table_has_a_row_a_statistic_and_ratios() -> None:
    """Each row shows medians with their range and consoled's ratio; what is missing is a dash."""
    assert report.table(FIGURES) == [
        ["figure", "unit", "consoled", "websockify", "consoled / websockify", "bar", "met"],
        [
            *("a latency, p50", "µs", "100 (90.0-110)", "200 (190-210)", "0.5x"),
            *("<= 0.75x websockify, <= 2x haproxy", "met, -"),
        ],
        [
            *("a latency, p99", "µs", "500 (400-600)", "250 (250-250)", "2x"),
            *("<= 1x websockify", "not met"),
        ],
        ["a rate", "1/s", "1000 (1000-1000)", "-", "-", ">= 400", "met"],
    ]


def test_a_figure_beside_another_of_our_own() -> None:
    """A bar may be set against consoled's figure of another kind, if that was measured."""
    kind = Kind("flooded", "flooded", "µs", False, "p50", bars=(Bar(3.0, "p50", beside="latency"),))
    flooded = Figure(kind, "consoled", {"p50": (299.0,)})
    assert report.verdicts([*FIGURES, flooded], kind) == {"<= 3x latency": True}
    assert report.verdicts([flooded], kind) == {"<= 3x latency": None}
    assert report.verdicts([Figure(kind, "direct", {"p50": (1.0,)})], kind) == {}


def test_table_without_consoled_has_no_ratio() -> None:
    """Peers can be measured alone."""
    (_, row, *_) = report.table([FIGURES[1]])
    assert row == ["a latency, p50", "µs", "200 (190-210)", "-", "-", "-"]


def test_text_columns_are_aligned() -> None:
    """Every line of the text is as wide as its ruler, or ends earlier."""
    lines = report.as_text(report.table(FIGURES)).splitlines()
    assert len(lines) == 5
    assert set(lines[1]) == {"-", " "}
    assert max(map(len, lines)) == len(lines[1])


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.12"), (5.0, "5.00"), (42.42, "42.4"), (12345.6, "12346")]
)
def test_short_numbers(value: float, text: str) -> None:
    """Numbers have three significant digits and no exponent."""
    assert report.short(value) == text


def test_json_lines_are_one_object_a_figure() -> None:
    """Each line parses by itself, names its figure and subject, and judges ours."""
    lines = [json.loads(line) for line in report.as_json_lines(FIGURES, {"cores": 2}).splitlines()]
    found = [(line["figure"], line["subject"]) for line in lines]
    assert found == [("latency", "consoled"), ("latency", "websockify"), ("rate", "consoled")]
    wanted = {"<= 0.75x websockify": True, "<= 2x haproxy": None, "<= 1x websockify": False}
    assert [line.get("bars") for line in lines] == [wanted, None, {">= 400": True}]


def test_publish_replaces_what_is_between_the_markers() -> None:
    """The page's own text stays, the old block goes, and a page without markers is refused."""
    page = "Title\n.. figures: begin\nold\n.. figures: end\nend\n"
    published = report.publish(page, "new")
    assert published == "Title\n.. figures: begin\n\nnew\n.. figures: end\nend\n"
    assert report.publish(published, "new") == published
    with pytest.raises(ValueError, match="lacks the lines"):
        report.publish("Title\n", "new")


def test_rst_is_a_list_table() -> None:
    """The page's table has a header row and a dash for each cell."""
    assert report.as_rst([["a", "b"], ["1", "2"]]) == (
        ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - 1\n     - 2\n"
    )


def test_svg_is_well_formed_and_escapes_its_text() -> None:
    """The picture parses as XML, shows a bar a figure, and takes any caption."""
    tree = ElementTree.fromstring(svg(FIGURES, "a <b> & c"))
    texts = [element.text for element in tree.iter() if element.tag.endswith("text")]
    bars = [element for element in tree.iter() if element.tag.endswith("rect")]
    assert "a <b> & c" in texts
    assert len(bars) == 1 + len(FIGURES)
