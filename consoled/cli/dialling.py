"""Where the API is dialled by what runs on Twisted: TCP, or TLS with what the user trusts."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from consoled.cli.endpoint import Endpoint
from consoled.cli.failure import Failure

_PORTS = {"http": 80, "https": 443}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def api_endpoint(reactor: Any, endpoint: Endpoint) -> IStreamClientEndpoint:
    """What dials the API, and verifies it as :class:`consoled.cli.transport.HttpTransport` does.

    :raises consoled.cli.failure.Failure: a certificate's file cannot be used.
    """
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    plain = HostnameEndpoint(reactor, host, parts.port or _PORTS[parts.scheme])
    if parts.scheme == "http":
        return plain
    trust = endpoint.trust
    creator: Any
    if trust.exactly is not None:
        creator = ExactCertificate(_context(trust.exactly), None if _is_address(host) else host)
    elif trust.authorities is not None:
        roots = trustRootFromCertificates(
            [Certificate.loadPEM(pem) for pem in _certificates(trust.authorities)]
        )
        creator = optionsForClientTLS(host, trustRoot=roots)
    else:
        creator = optionsForClientTLS(host, trustRoot=platformTrust())
    secure: IStreamClientEndpoint = wrapClientTLS(creator, plain)
    return secure


@implementer(IOpenSSLClientConnectionCreator)
@frozen(eq=False)
class ExactCertificate:
    """Takes one certificate, whatever names it has: that of the daemon's own configuration.

    :ivar name: told to the server, or None.
    """

    context: SSL.Context
    name: str | None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A new client-side connection."""
        connection = SSL.Connection(self.context, None)
        if self.name is not None:
            connection.set_tlsext_host_name(self.name.encode("idna"))
        return connection


def _context(file: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    store = context.get_cert_store()
    assert store is not None
    first = x509.load_pem_x509_certificate(_certificates(file)[0])
    store.add_cert(crypto.X509.from_cryptography(first))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify(SSL.VERIFY_PEER, lambda _c, _x, _e, _d, good: bool(good))
    return context


def _certificates(file: Path) -> list[bytes]:
    try:
        found = _PEM.findall(file.read_bytes())
    except OSError as error:
        raise Failure(f"{file}: cannot read this certificate: {error.strerror}") from None
    if not found:
        raise Failure(f"{file}: cannot read this certificate: it holds no PEM certificate")
    return found


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
