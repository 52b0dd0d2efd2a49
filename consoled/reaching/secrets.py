"""Secrets, encrypted before they go to the database.

A file holds the keys, one a line: 32 bytes in base64, as ``openssl rand -base64 32`` makes them.
The first encrypts; all of them decrypt, so that a new key goes before the old one until nothing
needs that any more. What is encrypted is Fernet's token: AES-128 in CBC mode with an HMAC over it.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from attrs import field, frozen
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from consoled.errors import ConfigError
from consoled.reaching.privatefile import read_private

NODE_GROUPS = "[ssh_proxy] secret_key_file"

_LENGTH = 32
_STANDARD = str.maketrans("+/", "-_")


@frozen
class SecretBox:
    """Encrypts and decrypts; its ``repr`` shows no key.

    :ivar fernet: the keys.
    :ivar option: which names their file, for errors.
    """

    fernet: MultiFernet = field(repr=False)
    option: str = NODE_GROUPS

    @classmethod
    def open(cls, path: Path, option: str = NODE_GROUPS) -> SecretBox:
        """With the keys in a file.

        :param option: which names the file.
        :raises consoled.errors.ConfigError: it cannot be used, and why; no key is in the text.
        """
        return cls(MultiFernet([Fernet(key) for key in _read(path, option)]), option)

    def seal(self, clear: str) -> str:
        """The text, encrypted."""
        return self.fernet.encrypt(clear.encode("utf-8", "surrogateescape")).decode("ascii")

    def unseal(self, sealed: str) -> str:
        """The clear text.

        :raises consoled.errors.ConfigError: none of the keys is the one that it was encrypted
            with.
        """
        try:
            return self.fernet.decrypt(sealed).decode("utf-8", "surrogateescape")
        except InvalidToken:
            raise ConfigError(
                "a secret in the database was encrypted with a key that is not in "
                f"{self.option}; put that key back as a further line of the file"
            ) from None


def _read(path: Path, option: str) -> list[bytes]:
    where = f"{option} {path}"
    data = read_private(where, path)
    lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
    keys = [_key(where, line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{where} holds no key; make one with: openssl rand -base64 32 > {path}")
    return keys


def _key(where: str, line: str) -> bytes:
    """The key of one line, as Fernet takes it."""
    encoded = line.translate(_STANDARD).encode("ascii", "replace")
    try:
        key = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _LENGTH:
        raise ConfigError(
            f"{where} must hold {_LENGTH} bytes in base64 on each line; "
            "make one with: openssl rand -base64 32"
        )
    return base64.urlsafe_b64encode(key)
