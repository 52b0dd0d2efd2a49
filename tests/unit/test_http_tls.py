"""TLS contexts: the operator's files, versions, and the swap on SIGHUP."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tls_client import TLSClient, client_context
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from wires import Wire

from consoled.errors import ConfigError
from consoled.http.tls import MINIMUM_VERSIONS, SwappableContext, TLSSettings, make_context
from tools.lab.certificates import Pair, make_pair


class Echo(Protocol):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        """Sends it back."""
        assert self.transport is not None
        self.transport.write(data)


class Server:
    """A TLS echo server in memory."""

    def __init__(self, context: SwappableContext) -> None:
        self.reactor = MemoryReactorClock()
        echo = Factory.forProtocol(Echo)
        self.factory = TLSMemoryBIOFactory(context, False, echo, clock=self.reactor)

    def connect(self, context: ssl.SSLContext | None = None) -> TLSClient:
        """A client, its handshake not begun."""
        wire = Wire()
        wire.protocol = self.factory.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        return TLSClient(wire, self.reactor, context or client_context())


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A certificate."""
    return make_pair("first")


def server(folder: Path, pair: Pair, **options: str | None) -> Server:
    """A server with that certificate."""
    cert, key = pair.write(folder)
    return Server(SwappableContext(TLSSettings(cert, key, **options)))  # type: ignore[arg-type]  # the names are the class's own


def test_certificate_and_key_in_one_file(tmp_path: Path, pair: Pair) -> None:
    """Without a key file, the key stands in the certificate's."""
    path = tmp_path / "both.pem"
    path.write_bytes(pair.cert_pem + pair.key_pem)
    assert Server(SwappableContext(TLSSettings(path))).connect().handshake()


def test_chain(tmp_path: Path) -> None:
    """Further certificates in the file go to the client, which trusts only the last."""
    root = make_pair("root")
    middle = make_pair("middle", root)
    leaf = make_pair("localhost", middle)
    cert, key = tmp_path / "chain.crt", tmp_path / "leaf.key"
    cert.write_bytes(leaf.cert_pem + middle.cert_pem)
    key.write_bytes(leaf.key_pem)
    strict = ssl.create_default_context(cadata=root.cert_pem.decode())
    strict.check_hostname = False
    assert Server(SwappableContext(TLSSettings(cert, key))).connect(strict).handshake()


PAIR = make_pair("spoilt")
SECRET = b"secret words"
BAD = {
    "no certificate": ("crt", None, "No such file or directory"),
    "no key": ("key", None, "No such file or directory"),
    "empty": ("crt", b"", "PEM"),
    "garbage": ("crt", b"\x00\xff" * 99, "PEM"),
    "broken PEM": ("crt", PAIR.cert_pem[:100] + PAIR.cert_pem[-30:], ""),
    "a key for a certificate": ("crt", PAIR.key_pem, "PEM"),
    "empty key": ("key", b"", "PEM"),
    "garbage key": ("key", SECRET, "PEM"),
    "a certificate for a key": ("key", PAIR.cert_pem, ""),
    "encrypted key": ("key", PAIR.encrypted_key_pem(SECRET), "encrypted"),
    "another's key": ("key", make_pair("other").key_pem, "mismatch"),
}


@pytest.mark.parametrize(("suffix", "content", "reason"), BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path: Path, suffix: str, content: bytes | None, reason: str) -> None:
    """Each unusable file is one line that names it and says why, and no more of it."""
    cert, key = PAIR.write(tmp_path)
    path = tmp_path / f"server.{suffix}"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        make_context(TLSSettings(cert, key))
    text = str(caught.value)
    assert str(cert) in text
    assert str(key) in text
    assert "\n" not in text
    assert SECRET.decode() not in text
    words = text.partition(" cannot be used: ")[2]
    assert words
    assert reason in words


def test_folder_for_a_certificate(tmp_path: Path) -> None:
    """A folder is one line, too."""
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        make_context(TLSSettings(tmp_path))


def test_unknown_ciphers(tmp_path: Path, pair: Pair) -> None:
    """A cipher list without a cipher is one line as well."""
    cert, key = pair.write(tmp_path)
    with pytest.raises(ConfigError, match="cannot be used: "):
        make_context(TLSSettings(cert, key, ciphers="NO-SUCH-CIPHER"))


OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.name)
@pytest.mark.parametrize("minimum", MINIMUM_VERSIONS)
def test_old_versions(tmp_path: Path, pair: Pair, minimum: str, version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 are refused whatever is configured (faults.md H10)."""
    client = server(tmp_path, pair, minimum_version=minimum).connect(client_context(version))
    assert not client.handshake()
    assert client.alert is not None
    assert "PROTOCOL_VERSION" in str(client.alert)


@pytest.mark.parametrize(
    ("minimum", "offered", "agreed"),
    [
        ("default", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("default", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("tlsv1_2", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("tlsv1_3", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("tlsv1_3", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_minimum_versions(
    tmp_path: Path, pair: Pair, minimum: str, offered: ssl.TLSVersion, agreed: str | None
) -> None:
    """The newest version that both speak is agreed on, or none."""
    client = server(tmp_path, pair, minimum_version=minimum).connect(client_context(offered))
    assert client.handshake() == (agreed is not None)
    if agreed:
        assert client.tls.version() == agreed
        assert client.ask(b"hello") == b"hello"


@pytest.mark.parametrize("weak", ["NULL", "aNULL", "AES128-SHA", "ECDHE-ECDSA-AES128-SHA"])
def test_weak_ciphers(tmp_path: Path, pair: Pair, weak: str) -> None:
    """No cipher without encryption, authentication or AEAD is agreed on by default."""
    context = client_context(ssl.TLSVersion.TLSv1_2, weak)
    assert not server(tmp_path, pair).connect(context).handshake()


def test_chosen_cipher(tmp_path: Path, pair: Pair) -> None:
    """[console] ssl_ciphers is what TLS 1.2 is spoken with."""
    only = "ECDHE-ECDSA-AES256-GCM-SHA384"
    client = server(tmp_path, pair, ciphers=only).connect(client_context(ssl.TLSVersion.TLSv1_2))
    assert client.handshake()
    cipher = client.tls.cipher()
    assert cipher is not None
    assert cipher[0] == only


def test_reload(tmp_path: Path, pair: Pair) -> None:
    """New files serve new connections; an open one goes on with what it has."""
    context = SwappableContext(TLSSettings(*pair.write(tmp_path)))
    running = Server(context)
    old = running.connect()
    assert old.handshake()
    second = make_pair("second")
    second.write(tmp_path)
    context.reload()
    new = running.connect()
    assert new.handshake()
    assert new.tls.getpeercert(binary_form=True) == second.der
    assert old.tls.getpeercert(binary_form=True) == pair.der
    assert old.ask(b"still here") == b"still here"


def test_reload_of_a_bad_file(tmp_path: Path, pair: Pair) -> None:
    """A bad file is refused on reload, and the old certificate stays."""
    cert, key = pair.write(tmp_path)
    context = SwappableContext(TLSSettings(cert, key))
    running = Server(context)
    cert.write_bytes(make_pair("other").cert_pem)
    with pytest.raises(ConfigError):
        context.reload()
    client = running.connect()
    assert client.handshake()
    assert client.tls.getpeercert(binary_form=True) == pair.der
