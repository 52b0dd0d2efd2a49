"""TCP ports that are free at the moment."""

from __future__ import annotations

import contextlib
import random
import socket

BLOCK = 20
"""Ports of a range."""

_BLOCKS = range(20000, 32000, BLOCK)
"""Below those that Linux takes for outgoing connections."""

_held: list[socket.socket] = []


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """``count`` different ports that nobody listens on at ``host`` now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]


def free_range() -> range:
    """Ports in a row that nobody listens on now: a configuration wants a range.

    No other process gets the same from here while this one runs.
    """
    while True:
        start = random.choice(_BLOCKS)
        mark = socket.socket(socket.AF_UNIX)
        try:
            # A name without a file: taken as long as the socket lives.
            mark.bind(f"\0consoled-lab-ports-{start}")
            for port in range(start, start + BLOCK):
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            mark.close()
            continue
        _held.append(mark)
        return range(start, start + BLOCK)
