"""TLS 1.2 and later, by Twisted and pyOpenSSL, from the operator's certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from consoled.errors import ConfigError

MINIMUM_VERSIONS = {
    "default": TLSVersion.TLSv1_2,
    "tlsv1_2": TLSVersion.TLSv1_2,
    "tlsv1_3": TLSVersion.TLSv1_3,
}
SAFE_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What TLS 1.2 is spoken with by default: forward secrecy, and no CBC."""


@frozen
class TLSSettings:
    """What a TLS listener is made of.

    :ivar cert: a PEM file: the certificate, then its chain (and the key, where ``key`` is None).
    :ivar key: a PEM file with the private key, or None.
    :ivar ciphers: an OpenSSL cipher list for TLS 1.2, or None for :data:`SAFE_CIPHERS`.
    :ivar minimum_version: ``default``, ``tlsv1_2`` or ``tlsv1_3``.
    """

    cert: Path
    key: Path | None = None
    ciphers: str | None = None
    minimum_version: str = "default"


def make_context(settings: TLSSettings) -> SSL.Context:
    """A server context.

    :raises consoled.errors.ConfigError: a file cannot be read, or does not hold what it should.
    """
    try:
        # pyOpenSSL takes these as they are; Twisted's annotations name its deprecated wrappers.
        chain: list[Any] = x509.load_pem_x509_certificates(settings.cert.read_bytes())
        key: Any = load_pem_private_key((settings.key or settings.cert).read_bytes(), password=None)
        options = CertificateOptions(
            privateKey=key,
            certificate=chain[0],
            extraCertChain=chain[1:],
            raiseMinimumTo=MINIMUM_VERSIONS[settings.minimum_version],
            acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(
                settings.ciphers or SAFE_CIPHERS
            ),
            acceptableProtocols=[b"http/1.1"],
        )
        context = options.getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, SSL.Error) as error:
        raise ConfigError(
            f"TLS certificate {settings.cert} (key {settings.key or 'in the same file'}) "
            f"cannot be used: {_words(error)}"
        ) from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, SSL.Error):
        return "; ".join(str(item[-1]) for item in error.args[0])
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error).splitlines()[0]


@implementer(IOpenSSLServerConnectionCreator)
@define
class SwappableContext:
    """Makes each new connection from the newest context, so that SIGHUP swaps certificates.

    :ivar settings: where the certificate is read from.
    """

    settings: TLSSettings
    _context: SSL.Context = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._context = make_context(self.settings)

    def reload(self) -> None:
        """Reads the files again; open connections keep what they have.

        :raises consoled.errors.ConfigError: the new files are bad, the old context stays.
        """
        self._context = make_context(self.settings)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A new server-side connection."""
        return SSL.Connection(self._context, None)
