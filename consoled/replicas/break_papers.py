"""What one replica asks of another that has a console's line: a BREAK on it, as text for a header.

``POST /v1/replica/breaks`` with a ticket (:mod:`consoled.replicas.tickets`): 204, 404 where the
line is not there any more, 409 and 503 with a sentence for whoever has asked.
"""

from __future__ import annotations

import base64
import binascii
import json

from attrs import frozen

from consoled import sysrq
from consoled.errors import BadRequest
from consoled.leasing.values import ConsoleKey
from consoled.replicas.papers import UnreadablePapers

PATH = b"/v1/replica/breaks"
PAPERS = b"X-Consoled-Break"


@frozen
class BreakWish:
    """A BREAK for a console that somebody is on.

    :ivar sysrq: the key that follows it; None for a BREAK alone.
    :ivar by: who sends it, for whoever is on the console.
    """

    key: ConsoleKey
    sysrq: str | None
    by: str


def pack(wish: BreakWish) -> bytes:
    """A wish as base64 of JSON."""
    words = {
        "server": wish.key.instance_uuid,
        "index": wish.key.index,
        "type": wish.key.console_type,
        "sysrq": wish.sysrq,
        "by": wish.by,
    }
    return base64.urlsafe_b64encode(json.dumps(words).encode())


def unpack(text: bytes) -> BreakWish:
    """The wish that :func:`pack` has written.

    :raises consoled.replicas.papers.UnreadablePapers: it is none, or one of another version.
    """
    try:
        words = json.loads(base64.urlsafe_b64decode(text))
        key = ConsoleKey(str(words["server"]), int(words["index"]), str(words["type"]))
        if words["sysrq"] is not None:
            sysrq.check_key(words["sysrq"])
        return BreakWish(key, words["sysrq"], str(words["by"]))
    except (binascii.Error, ValueError, KeyError, TypeError, BadRequest) as error:
        raise UnreadablePapers(str(error)) from None


def subject(papers: bytes) -> bytes:
    """What the ticket is for: this BREAK, and nothing else."""
    return b"POST " + PATH + b" " + papers
