"""The resume key: the right of one viewer to come back to its own session.

It names the session, so that any replica finds who has it, and proves by a secret that the
session is the viewer's own: an id from a list opens nothing (faults.md T8). The key is kept
in memory only, and ends with its session.
"""

from __future__ import annotations

import hmac
import re
import secrets

from attrs import field, frozen

SECRET_BYTES = 24
"""192 random bits."""

_FORM = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{32})")


@frozen
class ResumeKey:
    """A resume key as a viewer holds it."""

    session_id: str
    secret: str = field(repr=False)

    @property
    def clear(self) -> str:
        """Its text."""
        return f"{self.session_id}.{self.secret}"

    @classmethod
    def make(cls, session_id: str) -> ResumeKey:
        """A new key for that session."""
        return cls(session_id, secrets.token_urlsafe(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> ResumeKey | None:
        """The key of that text, or None where it is none."""
        match = _FORM.fullmatch(text)
        return None if match is None else cls(match[1], match[2])

    def opens(self, key: ResumeKey | None) -> bool:
        """Whether ``key`` is this one."""
        return key is not None and hmac.compare_digest(self.clear, key.clear)
