"""Is this a usable pair of certificate and private key?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from consoled.options.tls import UnusableFile, check_ciphers, check_pair


def make_key(
    encryption: KeySerializationEncryption | None = None,
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    protection = encryption or NoEncryption()
    return key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def make_certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def cert(tmp_path: Path) -> Path:
    return tmp_path / "cert.pem"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def test_pairs_in_two_files_or_one(cert: Path, key_file: Path) -> None:
    """The key may stand in a file of its own, or in the certificate's, before or after it."""
    key, pem = make_key()
    cert.write_bytes(make_certificate(key))
    key_file.write_bytes(pem)
    check_pair(cert, key_file)
    cert.write_bytes(make_certificate(key) + pem)
    check_pair(cert, None)
    cert.write_bytes(pem + make_certificate(key))
    check_pair(cert, None)


def refusal(cert: Path, key: Path | None) -> UnusableFile:
    with pytest.raises(UnusableFile) as caught:
        check_pair(cert, key)
    return caught.value


def test_unusable_files_are_told_apart(cert: Path, key_file: Path) -> None:
    """Each thing that can be wrong is said of the file in which it is wrong."""
    key, pem = make_key()
    assert "No such file" in str(refusal(cert, key_file))
    cert.write_text("no certificate")
    assert "no readable PEM certificate" in str(refusal(cert, key_file))
    cert.write_bytes(make_certificate(key))
    missing = refusal(cert, key_file)
    assert "No such file" in str(missing)
    assert missing.in_key
    in_cert = refusal(cert, None)
    assert "append the key, or name its file" in str(in_cert)
    assert not in_cert.in_key
    key_file.write_text("no key")
    assert "no readable PEM private key" in str(refusal(cert, key_file))
    key_file.write_bytes(make_key()[1])
    other = refusal(cert, key_file)
    assert "is not the private key of the certificate" in str(other)
    assert other.in_key
    cert.write_bytes(make_certificate(key) + make_key()[1])
    assert "not its certificate's" in str(refusal(cert, None))
    key_file.write_bytes(pem)
    check_pair(cert, key_file)


def test_an_encrypted_key_asks_nobody(cert: Path, key_file: Path) -> None:
    """A key with a passphrase is refused, where OpenSSL would prompt on the terminal."""
    key, pem = make_key(BestAvailableEncryption(b"sesame"))
    cert.write_bytes(make_certificate(key))
    key_file.write_bytes(pem)
    assert "encrypted private key" in str(refusal(cert, key_file))


def test_ciphers() -> None:
    """A cipher list must select something."""
    assert check_ciphers("ECDHE+AESGCM:!PSK") == "ECDHE+AESGCM:!PSK"
    for names in ("NOPE", "é"):
        with pytest.raises(ValueError, match="selects no cipher"):
            check_ciphers(names)
