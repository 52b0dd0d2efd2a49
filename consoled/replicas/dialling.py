"""Where another replica is dialled: plain TCP, or TLS with its certificate verified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)

from consoled.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


def replica_endpoints(reactor: Any, ca: Path | None) -> Callable[[str], IStreamClientEndpoint]:
    """What makes an endpoint of a replica's url.

    :param ca: a PEM file of the certificates that vouch for https addresses, or None for the
        system's.
    :raises consoled.errors.ConfigError: the file cannot be used.
    """
    trust = platformTrust() if ca is None else authorities(ca, "[proxy] replica_ca")

    def endpoint(url: str) -> IStreamClientEndpoint:
        parts = urlsplit(url)
        assert parts.hostname is not None
        plain = HostnameEndpoint(reactor, parts.hostname, parts.port or _PORTS[parts.scheme])
        if parts.scheme == "http":
            return plain
        secure: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(parts.hostname, trustRoot=trust), plain
        )
        return secure

    return endpoint


def authorities(ca: Path, option: str) -> Any:
    """Who vouches for https addresses: those whose certificates the file has.

    :param ca: a PEM file.
    :param option: that names it.
    :raises consoled.errors.ConfigError: it cannot be used.
    """
    marker = b"-----BEGIN CERTIFICATE-----"
    try:
        blocks = [marker + rest for rest in ca.read_bytes().split(marker)[1:]]
        if not blocks:
            raise ValueError("it holds no certificate")
        return trustRootFromCertificates([Certificate.loadPEM(block) for block in blocks])
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # pyOpenSSL raises its own for each kind of damage
        reason = str(error) or type(error).__name__
    raise ConfigError(f"{option} {ca} cannot be used: {reason}")
