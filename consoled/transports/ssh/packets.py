"""Packets on the wire (RFC 4253, section 6): sealed on the way out, opened on the way in.

Four forms: in the clear, before there are keys; encrypted with a MAC of the clear text; encrypted
with a MAC of the cipher text (``-etm@openssh.com``); and AES-GCM (RFC 5647, as OpenSSH has it),
which is ten times as fast as a MAC here. In the last two the length is in the clear.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Any, Protocol

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.conch.ssh.transport import SSHCiphers

ETM = b"-etm@openssh.com"
"""How the names of MACs of the cipher text end (OpenSSH's PROTOCOL, section 1.6)."""

DIGESTS = {b"hmac-sha2-256": ("sha256", 32), b"hmac-sha2-512": ("sha512", 64)}
"""Each MAC's hash and its size in bytes, which is the key's too."""

KEY_SIZES = {
    b"aes128-gcm@openssh.com": 16,
    b"aes256-gcm@openssh.com": 32,
    b"aes128-ctr": 16,
    b"aes192-ctr": 24,
    b"aes256-ctr": 32,
}
"""Each cipher's key in bytes."""

BLOCK = 16
TAG = 16

_PADDING = os.urandom(2 * BLOCK)
"""What packets are padded with. It should be arbitrary; nothing depends on it."""

_COUNTER = 0xFFFFFFFFFFFFFFFF
_LENGTH = struct.Struct(">L")
_HEAD = struct.Struct(">LB")


class Form(Protocol):
    """One direction of a connection, with its keys.

    :ivar extra: bytes after the packet: the MAC, or the tag.
    """

    extra: int

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """A packet as it is sent.

        :param payload: the message number, and what it is about.
        """

    def length(self, inbox: bytes | bytearray) -> int | None:
        """The length in the first packet of what came; None while that is not there yet."""

    def open(self, sequence: int, sealed: bytes | memoryview) -> bytes | None:
        """A whole packet in the clear, or None where it is not what was sent."""


def payload_of(packet: bytes) -> bytes:
    """What is in a packet in the clear, from the message number on."""
    return packet[5 : len(packet) - packet[4]]


def make_packet(payload: bytes, block: int, aligned: int) -> bytes:
    """Length, padding's length, payload, padding of four bytes at the least.

    :param block: a multiple of which the packet is long.
    :param aligned: how many bytes before the payload count for that: five, or one where the
        length is in the clear.
    """
    padding = block - (len(payload) + aligned) % block
    if padding < 4:
        padding += block
    head = _HEAD.pack(len(payload) + 1 + padding, padding)
    return b"".join((head, payload, _PADDING[:padding]))


class Clear:
    """Before there are keys."""

    extra = 0

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """As it is, in blocks of eight."""
        return make_packet(payload, 8, 5)

    def length(self, inbox: bytes | bytearray) -> int | None:
        """In the clear."""
        return _LENGTH.unpack_from(inbox)[0] if len(inbox) >= 8 else None

    def open(self, sequence: int, sealed: bytes | memoryview) -> bytes | None:
        """As it is."""
        return bytes(sealed)


class Mac:
    """A keyed hash of a packet and its number.

    :param name: without the ending of :data:`ETM`.
    """

    def __init__(self, name: bytes, key: bytes) -> None:
        self._digest, self.size = DIGESTS[name]
        self._key = key[: self.size]

    def of(self, sequence: int, data: bytes | memoryview) -> bytes:
        """The hash."""
        return hmac.digest(self._key, _LENGTH.pack(sequence) + data, self._digest)


class Counter:
    """AES in counter mode, with a MAC of the clear text."""

    def __init__(self, cipher: Any, mac: Mac) -> None:
        self._cipher, self._mac = cipher, mac
        self.extra = mac.size
        self._first = b""

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Encrypted, then the MAC."""
        packet = make_packet(payload, BLOCK, 5)
        sealed: bytes = self._cipher.update(packet)
        return sealed + self._mac.of(sequence, packet)

    def length(self, inbox: bytes | bytearray) -> int | None:
        """Of the first block, which is decrypted once."""
        if not self._first:
            if len(inbox) < BLOCK:
                return None
            self._first = self._cipher.update(bytes(inbox[:BLOCK]))
        length: int = _LENGTH.unpack_from(self._first)[0]
        # What is no whole number of blocks can not be decrypted as such.
        return length if (4 + length) % BLOCK == 0 else -1

    def open(self, sequence: int, sealed: bytes | memoryview) -> bytes | None:
        """Decrypted, then judged."""
        end = len(sealed) - self.extra
        packet: bytes = self._first + self._cipher.update(sealed[BLOCK:end])
        self._first = b""
        is_right = hmac.compare_digest(self._mac.of(sequence, packet), sealed[end:])
        return packet if is_right else None


class CounterEtm:
    """AES in counter mode, with a MAC of the cipher text."""

    def __init__(self, cipher: Any, mac: Mac) -> None:
        self._cipher, self._mac = cipher, mac
        self.extra = mac.size

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Encrypted but for the length, then the MAC."""
        packet = make_packet(payload, BLOCK, 1)
        sealed: bytes = packet[:4] + self._cipher.update(packet[4:])
        return sealed + self._mac.of(sequence, sealed)

    def length(self, inbox: bytes | bytearray) -> int | None:
        """In the clear."""
        return _LENGTH.unpack_from(inbox)[0] if len(inbox) >= 4 else None

    def open(self, sequence: int, sealed: bytes | memoryview) -> bytes | None:
        """Judged, then decrypted."""
        end = len(sealed) - self.extra
        if not hmac.compare_digest(self._mac.of(sequence, sealed[:end]), sealed[end:]):
            return None
        packet: bytes = bytes(sealed[:4]) + self._cipher.update(sealed[4:end])
        return packet


class Gcm:
    """AES-GCM; each packet has a nonce of its own, which counts up."""

    extra = TAG

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._cipher = AESGCM(key)
        self._fixed, self._count = nonce[:4], int.from_bytes(nonce[4:12], "big")

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Encrypted but for the length, then the tag."""
        packet = make_packet(payload, BLOCK, 1)
        length = packet[:4]
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & _COUNTER
        return length + self._cipher.encrypt(nonce, packet[4:], length)

    def length(self, inbox: bytes | bytearray) -> int | None:
        """In the clear."""
        return _LENGTH.unpack_from(inbox)[0] if len(inbox) >= 4 else None

    def open(self, sequence: int, sealed: bytes | memoryview) -> bytes | None:
        """Judged and decrypted."""
        length = bytes(sealed[:4])
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & _COUNTER
        try:
            return length + self._cipher.decrypt(nonce, sealed[4:], length)
        except InvalidTag:
            return None


class Suite(SSHCiphers):
    """What Conch calls the ciphers of a connection, made of the forms above.

    :ivar outgoing: how packets are sealed, once there are keys.
    :ivar incoming: how they are opened.
    """

    def __init__(self, outCip: bytes, inCip: bytes, outMac: bytes, inMac: bytes) -> None:
        super().__init__(outCip, inCip, outMac, inMac)
        self.outgoing: Form = Clear()
        self.incoming: Form = Clear()

    def setKeys(self, *keys: bytes) -> None:
        """The keys are agreed on: for each direction a nonce and a key, then both MACs' keys."""
        out_nonce, out_key, in_nonce, in_key, out_mac, in_mac = keys
        out, back = Keys(out_key, out_nonce, out_mac), Keys(in_key, in_nonce, in_mac)
        self.outgoing = form(self.outCipType, self.outMACType, out, opens=False)
        self.incoming = form(self.inCipType, self.inMACType, back, opens=True)
        # Conch asks whether there are keys by it.
        self.encBlockSize = BLOCK


@frozen
class Keys:
    """The keys of one direction; each is as long as the longest that is needed."""

    key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    mac: bytes = field(repr=False)


def form(cipher: bytes, mac: bytes, keys: Keys, *, opens: bool) -> Form:
    """What a cipher and a MAC make of packets.

    :param opens: whether it is for packets that come.
    """
    key = keys.key[: KEY_SIZES[cipher]]
    if b"-gcm" in cipher:
        return Gcm(key, keys.nonce)
    counter = Cipher(algorithms.AES(key), modes.CTR(keys.nonce[:BLOCK]))
    stream = counter.decryptor() if opens else counter.encryptor()
    keyed = Mac(mac.removesuffix(ETM), keys.mac)
    return CounterEtm(stream, keyed) if mac.endswith(ETM) else Counter(stream, keyed)
