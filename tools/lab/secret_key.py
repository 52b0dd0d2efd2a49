"""A key for what consoled encrypts in its database, in a file that nobody else reads."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path


def secret_key(folder: Path) -> Path:
    """A new key's file in the folder."""
    path = folder / "secret.key"
    path.touch(mode=0o600)
    path.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    return path
