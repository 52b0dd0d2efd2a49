"""The id by which an answer and its log lines find each other."""

from __future__ import annotations

import os

REQUEST_ID_HEADER = "X-Openstack-Request-Id"


def new_request_id() -> str:
    """``req-`` and a random UUID (RFC 9562, version 4), as OpenStack's services write it.

    Written out here: each request has one, and :class:`uuid.UUID` takes five times as long.
    """
    random = bytearray(os.urandom(16))
    random[6] = random[6] & 0x0F | 0x40
    random[8] = random[8] & 0x3F | 0x80
    digits = random.hex()
    return f"req-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
