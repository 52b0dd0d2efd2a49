"""Which ports of instances may be reached. Pure."""

from __future__ import annotations

import re

from consoled.compute.port_range import PortRange

_SINGLE = re.compile(r"[0-9]{1,5}", re.ASCII)
_SEGMENT = re.compile(r"([0-9]{1,5})\s*:\s*([0-9]{1,5})", re.ASCII)


def parse_ports(text: str) -> PortRange:
    """The ports that a text such as ``80, 443, 8000:8100`` names; a STOP is not used itself.

    :raises ValueError: a sentence that begins with a verb, for the operator.
    """
    segments = []
    for part in re.split(r"[,\n]", text):
        word = part.strip()
        if not word:
            continue
        if _SINGLE.fullmatch(word):
            segments.append((int(word), int(word) + 1))
        elif match := _SEGMENT.fullmatch(word):
            segments.append((int(match[1]), int(match[2])))
        else:
            raise ValueError(
                f"holds {word!r}, which is neither a port nor START:STOP; give ports such as "
                "80, 443, 8000:8100"
            )
    return PortRange(tuple(segments))
