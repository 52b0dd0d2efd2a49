"""Private keys of users: from memory, from files, with a passphrase, with a certificate."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import EncryptedKeyError, Key

from consoled.errors import ConfigError
from consoled.transports.ssh.host_keys import fingerprint, key_type

MOST_ROUNDS = 1024
"""Rounds of bcrypt that a passphrase may take (ssh-keygen -a; 16 by default, 24 lately): the key
says itself how many, and each takes milliseconds."""

CERTIFICATE = b"-cert-v01@openssh.com"
"""How the names of certificates' algorithms end (OpenSSH's PROTOCOL.certkeys)."""

_OPENSSH = b"openssh-key-v1\0"


class CertifiedKey(Key):
    """A private key that is shown with a certificate of it.

    :ivar certificate: the certificate as it is on the wire.
    """

    certificate: bytes = b""

    def blob(self) -> bytes:
        """The certificate, where a plain key gives its public part."""
        return self.certificate


@frozen
class KeyText:
    """A private key in memory.

    :ivar text: OpenSSH's own format or PEM; ed25519, ecdsa or rsa.
    :ivar passphrase: of an encrypted key, else empty.
    :ivar certificate: the line of its ``-cert.pub`` file, or empty.
    """

    text: bytes = field(repr=False)
    passphrase: str = field(default="", repr=False)
    certificate: str = ""

    def load(self) -> Sequence[Key]:
        """The key.

        :raises consoled.errors.ConfigError: it cannot be read.
        """
        return (read_key("the SSH key", self.text, self.passphrase, self.certificate),)


@frozen
class KeyFiles:
    """Private keys in files, read again for each login. Beside ``NAME`` a file
    ``NAME-cert.pub`` is its certificate, as with OpenSSH.

    :ivar passphrase: of those that are encrypted, else empty.
    """

    paths: tuple[Path, ...]
    passphrase: str = field(default="", repr=False)

    def load(self) -> Sequence[Key]:
        """The keys, in the order of their files.

        :raises consoled.errors.ConfigError: naming the file that cannot be used.
        """
        return tuple(self._read(path) for path in self.paths)

    def _read(self, path: Path) -> Key:
        try:
            text = path.read_bytes()
            beside = path.with_name(f"{path.name}-cert.pub")
            certificate = beside.read_text() if beside.exists() else ""
        except OSError as error:
            raise ConfigError(
                f"the SSH key {path} cannot be read: {error.strerror or 'it is no text'}"
            ) from None
        return read_key(f"the SSH key {path}", text, self.passphrase, certificate)


def read_key(what: str, text: bytes, passphrase: str = "", certificate: str = "") -> Key:
    """A private key from its text. It may take half a second where there is a passphrase.

    :param what: names it in the error.
    :param certificate: the line of its ``-cert.pub`` file, or empty.
    :raises consoled.errors.ConfigError: it cannot be used; nothing of it is shown.
    """
    if _rounds(text) > MOST_ROUNDS:
        raise ConfigError(
            f"{what} takes too long to decrypt: give it a passphrase with ssh-keygen -p -a 100"
        )
    try:
        key = _decrypt(text, passphrase)
    except EncryptedKeyError:
        why = "the passphrase is wrong" if passphrase else "no passphrase is given"
        raise ConfigError(f"{what} is encrypted, and {why}") from None
    except Exception:
        # Conch and cryptography raise many kinds, whose texts may repeat the key.
        why = "it is not a private key of OpenSSH or in PEM"
        if passphrase:
            why += ", or the passphrase is wrong"
        raise ConfigError(f"{what} cannot be used: {why}") from None
    if key.isPublic():
        raise ConfigError(f"{what} is a public key; give the private one")
    if key.type() == "DSA" or (key.type() == "RSA" and key.size() < 2048):
        raise ConfigError(f"{what} is too weak: use ed25519, ecdsa, or rsa of 2048 bits or more")
    return _certified(what, key, certificate) if certificate.strip() else key


def _rounds(text: bytes) -> int:
    """The rounds of bcrypt that a key in OpenSSH's own format names; else 0."""
    try:
        body = base64.b64decode(b"".join(text.strip().splitlines()[1:-1]))
        if not body.startswith(_OPENSSH):
            return 0
        _, _, options, _ = getNS(body[len(_OPENSSH) :], 3)
        return int(struct.unpack(">L", getNS(options)[1][:4])[0]) if options else 0
    except (ValueError, struct.error):
        return 0


def _decrypt(text: bytes, passphrase: str) -> Key:
    try:
        key: Any = Key.fromString(text, passphrase=passphrase or None)
    except Exception:
        if not passphrase:
            raise
        # A key that is not encrypted, beside others that are.
        key = Key.fromString(text)
    plain: Key = key
    return plain


def _certified(what: str, key: Key, line: str) -> Key:
    words = line.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error, ValueError):
        raise ConfigError(f"the certificate of {what} cannot be read") from None
    plain = key.public().blob()
    kind = key_type(plain)
    if key_type(blob) != kind + CERTIFICATE.decode() or plain[4 + len(kind) :] not in blob:
        raise ConfigError(
            f"the certificate beside {what} is not one of that key ({fingerprint(plain)})"
        )
    certified = CertifiedKey(key._keyObject)
    certified.certificate = blob
    return certified
