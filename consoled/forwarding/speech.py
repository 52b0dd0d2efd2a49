"""What goes over a tunnel's WebSocket, without I/O: the subprotocol ``consoled.tcp.v1``.

Binary messages are the bytes. The one text message, :data:`EOF`, says that its sender has no
more of them, as a TCP connection's half-close does; the other way goes on. Who offers no
subprotocol, or ``binary``, has no half-close: the end of one way is the end of both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

TCP_V1 = "consoled.tcp.v1"
BINARY = "binary"
EOF = b'{"type": "eof"}'

PIECE = 32 * 1024
"""Bytes of a message at most that consoled and consolectl send."""


def choose(offered: Sequence[str]) -> str | None:
    """The subprotocol to speak, or None where none was offered.

    :raises ValueError: a list without any that is spoken here.
    """
    names = [name.strip() for name in offered if name.strip()]
    if not names:
        return None
    for name in (TCP_V1, BINARY):
        if name in names:
            return name
    raise ValueError(f"none of the offered subprotocols is {TCP_V1} or {BINARY}")


def is_eof(text: bytes) -> bool:
    """Whether a text message says that its sender has no more bytes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("type") == "eof"
