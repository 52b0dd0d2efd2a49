"""How many serial ports an instance gets. Pure: values in, a number or a plain error out.

``serial_ports`` is the image property of the serial-ports specification,
``hw_serial_port_count`` nova's name of it, ``hw:serial_port_count`` the extra spec of a
flavor. The flavor caps the image; an image alone is free, up to what a PC has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from consoled.errors import BadRequest

MOST = 4
"""A PC has four serial ports, and QEMU's no more."""

IMAGE_PROPERTIES = ("serial_ports", "hw_serial_port_count")
"""Properties of an image; where it has both, they must agree."""

EXTRA_SPEC = "hw:serial_port_count"
"""The extra spec of a flavor."""

Values = Mapping[str, str | int]
"""Properties or extra specs by name; others than those above do not matter."""

_LONGEST = 32


def port_count(image: Values, flavor: Values, asked: int | None = None) -> int:
    """How many serial ports there are to be.

    :param image: the image's properties.
    :param flavor: the flavor's extra specs.
    :param asked: a number that somebody asks for, in the place of the image's.
    :returns: 1 where nobody says anything, else 1 to :data:`MOST`.
    :raises consoled.errors.BadRequest: a value is no such number, or two of them disagree.
    """
    wanted = _of_image(image) if asked is None else ("the request", _number("ports", asked))
    most = _number(f"the flavor's {EXTRA_SPEC}", flavor[EXTRA_SPEC]) if EXTRA_SPEC in flavor else 0
    if wanted is None:
        return most or 1
    source, count = wanted
    if most and count > most:
        raise BadRequest(
            f"{source} asks for {count} serial ports, and the flavor allows {most} "
            f"({EXTRA_SPEC}); ask for no more, or have the flavor changed."
        )
    return count


def _of_image(image: Values) -> tuple[str, int] | None:
    found = [
        (f"the image's {name}", _number(f"the image's {name}", image[name]))
        for name in IMAGE_PROPERTIES
        if name in image
    ]
    if len({count for _, count in found}) > 1:
        said = " and ".join(f"{name} {count}" for name, count in found)
        raise BadRequest(f"The image disagrees with itself: {said}; set one of them.")
    return found[-1] if found else None


def _number(name: str, value: object) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII):
        raise BadRequest(f"{name} is {_shown(text)}, not a number from 1 to {MOST}.")
    if not 1 <= int(text) <= MOST:
        raise BadRequest(f"{name} is {int(text)}; there can be 1 to {MOST} serial ports.")
    return int(text)


def _shown(text: str) -> str:
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in short) + '"'
