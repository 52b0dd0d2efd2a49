"""Private keys: which are read, and what is said of the others."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)
from twisted.conch.ssh.common import NS

from consoled.errors import ConfigError
from consoled.transports.ssh.keys import KeyFiles, KeyText, read_key
from consoled.transports.ssh.offers import algorithms_of, offer_of
from consoled.workers import InlineWorker

PLAIN: KeySerializationEncryption = NoEncryption()
ED25519 = ed25519.Ed25519PrivateKey.generate()


def text(
    key: rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey,
    lock: KeySerializationEncryption = PLAIN,
    form: PrivateFormat = PrivateFormat.OpenSSH,
) -> bytes:
    """The key's text."""
    return key.private_bytes(Encoding.PEM, form, lock)


def certificate(key: ed25519.Ed25519PrivateKey) -> str:
    """A user certificate of the key."""
    builder = (
        SSHCertificateBuilder()
        .public_key(key.public_key())
        .type(SSHCertificateType.USER)
        .valid_for_all_principals()
        .key_id(b"test")
        .valid_after(0)
        .valid_before(2**63)
    )
    return builder.sign(ed25519.Ed25519PrivateKey.generate()).public_bytes().decode()


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (text(ED25519), (b"ssh-ed25519",)),
        (text(ec.generate_private_key(ec.SECP384R1())), (b"ecdsa-sha2-nistp384",)),
        (text(rsa.generate_private_key(65537, 2048)), (b"rsa-sha2-512", b"rsa-sha2-256")),
        (
            text(rsa.generate_private_key(65537, 2048), form=PrivateFormat.TraditionalOpenSSL),
            (b"rsa-sha2-512", b"rsa-sha2-256"),
        ),
    ],
    ids=["ed25519", "ecdsa", "rsa", "rsa in PEM"],
)
def test_kinds(key: bytes, algorithms: tuple[bytes, ...]) -> None:
    """Each kind signs as it should: RSA never with SHA-1, which OpenSSH refuses since 8.8."""
    [loaded] = KeyText(key).load()
    offer = offer_of(loaded, InlineWorker())
    assert offer.algorithms == algorithms
    assert offer.algorithm_for(frozenset({b"ssh-rsa", b"ssh-dss"})) is None
    assert offer.algorithm_for(None) == algorithms[0]
    signed: list[bytes] = []
    offer.sign(algorithms[-1], b"data").addCallback(signed.append)
    assert signed[0].startswith(NS(algorithms[-1]))
    assert loaded.public().verify(signed[0], b"data")


def test_passphrases() -> None:
    """A locked key wants its own passphrase; one that is not locked does not mind one."""
    locked = text(ED25519, BestAvailableEncryption(b"open sesame"))
    assert KeyText(locked, "open sesame").load() == KeyText(text(ED25519), "unused").load()
    with pytest.raises(ConfigError, match="encrypted, and no passphrase is given"):
        KeyText(locked).load()
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        KeyText(locked, "open barley").load()


def test_the_work_that_a_key_asks_for_is_bounded() -> None:
    """A key says itself how long its passphrase takes; one that takes ages is refused unread."""
    options = NS(b"s" * 16) + struct.pack(">L", 2**31)
    body = b"openssh-key-v1\0" + NS(b"aes256-ctr") + NS(b"bcrypt") + NS(options)
    lines = base64.encodebytes(body + struct.pack(">L", 1) + NS(b"") + NS(b""))
    key = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + lines + b"-----END OPENSSH PRIVATE KEY-----\n"
    with pytest.raises(ConfigError, match="takes too long to decrypt"):
        read_key("the SSH key", key, "passphrase")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"", "is not a private key"),
        (b"hunter2", "is not a private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----", "not"),
        (text(rsa.generate_private_key(65537, 1024)), "too weak"),
        (text(dsa.generate_private_key(1024), form=PrivateFormat.TraditionalOpenSSL), "too weak"),
    ],
    ids=["empty", "text", "no body", "short rsa", "dsa"],
)
def test_keys_that_cannot_be_used(key: bytes, words: str) -> None:
    """The error says what is wrong, and repeats nothing of what may be a secret."""
    with pytest.raises(ConfigError, match=words) as caught:
        KeyText(key).load()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_certificates(tmp_path: Path) -> None:
    """A certificate is shown in its key's place; that of another key is refused."""
    line = certificate(ED25519)
    [loaded] = KeyText(text(ED25519), certificate=line).load()
    offer = offer_of(loaded, InlineWorker())
    assert offer.algorithms == (b"ssh-ed25519-cert-v01@openssh.com",)
    assert offer.algorithm_for(frozenset({b"ssh-ed25519"})) == offer.algorithms[0]
    other = certificate(ed25519.Ed25519PrivateKey.generate())
    for wrong in (other, "ssh-ed25519-cert-v01@openssh.com", "no certificate"):
        with pytest.raises(ConfigError, match="certificate"):
            KeyText(text(ED25519), certificate=wrong).load()
    path = tmp_path / "id"
    path.write_bytes(text(ED25519))
    (tmp_path / "id-cert.pub").write_text(line)
    assert KeyFiles((path,)).load()[0].blob() == loaded.blob()


def test_files(tmp_path: Path) -> None:
    """Files are tried in their order; one that is not there is named."""
    path = tmp_path / "id"
    path.write_bytes(text(ED25519))
    assert len(KeyFiles((path, path)).load()) == 2
    with pytest.raises(ConfigError, match="missing cannot be read: No such file"):
        KeyFiles((tmp_path / "missing",)).load()


def test_no_secret_is_shown() -> None:
    """Neither the key nor the passphrase is in the repr, and equal keys are equal."""
    key = text(ED25519)
    keys = KeyText(key, "open sesame")
    assert "sesame" not in repr(keys)
    assert "PRIVATE" not in repr(keys)
    assert hash(keys) == hash(KeyText(key, "open sesame"))
    assert keys == KeyText(key, "open sesame") != KeyText(key, "")
    assert load_ssh_public_key(KeyText(key).load()[0].public().toString("openssh"))


def test_kinds_that_are_not_supported() -> None:
    """An agent's keys of other kinds are not offered."""
    assert algorithms_of(NS(b"ssh-dss")) == ()
    assert algorithms_of(NS(b"sk-ssh-ed25519@openssh.com")) == ()
    assert algorithms_of(b"\0\0") == ()
    assert algorithms_of(NS(b"ssh-rsa-cert-v01@openssh.com")) == (
        b"rsa-sha2-512-cert-v01@openssh.com",
        b"rsa-sha2-256-cert-v01@openssh.com",
    )
