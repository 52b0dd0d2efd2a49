"""A certificate authority of one's own, as QEMU and libvirt want their certificates."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.lab.certificates import Pair

_DAY = datetime.timedelta(days=1)
_PURPOSES = {
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
}


@frozen
class Authority:
    """Signs certificates for servers and clients.

    :ivar name: its subject.
    :ivar pair: its own certificate and key.
    """

    name: str = "lab authority"
    pair: Pair = field(init=False)

    @pair.default
    def _own(self) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = _usage(signs=True)
        builder = _builder(self.name, self.name, key, days=(-1, 30))
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        signed = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        return Pair(self.name, signed, key)

    def issue(
        self,
        purpose: str,
        names: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
        *,
        days: tuple[int, int] = (-1, 30),
    ) -> Pair:
        """A certificate that signs nothing itself.

        :param purpose: ``server`` or ``client``.
        :param names: DNS names and IP addresses; the first one is its subject.
        :param days: from when and until when it is valid, counted from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        signed = (
            _builder(names[0], self.name, key, days)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_PURPOSES[purpose]), critical=False)
            .add_extension(alternatives, critical=False)
            .sign(self.pair.private_key, hashes.SHA256())
        )
        return Pair(names[0], signed, key)

    def write_for_qemu(self, folder: Path, server: Pair | None = None) -> Path:
        """A folder for ``tls-creds-x509``: this authority, and a server's certificate.

        :param server: the certificate; one for loopback by default.
        """
        server = server or self.issue("server")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca-cert.pem").write_bytes(self.pair.cert_pem)
        (folder / "server-cert.pem").write_bytes(server.cert_pem)
        (folder / "server-key.pem").write_bytes(server.key_pem)
        return folder


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_called(subject))
        .issuer_name(_called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
    )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
