"""Keystone's tokens as they are after some time, without waiting for it.

A Fernet token holds when it was issued and when it ends, under keys that lie in Keystone's
folder; with them the same token can be given earlier times. Keystone takes it for its own.
"""

from __future__ import annotations

import struct
import time
from datetime import datetime
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

FLOAT = 0xCB
"""What msgpack puts before the eight bytes of a floating-point number."""


def redated(keys: Path, token: str, expires: datetime, life: float, expiration: int) -> str:
    """The token, with another end.

    :param keys: the folder of Keystone's keys.
    :param expires: when it ends, as Keystone told.
    :param life: seconds from now to its end; less than 0 for a token that has expired.
    :param expiration: seconds from its issue to its end.
    """
    files = sorted(keys.iterdir(), key=lambda path: -int(path.name))
    fernet = MultiFernet([Fernet(path.read_bytes()) for path in files])
    payload = fernet.decrypt(token.encode() + b"=" * (-len(token) % 4))
    end = time.time() + life
    old, new = (struct.pack(">Bd", FLOAT, when) for when in (expires.timestamp(), end))
    if payload.count(old) != 1:
        raise ValueError("that token does not end when Keystone says it does")
    changed = fernet.encrypt_at_time(payload.replace(old, new), int(end - expiration))
    return changed.rstrip(b"=").decode()
