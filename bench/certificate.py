"""A self-signed certificate for loopback, for the run only."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.sockets import HOST


@frozen
class Certificate:
    """The same certificate in the forms that the subjects want.

    :ivar cert: the certificate alone, which the client trusts.
    :ivar both: certificate and key in one file.
    """

    cert: Path
    key: Path
    both: Path


def make_certificate(folder: Path) -> Certificate:
    """A new P-256 key and its certificate, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    cert_pem = cert.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    found = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    found.cert.write_bytes(cert_pem)
    for path, content in ((found.key, key_pem), (found.both, cert_pem + key_pem)):
        path.touch(mode=0o600)
        path.write_bytes(content)
    return found
