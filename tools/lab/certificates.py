"""Self-made certificates for loopback, in PEM files."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@frozen
class Pair:
    """A certificate and its private key.

    :ivar name: the subject, by which tests tell certificates apart.
    """

    name: str
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def cert_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, not encrypted."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key_pem(self, passphrase: bytes) -> bytes:
        """The private key under a passphrase."""
        return self.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
        )

    @property
    def der(self) -> bytes:
        """The certificate, as a client sees it."""
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path, stem: str = "server") -> tuple[Path, Path]:
        """The files ``stem.crt`` and ``stem.key`` with it; files that exist are replaced."""
        cert, key = folder / f"{stem}.crt", folder / f"{stem}.key"
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        cert.write_bytes(self.cert_pem)
        return cert, key


def make_pair(name: str = "localhost", issuer: Pair | None = None) -> Pair:
    """A new certificate for 127.0.0.1, ::1 and localhost, valid from yesterday for a month.

    :param name: its subject.
    :param issuer: who signs it; by default it signs itself.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate = builder.sign(issuer.private_key if issuer else key, hashes.SHA256())
    return Pair(name, certificate, key)
