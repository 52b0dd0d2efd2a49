"""libvirt's word for a serial port whose TCP port somebody else has. Pure.

QEMU binds the ports of a domain at its start; where one is taken, it ends, and libvirt hands
on what it wrote last. That is the test for ports which no test from elsewhere can replace.
"""

from __future__ import annotations

import re

from attrs import frozen

# -chardev socket,id=charserial1,host=127.0.0.1,port=10001,server=on,...: Failed to ...
_CHARDEV = re.compile(
    r"-chardev socket,id=charserial(?P<alias>[0-9]{1,3}),(\S*?,)?port=(?P<port>[0-9]{1,5})(?![0-9])"
)
_TAKEN = re.compile(r"address already in use", re.IGNORECASE)


@frozen
class TakenPort:
    """A serial port that could not be had.

    :ivar index: the number of the serial port's device, its number in the guest by default.
    """

    index: int
    port: int


def taken_port(text: str) -> TakenPort | None:
    """The port that kept a domain from starting, or None where something else did.

    :param text: libvirt's error.
    """
    for line in text.splitlines():
        found = _CHARDEV.search(line)
        if found is not None and _TAKEN.search(line, found.end()):
            return TakenPort(int(found["alias"]), int(found["port"]))
    return None
