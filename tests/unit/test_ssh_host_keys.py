"""Which host keys are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from consoled.errors import ConfigError
from consoled.transports.ssh.algorithms import CIPHERS, KEY_EXCHANGES, MACS, host_key_algorithms
from consoled.transports.ssh.host_keys import HostKeys, fingerprint, known_line


def blob(kind: str = "ssh-ed25519", body: bytes = b"k" * 32) -> bytes:
    """A key as it is on the wire, as far as a name and a body are one."""
    name = kind.encode()
    return len(name).to_bytes(4, "big") + name + len(body).to_bytes(4, "big") + body


def line(key: bytes, kind: str = "ssh-ed25519") -> str:
    """The key as OpenSSH writes it."""
    return f"{kind} {base64.b64encode(key).decode()}"


KEY = blob()


def test_a_key_alone_is_any_hosts() -> None:
    """A line without a name accepts its key, and no other, whoever shows it."""
    keys = HostKeys.parse(f"# the gate\n\n{line(KEY)} root@gate\n")
    assert keys.accepts("gate", 22, KEY)
    assert keys.accepts("10.0.0.1", 2222, KEY)
    assert not keys.accepts("gate", 22, blob(body=b"x" * 32))
    assert keys.types("gate", 22) == ("ssh-ed25519",)


@pytest.mark.parametrize(
    ("names", "host", "port", "is_known"),
    [
        ("gate", "gate", 22, True),
        ("gate", "GATE", 22, True),
        ("gate", "gate", 2222, False),
        ("[gate]:2222", "gate", 2222, True),
        ("[gate]:2222", "gate", 22, False),
        ("gate,10.0.0.1", "10.0.0.1", 22, True),
        ("*.example.org,!evil.example.org", "gate.example.org", 22, True),
        ("*.example.org,!evil.example.org", "evil.example.org", 22, False),
        ("10.0.0.?", "10.0.0.7", 22, True),
        ("10.0.0.?", "10.0.0.77", 22, False),
        ("[10.0.0.*]:2222", "10.0.0.7", 2222, True),
        ("2001:db8::1", "2001:db8::1", 22, True),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, True),
    ],
)
def test_names(names: str, host: str, port: int, is_known: bool) -> None:
    """Names, patterns and ports mean what they mean in known_hosts."""
    keys = HostKeys.parse(f"{names} {line(KEY)}")
    assert keys.accepts(host, port, KEY) == is_known
    assert keys.types(host, port) == (("ssh-ed25519",) if is_known else ())


def test_hashed_names() -> None:
    """What ssh-keygen -H writes is found by its hash."""
    salt = b"s" * 20
    digest = hmac.digest(salt, b"[gate]:2222", "sha1")
    name = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))
    keys = HostKeys.parse(f"{name} {line(KEY)}")
    assert keys.accepts("gate", 2222, KEY)
    assert not keys.accepts("gate", 22, KEY)
    assert not HostKeys.parse(f"|1|?|? {line(KEY)}").accepts("gate", 22, KEY)


def test_revoked_keys() -> None:
    """A revoked key is not accepted, whatever another line says."""
    keys = HostKeys.parse(f"gate {line(KEY)}\n@revoked * {line(KEY)}")
    assert not keys.accepts("gate", 22, KEY)
    assert keys.revokes("gate", 22, KEY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gate", "line 1 of the known host keys has no key"),
        (f"{line(KEY)}\ngate ssh-ed25519 %%%", "line 2 .* not base64"),
        (f"gate ssh-rsa {line(KEY).split()[1]}", "not one of type ssh-rsa"),
        (f"gate {line(blob('ssh-dss'), 'ssh-dss')}", "key of type ssh-dss; accepted are"),
        (f"@cert-authority * {line(KEY)}", "host certificates are not supported"),
        (f"@what * {line(KEY)}", "@what"),
        ("@revoked", "has no key"),
    ],
)
def test_lines_that_cannot_be_read(text: str, words: str) -> None:
    """A line that is not understood is refused with its number, not passed over."""
    with pytest.raises(ConfigError, match=words):
        HostKeys.parse(text)


def test_fingerprints_and_lines() -> None:
    """The fingerprint is OpenSSH's, and a line that is shown is one that is read."""
    digest = base64.b64encode(hashlib.sha256(KEY).digest()).decode()
    assert fingerprint(KEY) == "SHA256:" + digest.rstrip("=")
    for host, port in (("gate", 22), ("2001:db8::1", 22), ("2001:db8::1", 2222)):
        assert HostKeys.parse(known_line(host, port, KEY)).accepts(host, port, KEY)


def test_what_is_offered() -> None:
    """Known types come first, RSA with SHA-2 only, and nothing weak is offered at all."""
    offered = host_key_algorithms(("ssh-rsa",))
    assert offered[:2] == [b"rsa-sha2-512", b"rsa-sha2-256"]
    assert b"ssh-ed25519" in offered
    everything = b",".join([*offered, *KEY_EXCHANGES, *CIPHERS, *MACS])
    for weak in (b"cbc", b"sha1", b"md5", b"ssh-dss", b"ssh-rsa", b"group", b"3des", b"none"):
        assert weak not in everything
