"""The key of the recordings' chains: ``[recording] key_file``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consoled.errors import ConfigError

SHORTEST = 32
_LONGEST = 4096


def read_key(path: Path) -> bytes:
    """The key in a file: all of its bytes but for white space at both ends.

    :raises consoled.errors.ConfigError: it cannot be used, and why; the key is not in the text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(_LONGEST + 1).strip()
    except OSError as error:
        raise ConfigError(
            f"[recording] key_file {path} cannot be read: {error.strerror}"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"[recording] key_file {path}: others than its owner have access to it; "
            f"run: chmod 600 {path}"
        )
    if not SHORTEST <= len(key) <= _LONGEST:
        raise ConfigError(
            f"[recording] key_file {path} must hold {SHORTEST} to {_LONGEST} bytes; make one with: "
            f"openssl rand -base64 48 > {path}"
        )
    return key
