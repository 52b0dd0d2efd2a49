"""What is offered to SSH servers: nothing with CBC, SHA-1, MD5 or DSA.

The servers of a way have to allow one of each; the defaults of OpenSSH from 7.4 on do.
"""

from __future__ import annotations

from consoled.transports.ssh.host_keys import KEY_TYPES, signature_algorithms

KEY_EXCHANGES = (
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)
CIPHERS = (
    b"aes128-gcm@openssh.com",
    b"aes256-gcm@openssh.com",
    b"aes128-ctr",
    b"aes256-ctr",
    b"aes192-ctr",
)
MACS = (
    b"hmac-sha2-256-etm@openssh.com",
    b"hmac-sha2-512-etm@openssh.com",
    b"hmac-sha2-256",
    b"hmac-sha2-512",
)
COMPRESSIONS = (b"none",)

STRICT_CLIENT, STRICT_SERVER = b"kex-strict-c-v00@openssh.com", b"kex-strict-s-v00@openssh.com"
"""Among the key exchanges: both sides number packets anew with each set of keys, and nothing but
the exchange is allowed before the first (OpenSSH's PROTOCOL, section 1.10; CVE-2023-48795)."""


def host_key_algorithms(known: tuple[str, ...]) -> list[bytes]:
    """What a server may prove itself with: by a key that is known, if it has such a one.

    The others follow, so that a server whose key has changed shows the new one, which is then
    refused by its fingerprint.

    :param known: the types of its known keys.
    """
    wanted = [*known, *(kind for kind in KEY_TYPES if kind not in known)]
    names: list[str] = []
    for kind in wanted:
        names += signature_algorithms((kind,))
    return [name.encode() for name in names]
