"""HTTP by the standard library: no dependency, proxies and certificates as the system has them.

A redirect is not followed: urllib would send the key to wherever it leads.
"""

from __future__ import annotations

import re
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, RemoteDisconnected
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from attrs import frozen

from consoled.cli.api import Answer, TransportError
from consoled.cli.endpoint import Endpoint, Trust
from consoled.cli.failure import Failure

TIMEOUT = 30
"""Seconds for a connection, and for each piece of an answer."""

MAX_BODY = 64 * 1024 * 1024
"""The longest answer in bytes that is taken."""

_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, f"no answer within {TIMEOUT} s"),
    (socket.gaierror, "its host name is not known"),
    (
        ConnectionRefusedError,
        "connection refused; is the daemon running, and does it listen there?",
    ),
    (
        (RemoteDisconnected, ConnectionResetError),
        "it closed the connection without an answer; is it an https:// address?",
    ),
    (ssl.SSLError, "it does not speak TLS as it should; is it an http:// address?"),
)

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


@frozen
class HttpTransport:
    """Sends requests to one endpoint."""

    opener: urllib.request.OpenerDirector
    trust: Trust

    @classmethod
    def to(cls, endpoint: Endpoint) -> HttpTransport:
        """A transport that trusts what the endpoint says.

        :raises consoled.cli.failure.Failure: a certificate's file cannot be used.
        """
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        parts = urlsplit(endpoint.url)
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=_context(endpoint.trust)))
        if _is_loopback(parts.hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        return cls(urllib.request.build_opener(*handlers), endpoint.trust)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """The answer, whatever its status; it blocks.

        :raises consoled.cli.api.TransportError: there is none.
        """
        request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310 - http(s) by check_url
        try:
            try:
                response = self.opener.open(request, timeout=TIMEOUT)
            except HTTPError as error:
                response = error
            with response:
                data = response.read(MAX_BODY + 1)
        except (OSError, HTTPException, ValueError) as error:
            raise TransportError(self._why(error)) from None
        if len(data) > MAX_BODY:
            raise TransportError(f"its answer is longer than {MAX_BODY // 2**20} MiB")
        lower = {name.lower(): value for name, value in response.headers.items()}
        # read() with a limit passes over an answer that breaks off.
        length = lower.get("content-length", "")
        if length.isdecimal() and int(length) > len(data):
            raise TransportError("its answer broke off")
        return Answer(response.status, lower, data)

    def _why(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return self._untrusted(cause)
        for kinds, reason in _REASONS:
            if isinstance(cause, kinds):
                return reason
        return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        problem = f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
        if self.trust.exactly is not None:
            return (
                f"{problem}; it is not the one in {self.trust.exactly}, or has expired: SIGHUP "
                "makes the daemon read that file again"
            )
        if error.verify_code in _WRONG_NAME:
            return f"{problem}; use the name or address that the certificate is for"
        return f"{problem}; name the file of its certificate authority with --cacert"


def _context(trust: Trust) -> ssl.SSLContext:
    try:
        if trust.exactly is not None:
            return _only(trust.exactly)
        return ssl.create_default_context(cafile=trust.authorities)
    except (OSError, ValueError) as error:
        file = trust.exactly or trust.authorities
        reason = "it holds no PEM certificate"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = error.strerror or str(error)
        raise Failure(f"{file}: cannot read this certificate: {reason}") from None


def _only(file: Path) -> ssl.SSLContext:
    """Trusts the first certificate of the file, which names the daemon as browsers know it."""
    found = _PEM.search(file.read_bytes())
    if found is None:
        raise ValueError
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=found[0].decode("ascii"))
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
