"""Which host keys are accepted: lines as OpenSSH writes them.

Two kinds of lines (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT")::

    ssh-ed25519 AAAA... comment                     a key alone: whichever host shows it
    bastion.example.org,[10.0.0.1]:2222 ssh-ed25519 AAAA...     a line of known_hosts

Of known_hosts the names may be hashed, hold ``*``, ``?`` and ``!``, and a line that begins with
``@revoked`` refuses its key. A line of ``@cert-authority`` is refused when it is read: host
certificates are not supported.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Self

from attrs import field, frozen

from consoled.errors import ConfigError

SSH_PORT = 22
"""The port that known_hosts leaves out."""

_SIGNATURES = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""The algorithms that a host may prove each type of key with, the best first."""

KEY_TYPES = tuple(_SIGNATURES)
"""The types of host keys that there are, in the order of preference."""


def signature_algorithms(key_types: Iterable[str]) -> tuple[str, ...]:
    """What to offer to a server that is known by keys of these types."""
    known = frozenset(key_types)
    return tuple(name for kind in KEY_TYPES if kind in known for name in _SIGNATURES[kind])


def fingerprint(blob: bytes) -> str:
    """A public key's fingerprint as ``ssh-keygen -l`` shows it: ``SHA256:...``.

    :param blob: the key as it is on the wire (RFC 4253, section 6.6).
    """
    digest = base64.b64encode(hashlib.sha256(blob).digest())
    return f"SHA256:{digest.rstrip(b'=').decode()}"


def key_type(blob: bytes) -> str:
    """The type that a public key names in its first field; empty where it has none."""
    length = int.from_bytes(blob[:4], "big")
    name = blob[4 : 4 + length]
    return name.decode("ascii", "replace") if len(name) == length else ""


@frozen
class HostKey:
    """One line.

    :ivar names: the patterns of known_hosts; empty for a key alone, which is any host's.
    :ivar blob: the key as it is on the wire.
    :ivar revoked: whether the line refuses the key.
    """

    names: tuple[str, ...]
    blob: bytes = field(repr=fingerprint)
    revoked: bool = False

    @property
    def type(self) -> str:
        """The key's type."""
        return key_type(self.blob)

    @property
    def text(self) -> str:
        """The key alone, as a line."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    def is_of(self, host: str, port: int) -> bool:
        """Whether the line speaks of that server."""
        if not self.names:
            return True
        name = known_name(host, port)
        matches = [pattern for pattern in self.names if _matches(pattern.removeprefix("!"), name)]
        return bool(matches) and not any(pattern.startswith("!") for pattern in matches)


def known_name(host: str, port: int) -> str:
    """How known_hosts names a server."""
    host = host.lower()
    return host if port == SSH_PORT else f"[{host}]:{port}"


def known_line(host: str, port: int, blob: bytes) -> str:
    """A line of known_hosts."""
    return f"{known_name(host, port)} {HostKey((), blob).text}"


@frozen
class HostKeys:
    """The keys that are accepted, and those that are not.

    :ivar keys: one for each line.
    """

    keys: tuple[HostKey, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The lines of a text; empty ones and those that begin with ``#`` say nothing.

        :raises consoled.errors.ConfigError: naming the line that cannot be read.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    keys.append(_parse(line.split()))
                except ValueError as error:
                    raise ConfigError(f"line {number} of the known host keys {error}") from None
        return cls(tuple(keys))

    def types(self, host: str, port: int) -> tuple[str, ...]:
        """The types of the keys by which that server is known, in the order of preference."""
        known = {key.type for key in self.keys if not key.revoked and key.is_of(host, port)}
        return tuple(kind for kind in KEY_TYPES if kind in known)

    def accepts(self, host: str, port: int, blob: bytes) -> bool:
        """Whether that server may show that key.

        :param blob: the key as it is on the wire.
        """
        found = [key for key in self.keys if key.blob == blob and key.is_of(host, port)]
        return bool(found) and not any(key.revoked for key in found)

    def revokes(self, host: str, port: int, blob: bytes) -> bool:
        """Whether a line refuses that key."""
        return any(k.revoked and k.blob == blob and k.is_of(host, port) for k in self.keys)


def _parse(words: list[str]) -> HostKey:
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker == "@cert-authority":
        raise ValueError("names a certificate authority, and host certificates are not supported")
    if marker not in ("", "@revoked"):
        raise ValueError(f"begins with {marker}, which nothing is known of")
    names: tuple[str, ...] = ()
    if words and words[0] not in KEY_TYPES:
        names = tuple(words.pop(0).split(","))
    if len(words) < 2:
        raise ValueError("has no key: it is [names] type base64, as in known_hosts")
    kind, encoded = words[:2]
    if kind not in KEY_TYPES:
        raise ValueError(f"has a key of type {kind}; accepted are {', '.join(KEY_TYPES)}")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("has a key that is not base64") from None
    if key_type(blob) != kind:
        raise ValueError(f"has a key that is not one of type {kind}")
    return HostKey(names, blob, marker == "@revoked")


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _matches_hash(pattern, name)
    # In known_hosts brackets are part of the name, in fnmatch they are a class.
    return fnmatchcase(name, re.sub(r"\[", "[[]", pattern.lower()))


def _matches_hash(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
