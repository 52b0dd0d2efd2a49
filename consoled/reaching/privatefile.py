"""Files of secrets: read only where nobody but their owner has access to them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consoled.errors import ConfigError

_LONGEST = 1 << 20


def read_private(where: str, path: Path) -> bytes:
    """What stands in a file of a secret.

    :param where: names it in the error.
    :raises consoled.errors.ConfigError: it cannot be read, or others than its owner can read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LONGEST)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{where}: others than its owner have access to it; run chmod 600 on it")
    return data
