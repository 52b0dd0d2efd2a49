"""What is said to QEMU's own monitor, and what it answers. Pure: text in, facts out.

A TCP chardev serves one client. ``query-chardev`` tells who that is in its ``filename``::

    disconnected:tcp:127.0.0.1:10000,server=on
    tcp:127.0.0.1:10000,server=on <-> 127.0.0.1:55522

and ``yank`` (QEMU 6.0) shuts that client's socket down, so that the next one is served.
``chardev-send-break`` (QEMU 2.10) gives the guest's port a BREAK, whoever its client is.
"""

from __future__ import annotations

import json
from typing import Any

QUERY_CHARDEV = json.dumps({"execute": "query-chardev"})
"""Asks what every chardev is connected to."""

_PEER = " <-> "
_GONE = "disconnected:"


class MonitorRefused(Exception):
    """The guest's monitor did not do what it was asked; the text is for the log."""


def yank(chardev: str) -> str:
    """The command that closes a chardev's client; without a client it does nothing.

    :param chardev: QEMU's id of it.
    """
    instances = [{"type": "chardev", "id": chardev}]
    return json.dumps({"execute": "yank", "arguments": {"instances": instances}})


def send_break(chardev: str) -> str:
    """The command that gives a chardev's serial port a BREAK.

    :param chardev: QEMU's id of it.
    """
    return json.dumps({"execute": "chardev-send-break", "arguments": {"id": chardev}})


def returned(reply: str) -> Any:
    """What a command returned.

    :raises MonitorRefused: QEMU's own error, or something that is no answer at all.
    """
    try:
        answer = json.loads(reply)
        error = answer.get("error")
        if error is not None:
            raise MonitorRefused(f"{error.get('class')}: {error.get('desc')}")
        return answer["return"]
    except (ValueError, AttributeError, KeyError, RecursionError):
        raise MonitorRefused("QEMU's answer is not one of its monitor's") from None


def connected(answer: Any) -> frozenset[str]:
    """The ids of the chardevs that have a client, from ``query-chardev``; what is odd has none."""
    found = answer if isinstance(answer, list) else []
    return frozenset(
        chardev["label"]
        for chardev in found
        if isinstance(chardev, dict)
        and isinstance(chardev.get("label"), str)
        and _has_client(chardev.get("filename"))
    )


def _has_client(filename: object) -> bool:
    return isinstance(filename, str) and _PEER in filename and not filename.startswith(_GONE)
