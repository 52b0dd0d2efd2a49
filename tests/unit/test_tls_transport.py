"""consoled.transports.tls: whom a console is believed to be, and that its bytes stay whole."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from cells import outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_server import LateWire, TLSServer, answer_late, server_context
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher

from consoled.errors import BackendUnreachable, ConfigError
from consoled.model import Console, Instance, InstanceState
from consoled.proxy.leg import CLOSE_PATIENCE, Leg, LegFactory
from consoled.transports.connect import ConnectEndpoint
from consoled.transports.credentials import CredentialFiles, Credentials
from consoled.transports.tcp import TCPTransport
from consoled.transports.tls import JUDGEMENT, TLSEndpoint, TLSTransport
from tools.lab.authority import Authority
from tools.lab.certificates import Pair, make_pair

TIMEOUT = 5.0
INSTANCE = Instance(
    "7f0a4d2e-5f4b-4f0c-9a53-3b1d4f6a0001", "web", "demo", "kvm1", InstanceState.RUNNING
)
AUTHORITY = Authority()
OTHER = Authority("somebody else's authority")
LEAF = AUTHORITY.issue("server")
OWN = AUTHORITY.issue("client", ["consoled"])


class Throttle:
    """The producer of a leg's transport."""

    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        """Not asked."""


@define
class Dial:
    """A dial in memory, and what its caller hears.

    :ivar server: how the host's side is; None is no TLS at all.
    """

    folder: Path
    server: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    verify_name: str | None = None
    show: Pair | None = OWN
    factory: Any = field(factory=LegFactory)
    path: str = ""
    reactor: MemoryReactorClock = field(factory=MemoryReactorClock, init=False)
    answer: Deferred[Any] = field(init=False)
    wire: LateWire = field(init=False)
    output: list[bytes] = field(factory=list, init=False)
    lost: list[bool] = field(factory=list, init=False)
    throttle: Throttle = field(factory=Throttle, init=False)
    _peer: TLSServer | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        inner = TCP4ClientEndpoint(self.reactor, self.host, 80)
        console = Console(0, self.host, 80, tls=True)
        credentials = Credentials(self.files())
        endpoint: Any = TLSEndpoint(inner, console, credentials, self.reactor, TIMEOUT)
        if self.path:
            endpoint = ConnectEndpoint(endpoint, self.path, self.reactor, TIMEOUT)
        self.answer = endpoint.connect(self.factory)
        self.wire = answer_late(self.reactor)

    def files(self) -> CredentialFiles:
        """consoled's own."""
        ca = self.folder / "ca.pem"
        ca.write_bytes(AUTHORITY.pair.cert_pem)
        cert, key = self.show.write(self.folder, "own") if self.show else (None, None)
        return CredentialFiles(ca, cert, key, self.verify_name)

    @property
    def peer(self) -> TLSServer:
        """The host's side."""
        if self._peer is None:
            assert self.server is not None
            self._peer = TLSServer(self.wire, self.reactor, self.server)
        return self._peer

    def opened(self) -> Leg:
        """The leg after a handshake, started."""
        assert self.peer.handshake(), self.peer.error
        self.peer.move()
        leg = outcome(self.answer)
        leg.start(self.output.append, lambda: self.lost.append(True), self.throttle)
        self.reactor.advance(0)
        return leg  # type: ignore[no-any-return]  # of a Deferred of anything

    def fault(self) -> str:
        """Why there is no connection; it is closed, and no timer is left."""
        self.reactor.advance(0)
        with pytest.raises(BackendUnreachable) as caught:
            outcome(self.answer)
        assert not self.wire.connected
        assert self.reactor.getDelayedCalls() == []
        return str(caught.value)


@pytest.fixture
def host(tmp_path: Path) -> ssl.SSLContext:
    """A server with a certificate for loopback that wants a client's."""
    return server_context(tmp_path, AUTHORITY, LEAF)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(str(event.get("log_format")).format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ways(tmp_path: Path, host: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """After the handshake bytes go both ways, and the host has seen consoled's certificate."""
    host.maximum_version = version
    dial = Dial(tmp_path, host)
    leg = dial.opened()
    assert dial.peer.tls.getpeercert(binary_form=True) == OWN.der
    leg.write(b"uname -a\n")
    assert dial.peer.heard() == b"uname -a\n"
    dial.peer.says(b"Linux")
    dial.peer.move()
    assert b"".join(dial.output) == b"Linux"
    assert dial.reactor.getDelayedCalls() == []


def test_output_that_comes_with_the_handshake(tmp_path: Path, host: ssl.SSLContext) -> None:
    """What the guest prints before anybody is there to take it waits, and is not lost."""
    host.maximum_version = ssl.TLSVersion.TLSv1_2
    dial = Dial(tmp_path, host)
    shaken = False
    while not shaken:
        try:
            dial.peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            dial.peer.hear()
            dial.peer.deliver()
        else:
            # The end of the handshake and the guest's output arrive together.
            dial.peer.says(b"login: ")
            dial.peer.deliver()
            shaken = True
    leg = outcome(dial.answer)
    dial.reactor.advance(1)
    leg.start(dial.output.append, lambda: None, dial.throttle)
    # As of a plain connection: not within the call.
    assert dial.output == []
    dial.reactor.advance(0)
    assert b"".join(dial.output) == b"login: "


def test_output_that_comes_with_an_answer(tmp_path: Path, host: ssl.SSLContext) -> None:
    """A console that is asked for by name, over TLS: what follows the answer waits as well."""
    dial = Dial(tmp_path, host, path="/console?ref=1")
    assert dial.peer.handshake()
    dial.peer.move()
    assert dial.peer.heard() == b"CONNECT /console?ref=1 HTTP/1.1\r\n\r\n"
    dial.peer.says(b"HTTP/1.1 200 OK\r\n\r\nlog")
    dial.peer.move()
    dial.peer.says(b"in: ")
    dial.peer.deliver()
    leg = outcome(dial.answer)
    leg.start(dial.output.append, lambda: None, dial.throttle)
    assert dial.output == []
    dial.reactor.advance(0)
    assert b"".join(dial.output) == b"login: "
    leg.write(b"root\n")
    assert dial.peer.heard() == b"root\n"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    printed=st.lists(st.binary(min_size=1, max_size=40_000), max_size=4),
    typed=st.lists(st.binary(min_size=1, max_size=40_000), max_size=4),
    cut=st.integers(1, 5000),
    held=st.booleans(),
)
def test_every_byte_in_its_order(
    tmp_path: Path, printed: list[bytes], typed: list[bytes], cut: int, held: bool
) -> None:
    """However the streams are cut, and while the viewer holds the guest back."""
    dial = Dial(tmp_path, server_context(tmp_path, AUTHORITY, LEAF))
    leg = dial.opened()
    transport: Any = leg.transport
    for data in printed:
        if held:
            transport.pauseProducing()
        dial.peer.says(data)
        dial.peer.deliver(cut)
        if held:
            transport.resumeProducing()
            dial.reactor.advance(0)
    for data in typed:
        leg.write(data)
    assert dial.peer.heard() == b"".join(typed)
    assert b"".join(dial.output) == b"".join(printed)


@pytest.mark.parametrize("size", [1, 2, 9, 5000, 40_000])
def test_a_write_ends_with_one_byte(tmp_path: Path, host: ssl.SSLContext, size: int) -> None:
    """The last byte is a record of its own, without which QEMU would leave a part unread."""
    dial = Dial(tmp_path, host)
    leg = dial.opened()
    leg.write(b"x")
    dial.peer.heard()
    one = dial.peer.records[-1]
    before = len(dial.peer.records)
    leg.write(b"x" * size)
    assert dial.peer.heard() == b"x" * size
    sizes = dial.peer.records[before:]
    assert sizes[-1] == one
    assert len(sizes) == (1 if size == 1 else 1 + -(-(size - 1) // 2**14))


REFUSED = {
    "another authority": (OTHER.issue("server"), "is signed by nobody that this server trusts"),
    "itself": (make_pair("localhost"), "is signed by nobody that this server trusts"),
    "expired": (AUTHORITY.issue("server", days=(-9, -2)), "has expired"),
    "early": (AUTHORITY.issue("server", days=(2, 9)), "is not valid yet"),
    "another name": (AUTHORITY.issue("server", ["kvm2.test"]), "is for another name"),
    "another address": (AUTHORITY.issue("server", ["192.0.2.9"]), "is for another name"),
    "a client's": (AUTHORITY.issue("client"), "is not one for servers"),
}


@pytest.mark.parametrize("pair", REFUSED)
def test_a_host_that_is_not_believed(tmp_path: Path, pair: str, logged: list[str]) -> None:
    """It is told by an alert, learns nothing of consoled, and the reason names its fault."""
    shown, words = REFUSED[pair]
    dial = Dial(tmp_path, server_context(tmp_path, AUTHORITY, shown))
    assert not dial.peer.handshake()
    assert dial.fault() == f"TLS to serial port 0 failed: its certificate {words}."
    assert dial.peer.error is not None
    [line] = [line for line in logged if "TLS failed" in line]
    assert line.startswith(f"127.0.0.1:80: TLS failed: its certificate {words} (")
    assert "PRIVATE" not in line


def test_a_wrong_name_is_told_to_the_operator(tmp_path: Path, logged: list[str]) -> None:
    """The log says which names the certificate has, and which option is meant for that."""
    shown = AUTHORITY.issue("server", ["kvm2.test", "192.0.2.9"])
    dial = Dial(tmp_path, server_context(tmp_path, AUTHORITY, shown), host="kvm1.test")
    assert not dial.peer.handshake()
    assert "another name" in dial.fault()
    [line] = [line for line in logged if "TLS failed" in line]
    assert "it is for kvm2.test, 192.0.2.9, not for kvm1.test" in line
    assert "chardev_tls_verify_name" in line


@pytest.mark.parametrize(
    ("host", "verify_name", "names", "sni"),
    [
        ("kvm1.test", None, ["kvm1.test"], "kvm1.test"),
        ("127.0.0.1", None, ["127.0.0.1"], None),
        ("127.0.0.1", "hypervisors.test", ["hypervisors.test"], "hypervisors.test"),
        ("kvm1.test", "192.0.2.7", ["192.0.2.7"], None),
        ("kvm1.hosts.test", None, ["*.hosts.test"], "kvm1.hosts.test"),
    ],
)
def test_names_and_addresses(
    tmp_path: Path, host: str, verify_name: str | None, names: list[str], sni: str | None
) -> None:
    """The certificate is for the address that is dialled, or for the one name that all have."""
    context = server_context(tmp_path, AUTHORITY, AUTHORITY.issue("server", names))
    dial = Dial(tmp_path, context, host=host, verify_name=verify_name)
    dial.opened()
    assert dial.peer.name == sni


@pytest.mark.parametrize(
    "name", ["", "x" * 64, "kvm 1", "fe80::1%eth0", "b\u00fccher.test", "a..b"]
)
def test_strange_addresses(tmp_path: Path, host: ssl.SSLContext, name: str) -> None:
    """An address that no certificate can be for is refused as any other name is."""
    dial = Dial(tmp_path, host, verify_name=None, host="127.0.0.1")
    peer = Credentials(dial.files()).peer(name)
    connection = Credentials(dial.files()).connection(peer)
    assert not peer.judge(connection, _x509(LEAF), 0, 0, 1)
    assert peer.fault is not None
    dial.answer.cancel()
    dial.answer.addErrback(lambda failure: failure.trap(CancelledError))


def _x509(pair: Pair) -> Any:
    from OpenSSL.crypto import X509

    return X509.from_cryptography(pair.certificate)


def test_old_versions(tmp_path: Path, host: ssl.SSLContext) -> None:
    """A host that speaks nothing newer than TLS 1.1 is not spoken with."""
    host.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        host.minimum_version = ssl.TLSVersion.TLSv1
        host.maximum_version = ssl.TLSVersion.TLSv1_1
    dial = Dial(tmp_path, host)
    assert not dial.peer.handshake()
    assert dial.fault() == (
        "TLS to serial port 0 failed: there was no agreement on TLS 1.2 or later."
    )


@pytest.mark.parametrize("said", [b"login: ", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 40])
def test_a_port_without_tls(tmp_path: Path, said: bytes) -> None:
    """A guest that prints something where TLS should be is not taken for a console."""
    dial = Dial(tmp_path)
    dial.wire.protocol.dataReceived(said)
    assert dial.fault() == "TLS to serial port 0 failed: something else than TLS was spoken."


def test_silence(tmp_path: Path) -> None:
    """A port that answers nothing is given up in time, and the reason says what it may be."""
    dial = Dial(tmp_path)
    dial.reactor.advance(TIMEOUT - 0.1)
    assert dial.wire.connected
    dial.reactor.advance(0.2)
    assert dial.fault() == "TLS to serial port 0 failed: no handshake within 5 seconds."


@pytest.mark.parametrize("how", [ConnectionDone(), ConnectionLost()])
def test_closed_during_the_handshake(tmp_path: Path, how: Exception) -> None:
    """A connection that is closed before the end of the handshake is no console."""
    dial = Dial(tmp_path)
    dial.wire.drop(how)
    dial.reactor.advance(0)
    assert "the connection was closed during the handshake" in dial.fault()


def test_cancelled(tmp_path: Path) -> None:
    """A dial that is given up in the handshake closes the connection, and says no more."""
    dial = Dial(tmp_path)
    dial.answer.cancel()
    with pytest.raises(CancelledError):
        outcome(dial.answer)
    dial.reactor.advance(0)
    assert not dial.wire.connected
    assert dial.reactor.getDelayedCalls() == []


def test_nobody_to_talk_to(tmp_path: Path, host: ssl.SSLContext) -> None:
    """A factory that makes no protocol gets no connection."""

    class Nobody(LegFactory):
        def buildProtocol(self, addr: Any) -> None:  # type: ignore[override]  # that is the point
            return None

    dial = Dial(tmp_path, host, factory=Nobody())
    dial.peer.handshake()
    dial.peer.move()
    with pytest.raises(NoProtocol):
        outcome(dial.answer)
    dial.reactor.advance(0)
    assert not dial.wire.connected


# consoled's own certificate is not accepted


@pytest.mark.parametrize("show", [None, OTHER.issue("client", ["consoled"])])
def test_refused_by_an_alert(tmp_path: Path, host: ssl.SSLContext, show: Pair | None) -> None:
    """A host that says so: the leg's fault is told, and the log names the option."""
    dial = Dial(tmp_path, host, show=show)
    assert not dial.peer.handshake()
    leg = outcome(dial.answer)
    leg.start(dial.output.append, lambda: dial.lost.append(True), dial.throttle)
    dial.reactor.advance(0)
    assert dial.lost == [True]
    assert leg.fault == (
        "Serial port 0 hung up right after the TLS handshake: it may not accept this server's "
        "certificate."
    )


def test_refused_without_a_word(tmp_path: Path, host: ssl.SSLContext, logged: list[str]) -> None:
    """A host that hangs up after the handshake, as QEMU does."""
    dial = Dial(tmp_path, host)
    leg = dial.opened()
    dial.wire.drop(ConnectionLost())
    dial.reactor.advance(0)
    assert leg.fault
    assert [line for line in logged if "chardev_tls_cert" in line]


def test_hung_up_later(tmp_path: Path, host: ssl.SSLContext) -> None:
    """One that hangs up after a while, or after the guest has said something, is no refusal."""
    dial = Dial(tmp_path, host)
    leg = dial.opened()
    dial.reactor.advance(JUDGEMENT + 1)
    dial.wire.drop(ConnectionLost())
    dial.reactor.advance(0)
    assert (leg.fault, dial.lost) == ("", [True])
    other = Dial(tmp_path, host)
    leg = other.opened()
    other.peer.says(b"$ ")
    other.peer.move()
    other.wire.drop(ConnectionLost())
    other.reactor.advance(0)
    assert (leg.fault, other.lost) == ("", [True])


# The end


def test_close(tmp_path: Path, host: ssl.SSLContext) -> None:
    """consoled says the end of its stream as TLS does, and is no refusal's witness."""
    dial = Dial(tmp_path, host)
    dial.wire.sticky = True
    leg = dial.opened()
    leg.write(b"exit\n")
    gone = leg.close(dial.reactor)
    assert dial.peer.heard() == b"exit\n"
    assert dial.peer.tls.read(1) == b""
    assert not gone.called
    dial.reactor.advance(CLOSE_PATIENCE)
    assert gone.called
    assert leg.fault == ""
    assert dial.reactor.getDelayedCalls() == []


def test_close_that_is_answered(tmp_path: Path, host: ssl.SSLContext) -> None:
    """A host that answers with its own end has the socket closed at once."""
    dial = Dial(tmp_path, host)
    leg = dial.opened()
    gone = leg.close(dial.reactor)
    dial.peer.hear()
    dial.peer.tls.unwrap()
    dial.peer.deliver()
    dial.reactor.advance(0)
    assert gone.called
    assert dial.reactor.getDelayedCalls() == []


def test_a_guest_that_does_not_read(tmp_path: Path, host: ssl.SSLContext) -> None:
    """The transport beneath stops and resumes the writer's input as of a plain connection."""
    dial = Dial(tmp_path, host)
    dial.opened()
    producer: Any = dial.wire.producer
    producer.pauseProducing()
    assert dial.throttle.paused
    producer.resumeProducing()
    assert not dial.throttle.paused


# The transport and its files


def test_which_consoles(tmp_path: Path) -> None:
    """A console that speaks no TLS is dialled as before; without an authority none is with."""
    reactor = MemoryReactorClock()
    plain = TCPTransport(reactor, 5.0)
    transport = TLSTransport(plain, None, reactor, TIMEOUT)
    assert isinstance(transport.endpoint(INSTANCE, Console(0, "127.0.0.1", 1)), TCP4ClientEndpoint)
    with pytest.raises(BackendUnreachable, match="speaks TLS"):
        transport.endpoint(INSTANCE, Console(0, "127.0.0.1", 1, tls=True))


def test_reload(tmp_path: Path, host: ssl.SSLContext) -> None:
    """New files are taken for the next connection; bad ones leave the old in force."""
    files = Dial(tmp_path).files()
    credentials = Credentials(files)

    def trusts() -> bool:
        peer = credentials.peer("127.0.0.1")
        reactor = MemoryReactorClock()
        inner = TCP4ClientEndpoint(reactor, "127.0.0.1", 80)
        console = Console(0, "127.0.0.1", 80, tls=True)
        TLSEndpoint(inner, console, credentials, reactor, TIMEOUT).connect(LegFactory()).addErrback(
            lambda failure: failure.trap(BackendUnreachable)
        )
        assert peer.name == "127.0.0.1"
        return TLSServer(answer_late(reactor), reactor, host).handshake()

    assert trusts()
    files.ca.write_text("nonsense")
    with pytest.raises(ConfigError, match="chardev_tls_ca"):
        credentials.reload()
    assert trusts()
    files.ca.write_bytes(OTHER.pair.cert_pem)
    credentials.reload()
    assert not trusts()


SECRET = b"words"
BAD = {
    "no such file": ("key", None, "chardev_tls_key .* No such file"),
    "nonsense": ("key", b"nonsense", "chardev_tls_key .* no readable PEM"),
    "encrypted": ("key", OWN.encrypted_key_pem(SECRET), "chardev_tls_key .* encrypted"),
    "another key": ("key", LEAF.key_pem, "chardev_tls_cert .* cannot be used: "),
    "no certificate": ("crt", b"", "chardev_tls_cert .* no readable PEM"),
}


@pytest.mark.parametrize("what", BAD)
def test_files_that_cannot_be_used(tmp_path: Path, what: str) -> None:
    """The option and the file are named, and nothing that stands in it."""
    suffix, content, words = BAD[what]
    files = Dial(tmp_path).files()
    path = tmp_path / f"own.{suffix}"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        Credentials(files)
    assert "BEGIN" not in str(caught.value)
