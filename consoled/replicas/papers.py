"""What one replica tells another about a viewer that it brings, as text for a header."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from attrs import asdict

from consoled.errors import ConsoledError, TokenInvalid, Unavailable
from consoled.model import ConsoleAuthToken
from consoled.proxy.reception import Arrival
from consoled.proxy.resuming import ResumeKey


class UnreadablePapers(Exception):
    """The text is not what :func:`pack` writes."""


def pack(arrival: Arrival) -> bytes:
    """An arrival as base64 of JSON; it holds a resume key, so it belongs into no log."""
    words: dict[str, Any] = {
        "since": arrival.since,
        "takeover": arrival.takeover,
        "force": arrival.force,
        "facts": arrival.facts,
        "resume": None if arrival.resume is None else arrival.resume.clear,
    }
    if isinstance(arrival.outcome, ConsoledError):
        words["refusal"] = [arrival.outcome.close_code, str(arrival.outcome)]
    else:
        words["token"] = asdict(arrival.outcome)
    return base64.urlsafe_b64encode(json.dumps(words).encode())


def unpack(text: bytes) -> Arrival:
    """The arrival that :func:`pack` has written.

    :raises UnreadablePapers: it is none, or one of another version of consoled.
    """
    try:
        words = json.loads(base64.urlsafe_b64decode(text))
        resume = words["resume"]
        return Arrival(
            outcome=_outcome(words),
            resume=None if resume is None else ResumeKey.parse(resume),
            since=words["since"],
            takeover=words["takeover"],
            force=words["force"],
            facts=words["facts"],
        )
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise UnreadablePapers(str(error)) from None


def _outcome(words: Any) -> ConsoleAuthToken | ConsoledError:
    if "token" in words:
        return ConsoleAuthToken(**words["token"])
    code, text = words["refusal"]
    kind = TokenInvalid if code == TokenInvalid.close_code else Unavailable
    return kind(text)
