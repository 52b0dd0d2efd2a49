"""Is this a usable pair of certificate and private key?"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL


class UnusableFile(Exception):
    """A certificate or key file cannot be used.

    :ivar in_key: whether the trouble lies in the key's file.
    """

    def __init__(self, problem: str, *, in_key: bool) -> None:
        super().__init__(problem)
        self.in_key = in_key


def check_pair(cert: Path, key: Path | None) -> None:
    """Reads both files as the listener will.

    :param cert: PEM: the certificate, then its chain.
    :param key: PEM, not encrypted; None where it stands in ``cert``.
    :raises UnusableFile: naming what is wrong; never what stands in a file.
    """
    chain = _load_chain(cert)
    private = _load_key(cert if key is None else key, in_cert=key is None)
    if _spki(chain[0].public_key()) != _spki(private.public_key()):
        raise UnusableFile(
            f"is not the private key of the certificate {cert}"
            if key is not None
            else "holds a private key that is not its certificate's; the certificate comes first",
            in_key=key is not None,
        )
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        context.use_certificate_chain_file(str(cert))
        context.use_privatekey_file(str(key or cert))
        context.check_privatekey()
    except SSL.Error as error:
        raise UnusableFile(f"is refused by OpenSSL: {_reason(error)}", in_key=False) from None


def check_authorities(ca: Path) -> None:
    """Reads a file of authorities' certificates.

    :param ca: PEM, one certificate or several.
    :raises UnusableFile: naming what is wrong.
    """
    _load_chain(ca)


def check_ciphers(names: str) -> str:
    """An OpenSSL cipher list that selects something.

    :raises ValueError: OpenSSL knows none of them.
    """
    try:
        SSL.Context(SSL.TLS_SERVER_METHOD).set_cipher_list(names.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise ValueError(
            "selects no cipher that OpenSSL knows; see what `openssl ciphers -v LIST` says"
        ) from None
    return names


def _load_chain(cert: Path) -> list[x509.Certificate]:
    data = _read(cert, in_key=False)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise UnusableFile("holds no readable PEM certificate", in_key=False) from None


def _load_key(key: Path, *, in_cert: bool) -> PrivateKeyTypes:
    data = _read(key, in_key=not in_cert)
    hint = "; append the key, or name its file as key" if in_cert else ""
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        problem = "holds an encrypted private key; decrypt it, nobody is there to type a passphrase"
        raise UnusableFile(problem, in_key=not in_cert) from None
    except Exception:  # kinds of keys that it does not support raise unrelated types
        problem = f"holds no readable PEM private key{hint}"
        raise UnusableFile(problem, in_key=not in_cert) from None


def _read(path: Path, *, in_key: bool) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableFile(f"cannot be read ({path}: {error.strerror})", in_key=in_key) from None


def _spki(public: object) -> bytes:
    result: bytes = public.public_bytes(  # type: ignore[attr-defined]  # each kind of key has it
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return result


def _reason(error: SSL.Error) -> str:
    first = error.args[0][0] if error.args and error.args[0] else ("", "", "unknown reason")
    return str(first[-1])
