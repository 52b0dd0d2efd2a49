"""The hash chain of a recording: whether a file is whole, cut, or altered, and where.

After each group of lines stands a comment with the SHA-256 of that group and of the digest
before it, and as the last line a closing one of another kind::

    # sha256 9f86d0...
    # end sha256 2c26b4...

What that proves depends on who could write the file:

- Anybody who can write it can compute such a chain anew. Without a key it shows damage, and a
  change by somebody who did not trouble; with the last digest kept elsewhere (the cell database
  has it) it shows every change by whoever reaches the file only.
- With a key (HMAC, ``# hmac-sha256 ...``) the file alone shows every change by whoever does not
  have the key. The daemon has it, so who becomes its user can forge what it wrote.
- Taking whole files away is not shown by any chain; the cell database has their list.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Iterable

from attrs import define, field, frozen

_SEED = hashlib.sha256(b"consoled recording, chain 1").digest()
_GROUP = b"\x00"
_LAST = b"\x01"
_PLAIN = b"sha256"
_KEYED = b"hmac-sha256"
# To the letter: another form of the same digest would be a change that nobody sees.
_COMMENT = re.compile(rb"# (end )?(hmac-)?sha256 ([0-9a-f]{64})\n")


def _next(key: bytes | None, before: bytes, kind: bytes, lines: bytes) -> bytes:
    text = before + kind + lines
    if key is None:
        return hashlib.sha256(text).digest()
    return hmac.digest(key, text, "sha256")


@define
class Chain:
    """Makes the comments while a file is written.

    :ivar key: of an HMAC, or None.
    """

    key: bytes | None = field(default=None, repr=False)
    _digest: bytes = field(default=_SEED, init=False)

    @property
    def digest(self) -> str:
        """The last digest, in hex."""
        return self._digest.hex()

    def seal(self, lines: bytes) -> bytes:
        """The lines and, after them, their comment.

        :param lines: whole ones.
        """
        self._digest = _next(self.key, self._digest, _GROUP, lines)
        return lines + self._comment(b"# ")

    def close(self, lines: bytes) -> bytes:
        """The last lines and, after them, the closing one."""
        self._digest = _next(self.key, self._digest, _LAST, lines)
        return lines + self._comment(b"# end ")

    def _comment(self, start: bytes) -> bytes:
        kind = _PLAIN if self.key is None else _KEYED
        return start + kind + b" " + self._digest.hex().encode() + b"\n"


class Outcome(enum.StrEnum):
    """What has become of a recording's file."""

    WHOLE = "whole"
    CUT = "cut"
    ALTERED = "altered"
    NEEDS_KEY = "needs_key"


@frozen
class Verdict:
    """What :func:`verify` found.

    :ivar line: where the trouble begins, counted from 1; for a whole file how many it has.
    :ivar last: the last line of the group that the trouble is in.
    :ivar keyed: whether the chain is proven by a key.
    :ivar digest: the last digest that is right, in hex; the cell database has the closing one's.
    :ivar detail: what is wrong there, for people.
    """

    outcome: Outcome
    line: int
    last: int
    keyed: bool
    digest: str
    detail: str = ""

    @property
    def text(self) -> str:
        """One sentence for people."""
        match self.outcome:
            case Outcome.WHOLE:
                proof = "by its key" if self.keyed else "by a chain without a key"
                return f"whole: {self.line} lines, proven {proof}"
            case Outcome.CUT:
                return f"cut at line {self.line}: {self.detail}"
            case Outcome.ALTERED:
                upto = "" if self.last == self.line else f" to {self.last}"
                return f"altered at line {self.line}{upto}: {self.detail}"
            case Outcome.NEEDS_KEY:
                return "keyed: give the key that it was recorded with"


def verify(lines: Iterable[bytes], key: bytes | None = None) -> Verdict:
    """Whether a recording is as it was written.

    :param lines: of the whole file, each with its line break.
    :param key: the one that it was recorded with, or None.
    """
    return _Verifier(key).judge(lines)


@define
class _Verifier:
    key: bytes | None
    digest: bytes = _SEED
    number: int = 0
    first: int = 1
    group: list[bytes] = field(factory=list)
    size: int = 0

    def judge(self, lines: Iterable[bytes]) -> Verdict:
        numbered = iter(lines)
        for line in numbered:
            self.number += 1
            if not line.endswith(b"\n"):
                return self._verdict(Outcome.CUT, self.number, "the line has no end")
            found = _comment(line)
            if found is None:
                self.group.append(line)
                self.size += len(line)
                if self.size > _MAX_GROUP:
                    return self._verdict(Outcome.ALTERED, self.first, "no digest follows")
                continue
            last, keyed, digest = found
            trouble = self._check(last, keyed, digest)
            if trouble is not None:
                return trouble
            if last:
                return self._closed(next(numbered, None) is None)
        if not self.group:
            return self._verdict(Outcome.CUT, self.number + 1, "the closing line is missing")
        detail = "no digest follows, and the closing line is missing"
        return self._verdict(Outcome.CUT, self.first, detail)

    def _closed(self, at_the_end: bool) -> Verdict:
        if at_the_end:
            return self._verdict(Outcome.WHOLE, self.number)
        self.number += 1
        return self._verdict(Outcome.ALTERED, self.number, "the recording ended before it")

    def _check(self, last: bool, keyed: bool, digest: bytes) -> Verdict | None:
        if keyed and self.key is None:
            return self._verdict(Outcome.NEEDS_KEY, self.number)
        if not keyed and self.key is not None:
            return self._verdict(Outcome.ALTERED, self.first, "its chain has no key")
        kind = _LAST if last else _GROUP
        right = _next(self.key, self.digest, kind, b"".join(self.group))
        if not hmac.compare_digest(right, digest):
            what = "the digest is another one"
            if keyed and self.digest == _SEED:
                what += "; or this is not its key"
            return self._verdict(Outcome.ALTERED, self.first, what)
        self.digest, self.group, self.size = right, [], 0
        self.first = self.number + 1
        return None

    def _verdict(self, outcome: Outcome, line: int, detail: str = "") -> Verdict:
        keyed = self.key is not None
        return Verdict(outcome, line, self.number, keyed, self.digest.hex(), detail)


_MAX_GROUP = 64 * 1024 * 1024
"""Bytes between two digests at most; consoled writes far less."""


def _comment(line: bytes) -> tuple[bool, bool, bytes] | None:
    """Whether a chain's comment closes, whether it is keyed, its digest; None for other lines."""
    match = _COMMENT.fullmatch(line)
    if match is None:
        return None
    end, hmac_, digest = match.groups()
    return end is not None, hmac_ is not None, bytes.fromhex(digest.decode())
