"""What consoled shows, and whom it trusts, where a console's port speaks TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509

from consoled.errors import ConfigError
from consoled.http.tls import SAFE_CIPHERS
from consoled.transports.identity import fault_of, is_address

T = TypeVar("T")


@frozen
class CredentialFiles:
    """The files of ``[libvirt] chardev_tls_*``.

    :ivar ca: PEM: the authorities that vouch for the compute hosts.
    :ivar cert: PEM: consoled's own certificate, then its chain; None shows none.
    :ivar key: PEM: its private key; None where it stands in ``cert``.
    :ivar verify_name: the name or IP address in the hosts' certificates; None is the address
        that is dialled.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    verify_name: str | None = None


@define(eq=False)
class Peer:
    """Whom one connection should reach, and why it did not.

    :ivar name: a DNS name or an IP address.
    :ivar fault: what is wrong with the certificate that the host has shown, else None.
    """

    name: str
    fault: tuple[str, str] | None = None

    def judge(
        self, connection: SSL.Connection, cert: X509, error: int, depth: int, passed: int
    ) -> bool:
        """OpenSSL's question for each certificate of the chain, the host's own last."""
        if self.fault is None:
            wanted = self.name if depth == 0 else None
            self.fault = fault_of(cert.to_cryptography(), 0 if passed else error, wanted)
        return self.fault is None


@define(eq=False)
class Credentials:
    """Makes each new connection from the newest files.

    :ivar files: read again by :meth:`reload`.
    """

    files: CredentialFiles
    _context: SSL.Context = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._context = make_client_context(self.files)

    def reload(self) -> None:
        """Reads the files again; open connections keep what they have.

        :raises consoled.errors.ConfigError: the new files are bad, the old ones stay in force.
        """
        self._context = make_client_context(self.files)

    def peer(self, host: str) -> Peer:
        """Whom a connection to that address should reach; no certificate has an IPv6 zone."""
        return Peer(self.files.verify_name or host.partition("%")[0])

    def connection(self, peer: Peer) -> SSL.Connection:
        """The client's side of a connection, which accepts that peer alone.

        A host is told its name, and no address (RFC 6066, section 3).
        """
        connection = SSL.Connection(self._context, None)
        connection.set_verify(SSL.VERIFY_PEER, peer.judge)
        if not is_address(peer.name) and peer.name.isascii():
            connection.set_tlsext_host_name(peer.name.encode())
        return connection


def make_client_context(files: CredentialFiles) -> SSL.Context:
    """TLS 1.2 and later, with the peer's certificate verified.

    :raises consoled.errors.ConfigError: naming the file that cannot be used.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(SAFE_CIPHERS.encode())
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER)
    store = context.get_cert_store()
    assert store is not None
    for authority in _read("chardev_tls_ca", files.ca, x509.load_pem_x509_certificates):
        store.add_cert(X509.from_cryptography(authority))
    if files.cert is not None:
        _add_own(context, files.cert, files.key)
    return context


def _add_own(context: SSL.Context, cert: Path, key: Path | None) -> None:
    # pyOpenSSL takes these as they are; its annotations name its deprecated wrappers too.
    own, *chain = _read("chardev_tls_cert", cert, x509.load_pem_x509_certificates)
    option = "chardev_tls_cert" if key is None else "chardev_tls_key"
    private: Any = _read(option, key or cert, lambda data: load_pem_private_key(data, None))
    try:
        context.use_certificate(own)
        for issuer in chain:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(private)
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigError(
            f"[libvirt] chardev_tls_cert {cert} (key {key or 'in the same file'}) cannot be used: "
            f"{words_of(error)}"
        ) from None


def _read(option: str, path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        reason = str(error.strerror)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = "it holds no readable PEM of that kind, or an encrypted one"
    raise ConfigError(f"[libvirt] {option} {path} cannot be used: {reason}")


def words_of(error: SSL.Error) -> str:
    """OpenSSL's own words."""
    reasons = [str(item[-1]) for item in error.args[0]] if error.args else []
    return "; ".join(reasons) or "OpenSSL does not say why"
