"""consoled.compute.port_range: the ports that consoles are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.compute.port_range import LAST, PortRange, parse

cuts = st.lists(st.integers(1, LAST + 1), min_size=2, max_size=8, unique=True).map(sorted)
"""An even number of them are the ends of disjoint segments."""


@st.composite
def ranges(draw: st.DrawFn) -> PortRange:
    """Ranges of up to four segments in whatever order they were written."""
    ends = draw(cuts)
    segments = list(zip(ends[::2], ends[1::2], strict=False))
    return PortRange(tuple(draw(st.permutations(segments))))


@given(ranges())
def test_a_range_is_read_as_it_is_written(ports: PortRange) -> None:
    """Text and value are one, whatever the order and the spaces in it."""
    assert parse(str(ports)) == ports
    assert parse(" , ".join(reversed(str(ports).replace(":", " : ").split(",")))) == ports


@given(ranges(), st.integers(0, LAST + 2))
def test_its_ports_are_those_of_its_segments(ports: PortRange, port: int) -> None:
    """A port belongs to it when it is in a segment; the stop does not."""
    assert (port in ports) is any(port in range(*segment) for segment in ports.segments)
    assert len(ports) == sum(len(range(*segment)) for segment in ports.segments)
    assert all(stop - 1 in ports for _, stop in ports.segments)


@given(ranges(), st.integers(0, LAST + 2), st.integers(1000, 70000))
def test_windows_go_around_once(ports: PortRange, position: int, size: int) -> None:
    """Each port comes once, those from the position on first, in bounded pieces."""
    pieces = list(ports.windows(position, size))
    assert all(0 < len(piece) <= size for piece in pieces)
    walked = [port for piece in pieces for port in piece]
    assert len(walked) == len(ports)
    assert walked == sorted(walked, key=lambda port: (port < position, port))
    assert all(port in ports for port in walked[:: max(1, len(walked) // 50)])


@pytest.mark.parametrize("text", ["10000:10100,10100:10200", "10100:10200, 10000:10100"])
def test_segments_may_touch(text: str) -> None:
    """The stop of one is the start of the next: no port is named twice."""
    ports = parse(text)
    assert (len(ports), str(ports)) == (200, "10000:10100,10100:10200")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not START:STOP"),
        ("10000", "is not START:STOP"),
        ("10000-20000", "is not START:STOP"),
        ("10000:20000,", "is not START:STOP"),
        ("1:2:3", "is not START:STOP"),
        ("-1:5", "is not START:STOP"),
        ("\N{FULLWIDTH DIGIT ONE}:5", "is not START:STOP"),
        ("5:5", "START must be below STOP"),
        ("1:2,9:8", "START must be below STOP"),
        ("0:10", "leaves the ports 1 to 65535"),
        ("1:65537", "may be 65536"),
        ("1:10,5:20", "1:10 and 5:20 overlap"),
        ("5:20,1:10", "1:10 and 5:20 overlap"),
        ("1:10,1:10", "1:10 and 1:10 overlap"),
    ],
)
def test_what_is_no_range(text: str, said: str) -> None:
    """The operator reads what is wrong with it."""
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_a_range_without_segments() -> None:
    """There is always a port."""
    with pytest.raises(ValueError, match="holds no port"):
        PortRange(())


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("1:10", "10:20", False),
        ("1:10", "9:20", True),
        ("1:10,20:30", "10:20,30:40", False),
        ("1:100", "50:51", True),
        ("5:6", "1:2,5:6", True),
    ],
)
def test_overlaps(one: str, other: str, both: bool) -> None:
    """Whether a port is in both, whoever is asked."""
    assert parse(one).overlaps(parse(other)) is parse(other).overlaps(parse(one)) is both
