"""The own path over TLS: the same bytes as autobahn's in the clear, whatever comes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_relay import FRAMES, Session, client_frame, open_socket, swallow, wire_bytes
from tls_client import TLSClient, client_context
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from wires import Wire

from consoled.http.sending import PromptTLS
from consoled.http.tls import SwappableContext, TLSSettings
from consoled.proxy.websocket import ConsoleSocket, ConsoleSocketFactory, Handshake, PingRules
from tools.lab.certificates import make_pair


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SwappableContext:
    """The server's side of TLS."""
    return SwappableContext(TLSSettings(*make_pair().write(tmp_path_factory.mktemp("tls"))))


def open_secure(
    session: Session, context: SwappableContext
) -> tuple[ConsoleSocket, Wire, TLSClient]:
    """An open WebSocket of that session over TLS, its wire, and its client."""
    reactor = MemoryReactorClock()
    sockets = ConsoleSocketFactory(reactor, PingRules(0, 0))
    made: list[ConsoleSocket] = []

    class Sockets(Factory[Any]):
        """Makes the one socket."""

        noisy = False

        def buildProtocol(self, addr: object) -> ConsoleSocket:
            """That one."""
            inputs: Any = session
            made.append(sockets.socket(lambda _: inputs, "consoled.v1"))
            return made[0]

    secure = TLSMemoryBIOFactory(context, False, Sockets(), clock=reactor)
    secure.protocol = PromptTLS
    wire = Wire()
    wire.protocol = secure.buildProtocol(None)
    wire.protocol.makeConnection(wire)
    client = TLSClient(wire, reactor, client_context())
    assert client.handshake()
    [socket] = made
    socket.accept(Handshake(b"MDEyMzQ1Njc4OWFiY2RlZg==", "consoled.v1"))
    assert client.said().startswith(b"HTTP/1.1 101 ")
    socket.go_straight(session.typed)
    return socket, wire, client


@settings(deadline=None)
@given(
    frames=FRAMES,
    output=st.lists(st.binary(max_size=20_000), max_size=4),
    records=st.lists(st.integers(0, 4000), max_size=8),
    cuts=st.lists(st.integers(0, 6000), max_size=20),
    boundaries=st.booleans(),
)
def test_both_paths_move_the_same_bytes(  # one for each thing that varies
    context: SwappableContext,
    frames: list[tuple[str, Any]],
    output: list[bytes],
    records: list[int],
    cuts: list[int],
    boundaries: bool,
) -> None:
    """Over random frames, TLS records and segments, both ways (issue: the relay, over TLS too)."""
    sent, meant = wire_bytes(frames)
    places = {place for place in records if place < len(sent)}
    if boundaries:
        # Records that are frames are what the own path is for.
        places |= {len(wire_bytes(frames[:count])[0]) for count in range(len(frames))}
    own, plain = Session(), Session()
    secure, wire, client = open_secure(own, context)
    clear, clear_wire = open_socket(plain)
    chunks = [sent[start:end] for start, end in pairwise(sorted({0, len(sent), *places}))]
    stream = b"".join(client.encrypt(chunk) for chunk in chunks if chunk)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(edges):
        wire.protocol.dataReceived(stream[start:end])
    swallow(secure)
    clear._dataReceived(sent)
    for data in output:
        secure.send(data)
        clear.sendMessage(data, isBinary=True)
    assert own.input == plain.input == meant
    assert client.said() == clear_wire.written
    assert not own.over


def test_a_keystroke_goes_at_once(context: SwappableContext) -> None:
    """What is sent over TLS is on the wire when the call is over, not a turn of the loop later."""
    socket, _, client = open_secure(Session(), context)
    socket.send(b"a")
    assert client.said() == b"\x82\x01a"


def test_a_record_with_a_frame_takes_the_own_path(context: SwappableContext) -> None:
    """One TLS record with one ordinary frame never comes to autobahn."""
    session = Session()
    socket, wire, client = open_secure(session, context)
    socket._dataReceived = pytest.fail  # type: ignore[method-assign,assignment]  # not called
    wire.protocol.dataReceived(client.encrypt(client_frame(b"a")))
    assert session.input == b"a"
