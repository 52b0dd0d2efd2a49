"""What is wrong with the certificate that a compute host shows, in words."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509
from OpenSSL.SSL import X509VerificationCodes as Codes
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

_SHOWN = 5
"""How many of a certificate's names are told."""

_UNTRUSTED = "its certificate is signed by nobody that this server trusts"
_WORDS = {
    Codes.ERR_CERT_HAS_EXPIRED: "its certificate has expired",
    Codes.ERR_CERT_NOT_YET_VALID: "its certificate is not valid yet",
    Codes.ERR_INVALID_PURPOSE: "its certificate is not one for servers",
    Codes.ERR_INVALID_CA: "its certificate is signed by one that may not sign",
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: _UNTRUSTED,
    Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: _UNTRUSTED,
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: _UNTRUSTED,
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: _UNTRUSTED,
    Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: _UNTRUSTED,
    Codes.ERR_CERT_SIGNATURE_FAILURE: _UNTRUSTED,
}


def is_address(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def fault_of(cert: x509.Certificate, error: int, name: str | None) -> tuple[str, str] | None:
    """What is wrong with one certificate of a chain.

    :param error: OpenSSL's verdict on it, an ``X509_V_ERR_*``; 0 where it has none.
    :param name: the DNS name or IP address that it has to be for (RFC 9525); None for an
        authority's.
    :returns: words for a viewer, and what an operator should know besides; None if nothing is.
    """
    if error:
        words = _WORDS.get(error, "its certificate was not accepted")
        return words, (
            f"OpenSSL's verify error {error} at the certificate of {_one_line(cert.subject)}, "
            f"signed by {_one_line(cert.issuer)}"
        )
    if name is None:
        return None
    try:
        if is_address(name):
            verify_certificate_ip_address(cert, name)
        else:
            verify_certificate_hostname(cert, name)
    except (VerificationError, CertificateError, ValueError):
        return "its certificate is for another name", (
            f"it is for {_names(cert)}, not for {name}; its subjectAltName has to have that, or "
            "[libvirt] chardev_tls_verify_name what it has"
        )
    return None


def _names(cert: x509.Certificate) -> str:
    try:
        alternatives = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no name at all"
    names = [str(name.value) for name in alternatives]
    more = ", ..." if len(names) > _SHOWN else ""
    return _printable(", ".join(names[:_SHOWN]) + more)


def _one_line(name: x509.Name) -> str:
    return _printable(name.rfc4514_string()) or "nobody"


def _printable(text: str) -> str:
    """What a host has sent, fit for a line of the log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:255]
