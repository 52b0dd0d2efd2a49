"""The own path of the ordinary frame.

autobahn does handshakes, control frames, fragments and everything unusual. A
keystroke is none of that: one read that is exactly one masked binary frame.
Parsed here, and sent at once (:func:`consoled.http.sending.write_now`), it takes
half the time. The same bytes move whichever path they take.
"""

from __future__ import annotations

from autobahn.websocket.xormasker import (  # type: ignore[attr-defined]  # chosen at import
    create_xor_masker,
)

_FINAL_BINARY = 0x82
_MASKED = 0x80
_SMALL = 512
"""Bytes up to which Python's own integers unmask faster than making a masker."""
_SHORT_HEADS = [bytes((_FINAL_BINARY, size)) for size in range(126)]


def plain_payload(data: bytes, limit: int) -> bytes | None:
    """The payload, where ``data`` is exactly one ordinary frame.

    Ordinary is: final, binary, masked, no reserved bit, its length in the
    shortest form and within the limit (RFC 6455, section 5.2).

    :param data: what one read gave.
    :param limit: bytes of payload that are taken.
    :returns: the unmasked payload, or None for anything else.
    """
    size = len(data)
    if size < 6 or data[0] != _FINAL_BINARY:
        return None
    length = data[1] - _MASKED
    if length == 1 and size == 7:
        # A keystroke: what nearly every frame is.
        return bytes((data[6] ^ data[2],))
    start = 6
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 8
        if length < 126:
            return None
    elif length == 127:
        length, start = int.from_bytes(data[2:10], "big"), 14
        if length < 1 << 16:
            return None
    if length < 0 or length > limit or size != start + length:
        return None
    return _unmask(data[start - 4 : start], data[start:])


def _unmask(mask: bytes, masked: bytes) -> bytes:
    size = len(masked)
    if size > _SMALL:
        unmasked: bytes = create_xor_masker(mask, size).process(masked)
        return unmasked
    key = (mask * (size // 4 + 1))[:size]
    number = int.from_bytes(masked, "little") ^ int.from_bytes(key, "little")
    return number.to_bytes(size, "little")


def binary_head(size: int) -> bytes:
    """What precedes the payload of a server's final binary frame, which is not masked.

    :param size: bytes of the payload; its length is said in the shortest form.
    """
    if size < 126:
        return _SHORT_HEADS[size]
    if size < 1 << 16:
        return bytes((_FINAL_BINARY, 126, size >> 8, size & 0xFF))
    return bytes((_FINAL_BINARY, 127)) + size.to_bytes(8, "big")
