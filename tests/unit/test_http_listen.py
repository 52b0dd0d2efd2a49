"""One port for TLS and plain; bound sockets and their errors."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tls_client import TLSClient, client_context
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from wires import Wire

from consoled.errors import ConfigError
from consoled.http.channel import REQUEST_DEADLINE, BoundedChannel, BoundedSite
from consoled.http.listen import (
    BACKLOG,
    FIRST_BYTE_DEADLINE,
    UNTAKEN_DEADLINE,
    EitherFactory,
    bind,
    peer_address,
    serve,
)
from consoled.http.tls import SwappableContext, TLSSettings
from tools.lab.certificates import make_pair

GOOD = b"GET / HTTP/1.1\r\nHost: console.test\r\n\r\n"


class Hello(Resource):
    """Says whether it is reached by TLS."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answers."""
        return b"secure" if request.isSecure() else b"plain"


class Server:
    """A port for TLS and plain, in memory."""

    def __init__(self, folder: Path, ssl_only: bool = False) -> None:
        self.reactor = MemoryReactorClock()
        self.site = BoundedSite(Hello(), self.reactor)
        context = SwappableContext(TLSSettings(*make_pair().write(folder)))
        self.factory = EitherFactory(self.site, context, ssl_only, self.reactor)

    def connect(self) -> Wire:
        """A new connection; its transport's protocol changes with the first byte."""
        wire = Wire()
        wire.protocol = self.factory.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        return wire


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A port for TLS and plain."""
    return Server(tmp_path)


def test_plain_first_byte(server: Server) -> None:
    """A plain request is served by the site itself from then on."""
    wire = server.connect()
    wire.protocol.dataReceived(GOOD[:1])
    assert type(wire.protocol) is BoundedChannel
    wire.protocol.dataReceived(GOOD[1:])
    assert wire.written.endswith(b"plain")


@pytest.mark.parametrize("first", [b"\r\n", b"A", b"\x15", b"\x17", b"\x80"])
def test_other_first_bytes_are_plain(server: Server, first: bytes) -> None:
    """Everything but a TLS handshake is for the HTTP channel to judge."""
    wire = server.connect()
    wire.protocol.dataReceived(first)
    assert type(wire.protocol) is BoundedChannel


def test_tls_first_byte(server: Server) -> None:
    """A TLS handshake is answered, and the request in it is secure."""
    client = TLSClient(server.connect(), server.reactor, client_context())
    assert client.handshake()
    assert client.ask(GOOD).endswith(b"secure")


def test_plain_under_ssl_only(tmp_path: Path) -> None:
    """Where only TLS is wanted, a plain client is told so and closed (faults.md H10)."""
    server = Server(tmp_path, ssl_only=True)
    wire = server.connect()
    wire.protocol.dataReceived(GOOD)
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"https://" in body
    assert wire.disconnecting
    assert not server.reactor.getDelayedCalls()
    client = TLSClient(server.connect(), server.reactor, client_context())
    assert client.handshake()
    assert client.ask(GOOD).endswith(b"secure")


def test_no_first_byte(server: Server) -> None:
    """A peer that says nothing is gone after the deadline."""
    wire = server.connect()
    server.reactor.advance(FIRST_BYTE_DEADLINE - 0.01)
    assert wire.connected
    server.reactor.advance(0.01)
    assert not wire.connected
    assert not server.reactor.getDelayedCalls()


def test_stalled_handshake(server: Server) -> None:
    """A TLS handshake that does not go on ends at the request's deadline."""
    wire = server.connect()
    wire.protocol.dataReceived(b"\x16\x03\x01\x02\x00")
    for _ in range(9):
        server.reactor.advance(1)
        wire.protocol.dataReceived(b"\x01")
    assert wire.connected
    server.reactor.advance(REQUEST_DEADLINE - 9)
    assert not wire.connected


def test_gone_before_the_first_byte(server: Server) -> None:
    """A peer that goes away leaves no timer."""
    wire = server.connect()
    wire.drop()
    assert not server.reactor.getDelayedCalls()


@pytest.mark.parametrize("sent", [b"\x16\x03\x01", b"G", GOOD], ids=["TLS", "plain", "request"])
def test_gone_after_the_first_byte(server: Server, sent: bytes) -> None:
    """Nor does one that goes later."""
    wire = server.connect()
    wire.protocol.dataReceived(sent)
    wire.drop()
    server.reactor.advance(0)
    assert not server.reactor.getDelayedCalls()


@pytest.mark.parametrize("seed", range(4))
def test_garbage_handshake(server: Server, seed: int) -> None:
    """What only begins like TLS is closed without an exception."""
    wire = server.connect()
    wire.protocol.dataReceived(b"\x16" + bytes([seed]) * 5000)
    server.reactor.advance(0)
    assert not wire.connected or wire.disconnecting


def test_refusal_within_tls(server: Server) -> None:
    """A refusal reaches a client inside TLS, and its connection ends."""
    wire = server.connect()
    client = TLSClient(wire, server.reactor, client_context())
    assert client.handshake()
    assert client.ask(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    server.reactor.advance(1)
    assert not wire.connected


def test_protocol_by_alpn(server: Server) -> None:
    """HTTP/1.1 is agreed on where HTTP/2 is offered too."""
    context = client_context(protocols=("h2", "http/1.1"))
    client = TLSClient(server.connect(), server.reactor, context)
    assert client.handshake()
    assert client.tls.selected_alpn_protocol() == "http/1.1"


def test_site_starts_and_stops_with_the_port(server: Server) -> None:
    """The site behind the port is started and stopped with it."""
    server.factory.doStart()
    assert server.site.numPorts == 1
    server.factory.doStop()
    assert server.site.numPorts == 0


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A socket that listens on IPv4 loopback."""
    with bind("127.0.0.1", 0) as sock:
        yield sock


def test_bound_socket(bound: socket.socket) -> None:
    """It listens, does not block, and drops peers that take nothing, as its children do."""
    assert not bound.getblocking()
    assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    with socket.create_connection(bound.getsockname()):
        bound.setblocking(True)
        child, _ = bound.accept()
        with child:
            timeout = child.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout == UNTAKEN_DEADLINE * 1000
    assert BACKLOG == 4096


def test_busy_port(bound: socket.socket) -> None:
    """A port that is taken is one line that names it."""
    port = bound.getsockname()[1]
    with pytest.raises(ConfigError) as caught:
        bind("127.0.0.1", port)
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize(
    ("address", "place"), [("192.0.2.1", "192.0.2.1:0"), ("2001:db8::1", "[2001:db8::1]:0")]
)
def test_foreign_address(address: str, place: str) -> None:
    """An address of another machine is one line that names it."""
    with pytest.raises(ConfigError, match=re.escape(f"cannot listen on {place}: Cannot assign")):
        bind(address, 0)


def test_family_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 is one line, too."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr("socket.socket", refuse)
    with pytest.raises(ConfigError, match=re.escape("cannot listen on [::]:6083: Address family")):
        bind("::", 6083)


def test_both_families_on_one_port() -> None:
    """``::`` takes IPv4 clients too, whose addresses are shown as IPv4."""
    with bind("::", 0) as sock:
        sock.setblocking(True)
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            child, peer = sock.accept()
            child.close()
        assert peer[0] == "::ffff:127.0.0.1"
        assert peer_address(peer[0]) == "127.0.0.1"


def test_ipv6_only() -> None:
    """source_is_ipv6: IPv6 clients come in, IPv4 ones do not."""
    with bind("::", 0, v6_only=True) as sock:
        port = sock.getsockname()[1]
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            # Somebody else's port of the same number.
            pass
        with pytest.raises(BlockingIOError):
            sock.accept()
        sock.setblocking(True)
        with socket.create_connection(("::1", port)):
            child, peer = sock.accept()
            child.close()
        assert peer[0] == "::1"


def test_serve_adopts_the_socket(bound: socket.socket) -> None:
    """The reactor gets the socket's descriptor; ours is closed after that."""
    reactor = MemoryReactorClock()
    factory = Factory()
    number = bound.fileno()
    port = serve(reactor, bound, factory)
    assert reactor.adoptedPorts == [(number, socket.AF_INET, factory)]
    assert port is not None
    assert bound.fileno() == -1


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::1"),
        ("", ""),
        ("/run/socket", "/run/socket"),
    ],
)
def test_peer_address(host: str, shown: str) -> None:
    """Peers are named in one form, so that trust lists and logs agree."""
    assert peer_address(host) == shown


@given(st.ip_addresses(v=4))
def test_mapped_peers(address: Any) -> None:
    """Every mapped IPv4 address is shown as itself."""
    assert peer_address(f"::ffff:{address}") == str(address)
