"""TLS 1.2 and later, by Twisted and pyOpenSSL, from the operator's certificate."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field, frozen
from cryptography import x509
from OpenSSL import SSL, crypto
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


@frozen
class TLSSettings:
    """What a TLS listener is made of.

    :ivar cert: a PEM file: the certificate, then its chain (and the key, where ``key`` is None).
    :ivar key: a PEM file with the private key, or None.
    :ivar ciphers: an OpenSSL cipher list for TLS 1.2, or None for Twisted's.
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
        chain = x509.load_pem_x509_certificates(settings.cert.read_bytes())
        key_file = settings.key or settings.cert
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, key_file.read_bytes(), b"")
        ciphers = (
            AcceptableCiphers.fromOpenSSLCipherString(settings.ciphers)
            if settings.ciphers
            else None
        )
        first, *rest = (crypto.X509.from_cryptography(certificate) for certificate in chain)
        options = CertificateOptions(
            privateKey=key,
            certificate=first,
            extraCertChain=rest,
            raiseMinimumTo=MINIMUM_VERSIONS[settings.minimum_version],
            acceptableCiphers=ciphers,
            acceptableProtocols=[b"http/1.1"],
        )
        context = options.getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.check_privatekey()
    except (OSError, ValueError, SSL.Error, crypto.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else _words(error)
        raise ConfigError(
            f"TLS certificate {settings.cert} (key {settings.key or 'in the same file'}) "
            f"cannot be used: {reason}"
        ) from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, SSL.Error | crypto.Error):
        return "; ".join(str(item[-1]) for item in error.args[0]) or "no private key in it"
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
