"""Packets on the wire: sealed, opened, and refused when something is changed."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.transports.ssh.algorithms import CIPHERS, MACS
from consoled.transports.ssh.packets import Clear, Form, Keys, Suite, form, payload_of

KEYS = Keys(os.urandom(64), os.urandom(64), os.urandom(64))
FORMS = [(cipher, mac) for cipher in CIPHERS for mac in MACS]


def both(cipher: bytes, mac: bytes) -> tuple[Form, Form]:
    """One direction, at each of its ends."""
    return form(cipher, mac, KEYS, opens=False), form(cipher, mac, KEYS, opens=True)


def opened(end: Form, sequence: int, sealed: bytes) -> bytes | None:
    """What one packet holds, read as it comes: first a part of it, then all."""
    inbox = bytearray(sealed[:3])
    assert end.length(inbox) is None
    inbox += sealed[3:]
    length = end.length(inbox)
    assert length is not None
    assert len(sealed) == 4 + length + end.extra
    packet = end.open(sequence, memoryview(sealed))
    return None if packet is None else payload_of(packet)


@pytest.mark.parametrize(("cipher", "mac"), FORMS, ids=lambda name: name.decode())
def test_there_and_back(cipher: bytes, mac: bytes) -> None:
    """Payloads of many sizes, one after the other."""
    seals, opens = both(cipher, mac)
    for sequence, size in enumerate((1, 11, 12, 15, 16, 17, 255, 32 * 1024)):
        payload = os.urandom(size)
        sealed = seals.seal(sequence, payload)
        assert (len(sealed) - seals.extra) % 4 == 0
        assert opened(opens, sequence, sealed) == payload
        assert payload not in sealed or size == 1


@pytest.mark.parametrize(("cipher", "mac"), FORMS, ids=lambda name: name.decode())
@given(place=st.integers(4, 10_000), bit=st.integers(0, 7))
def test_a_change_is_noticed(cipher: bytes, mac: bytes, place: int, bit: int) -> None:
    """Any bit after the length."""
    seals, opens = both(cipher, mac)
    sealed = bytearray(seals.seal(7, b"the payload of a packet"))
    # What is encrypted with the length is cut by it: the first block is another test's.
    place = max(16, place % len(sealed)) if "gcm" not in cipher.decode() else place % len(sealed)
    sealed[max(4, place)] ^= 1 << bit
    assert opened(opens, 7, bytes(sealed)) is None


@pytest.mark.parametrize(
    ("cipher", "mac"),
    [(b"aes128-ctr", b"hmac-sha2-256"), (b"aes128-ctr", b"hmac-sha2-256-etm@openssh.com")],
    ids=["mac", "etm"],
)
def test_a_packet_out_of_turn(cipher: bytes, mac: bytes) -> None:
    """A number that is not the next one makes the MAC wrong."""
    seals, opens = both(cipher, mac)
    assert opened(opens, 8, seals.seal(7, b"payload")) is None


def test_a_repeated_packet_of_gcm() -> None:
    """Each nonce is used once: the same bytes are not taken twice."""
    seals, opens = both(b"aes256-gcm@openssh.com", b"hmac-sha2-256")
    sealed = seals.seal(0, b"payload")
    assert opened(opens, 0, sealed) == b"payload"
    assert opened(opens, 1, sealed) is None


def test_the_nonce_wraps() -> None:
    """Its counter begins anywhere, and goes on at zero."""
    keys = Keys(KEYS.key, b"\xff" * 12, KEYS.mac)
    seals = form(b"aes128-gcm@openssh.com", b"", keys, opens=False)
    opens = form(b"aes128-gcm@openssh.com", b"", keys, opens=True)
    for sequence in range(3):
        assert opened(opens, sequence, seals.seal(sequence, b"payload")) == b"payload"


def test_a_length_that_is_no_whole_number_of_blocks() -> None:
    """Where the length is encrypted, it is judged before anything is waited for."""
    _, opens = both(b"aes128-ctr", b"hmac-sha2-256")
    seals, _ = both(b"aes128-ctr", b"hmac-sha2-256")
    sealed = bytearray(seals.seal(0, b"payload"))
    sealed[3] ^= 1
    length = opens.length(sealed)
    assert length is not None
    assert length < 0


def test_before_there_are_keys() -> None:
    """In the clear, in blocks of eight, with four bytes of padding or more."""
    sealed = Clear().seal(0, b"\x14payload")
    length, padding = struct.unpack_from(">LB", sealed)
    assert len(sealed) == 4 + length
    assert len(sealed) % 8 == 0
    assert padding >= 4
    assert payload_of(sealed) == b"\x14payload"


def test_each_direction_has_its_own_keys() -> None:
    """Conch gives them in its order; nothing of them is in a repr."""
    suite = Suite(b"aes128-ctr", b"aes128-gcm@openssh.com", b"hmac-sha2-256", b"hmac-sha2-512")
    assert not suite.encBlockSize
    suite.setKeys(*(bytes([number]) * 64 for number in range(6)))
    assert suite.encBlockSize
    ours = Keys(b"\1" * 64, b"\0" * 64, b"\4" * 64)
    theirs = form(b"aes128-ctr", b"hmac-sha2-256", ours, opens=True)
    assert opened(theirs, 0, suite.outgoing.seal(0, b"payload")) == b"payload"
    assert "\\x01" not in repr(ours)
