"""Keys as they are shown to a server: their public part, and somebody who signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred

from consoled.interfaces import Worker
from consoled.transports.ssh.host_keys import fingerprint, key_type
from consoled.transports.ssh.keys import CERTIFICATE

_RSA = (b"rsa-sha2-512", b"rsa-sha2-256")
_PLAIN = frozenset(
    {b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"}
)


class Sign(Protocol):
    """Signs data with one key."""

    def __call__(self, algorithm: bytes, data: bytes) -> Deferred[bytes]:
        """The signature as it is on the wire.

        :param algorithm: without what it says of a certificate, such as ``rsa-sha2-512``.
        """


@frozen
class Offer:
    """One key, or one certificate, to log in with.

    :ivar blob: its public part as it is on the wire.
    :ivar algorithms: with which to sign, the best first.
    """

    blob: bytes
    algorithms: tuple[bytes, ...]
    sign: Sign

    @property
    def fingerprint(self) -> str:
        """For the log."""
        return fingerprint(self.blob)

    def algorithm_for(self, server: frozenset[bytes] | None) -> bytes | None:
        """The best algorithm of those that a server takes; None where it takes none.

        :param server: its ``server-sig-algs`` (RFC 8308, section 3.1); None where it says
            nothing, and is trusted to know what OpenSSH has known since 7.2.
        """
        for name in self.algorithms:
            if server is None or name in server or signing_algorithm(name) in server:
                return name
        return None


def signing_algorithm(name: bytes) -> bytes:
    """The algorithm of the signature itself: a certificate's, without its ending."""
    return name.removesuffix(CERTIFICATE)


def algorithms_of(blob: bytes) -> tuple[bytes, ...]:
    """What a key or certificate may be used with; nothing for what is not supported."""
    kind = key_type(blob).encode()
    ending = CERTIFICATE if kind.endswith(CERTIFICATE) else b""
    plain = signing_algorithm(kind)
    if plain == b"ssh-rsa":
        return tuple(name + ending for name in _RSA)
    return (kind,) if plain in _PLAIN else ()


def offer_of(key: Key, worker: Worker) -> Offer:
    """A private key, which signs in the worker: RSA takes milliseconds."""

    def sign(algorithm: bytes, data: bytes) -> Deferred[bytes]:
        work: Callable[..., bytes] = key.sign
        return worker.run(work, data, algorithm)

    blob: bytes = key.blob()
    return Offer(blob, algorithms_of(blob), sign)
