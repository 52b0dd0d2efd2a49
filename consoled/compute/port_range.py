"""The ports that serial consoles are given. Pure.

The specification's ``start:stop``, the stop exclusive, or several of them between commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from attrs import field, frozen

LAST = 65535
"""The highest TCP port."""

_SEGMENT = re.compile(r"\s*([0-9]{1,6})\s*:\s*([0-9]{1,6})\s*", re.ASCII)


def _in_order(segments: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(segments))


@frozen
class PortRange:
    """Ports in one or more segments.

    :ivar segments: ``(start, stop)`` of each, stop exclusive, in their order.
    :raises ValueError: a sentence that begins with a verb: a segment is empty, leaves the ports
        of TCP, or overlaps another one.
    """

    segments: tuple[tuple[int, int], ...] = field(converter=_in_order)

    def __attrs_post_init__(self) -> None:
        if not self.segments:
            raise ValueError("holds no port; give two ports such as 10000:20000")
        for start, stop in self.segments:
            if not 1 <= start <= LAST or stop > LAST + 1:
                raise ValueError(
                    f"leaves the ports 1 to {LAST} (STOP, which is not used itself, may be "
                    f"{LAST + 1})"
                )
            if start >= stop:
                raise ValueError(
                    "holds no port: START must be below STOP, which is not used itself"
                )
        for one, other in pairwise(self.segments):
            if other[0] < one[1]:
                raise ValueError(
                    f"holds ports twice: {_text(one)} and {_text(other)} overlap; STOP is not "
                    "used itself, so the next segment may begin with it"
                )

    def __str__(self) -> str:
        return ",".join(_text(segment) for segment in self.segments)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.segments)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and any(start <= port < stop for start, stop in self.segments)

    def overlaps(self, other: PortRange) -> bool:
        """Whether a port is in both."""
        return any(
            start < end and begin < stop
            for start, stop in self.segments
            for begin, end in other.segments
        )

    def windows(self, position: int, size: int) -> Iterator[range]:
        """All ports once, from a position on and around to it, in pieces.

        :param position: any number; ports below it come last.
        :param size: ports in a piece at most.
        """
        after = [(max(start, position), stop) for start, stop in self.segments]
        before = [(start, min(stop, position)) for start, stop in self.segments]
        for start, stop in after + before:
            for first in range(start, stop, size):
                yield range(first, min(first + size, stop))


def parse(text: str) -> PortRange:
    """The range that a text such as ``10000:20000`` or ``10000:10100,12000:12100`` names.

    :raises ValueError: a sentence that begins with a verb, for the operator.
    """
    segments = []
    for part in text.split(","):
        match = _SEGMENT.fullmatch(part)
        if match is None:
            raise ValueError(
                "is not START:STOP; give two ports such as 10000:20000, or several such segments "
                "between commas"
            )
        segments.append((int(match[1]), int(match[2])))
    return PortRange(tuple(segments))


def _text(segment: tuple[int, int]) -> str:
    return f"{segment[0]}:{segment[1]}"
