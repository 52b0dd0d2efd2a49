"""Names of other libraries that are theirs, and that we build on all the same.

An upgrade that renames one must fail here, not in a user's session.
"""

from __future__ import annotations

import inspect
from typing import Any

import autobahn.websocket.protocol
import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.abstract import FileDescriptor
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.web.http import HTTPChannel
from wires import Wire

from consoled import __version__
from consoled.http.channel import BoundedChannel
from consoled.proxy.websocket import (
    MESSAGE_LIMIT,
    ConsoleSocket,
    ConsoleSocketFactory,
    Handshake,
    PingRules,
)

HANDSHAKE = Handshake(b"dGhlIHNhbXBsZSBub25jZQ==")


class Nobody:
    """A session that nothing happens to."""


def open_socket() -> tuple[ConsoleSocket, Wire]:
    """An open WebSocket."""
    session: Any = Nobody()
    sockets = ConsoleSocketFactory(MemoryReactorClock(), PingRules(0, 0))
    socket, wire = sockets.socket(lambda _: session, None), Wire()
    wire.protocol = socket
    socket.makeConnection(wire)
    socket.accept(HANDSHAKE)
    wire.clear()
    return socket, wire


def test_autobahn_fails_through_the_hook() -> None:
    """Every kind of violation goes through the hook that ConsoleSocket overrides."""
    parent = autobahn.websocket.protocol.WebSocketProtocol
    for name in ("_protocol_violation", "_invalid_payload", "_max_message_size_exceeded"):
        assert "self._fail_connection(" in inspect.getsource(getattr(parent, name))
    wanted = inspect.signature(parent._fail_connection).parameters
    assert list(inspect.signature(ConsoleSocket._fail_connection).parameters) == list(wanted)


def test_autobahn_adapter_adds_nothing_to_data() -> None:
    """The adapter's dataReceived only logs and passes on, as ConsoleSocket's does."""
    source = inspect.getsource(WebSocketServerProtocol.dataReceived)
    assert "self._dataReceived(data)" in source


def test_autobahn_formats_its_options() -> None:
    """The debug line of each connection is formatted by the name that is replaced."""
    source = inspect.getsource(WebSocketServerProtocol._connectionMade)
    parent = inspect.getsource(autobahn.websocket.protocol.WebSocketProtocol._connectionMade)
    assert "pformat(" in source + parent


def test_autobahn_copies_options_that_a_class_lacks() -> None:
    """Options that are there already, if only on the class, are not copied into a connection."""
    parent = autobahn.websocket.protocol.WebSocketProtocol
    assert "if not hasattr(self, configAttr)" in inspect.getsource(parent._connectionMade)
    socket, _ = open_socket()
    options = {name for name in ConsoleSocket.CONFIG_ATTRS if not callable(getattr(socket, name))}
    assert len(options) > 20
    assert not options & vars(socket).keys()
    assert socket.maxMessagePayloadSize == MESSAGE_LIMIT


def test_a_handshake_is_accepted_as_autobahn_does() -> None:
    """The same answer, and afterwards the same state, but for what is taken off on purpose."""
    theirs, their_wire = WebSocketServerProtocol(), Wire()
    theirs.factory = WebSocketServerFactory(reactor=MemoryReactorClock())
    theirs.factory.setProtocolOptions(autoPingInterval=5, openHandshakeTimeout=0)
    theirs.factory.server = f"consoled/{__version__}"
    theirs.makeConnection(their_wire)
    theirs.dataReceived(
        b"GET / HTTP/1.1\r\nHost: consoled\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + HANDSHAKE.key + b"\r\n\r\n"
    )
    session: Any = Nobody()
    sockets = ConsoleSocketFactory(MemoryReactorClock(), PingRules(5, 5))
    ours, our_wire = sockets.socket(lambda _: session, None), Wire()
    ours.makeConnection(our_wire)
    ours.accept(HANDSHAKE)

    assert our_wire.written == their_wire.written
    names = ("state", "inside_message", "current_frame", "data", "websocket_version", "closedByMe")
    assert {n: getattr(ours, n) for n in names} == {n: getattr(theirs, n) for n in names}
    assert ours.autoPingPendingCall is not None
    of_the_class = {"websocket_version", *WebSocketServerProtocol.CONFIG_ATTRS}
    unread = vars(theirs).keys() - vars(ours).keys() - of_the_class
    assert unread == {
        *("http_headers", "http_request_data", "http_request_host", "http_request_params"),
        *("http_request_path", "http_request_uri", "http_response_data", "http_status_line"),
        *("is_open", "peer", "websocket_extensions", "websocket_extensions_in_use"),
        *("_wskey", "websocket_origin", "websocket_protocol_in_use", "websocket_protocols"),
    }


def test_an_open_socket_does_without_what_it_lacks() -> None:
    """autobahn answers a ping and a close of a socket that we have accepted."""
    source = inspect.getsource(autobahn.websocket.protocol)
    for name in ("send_queue", "is_open", "trafficStats"):
        assert f"self.{name}" in source
    socket, wire = open_socket()
    socket.dataReceived(b"\x89\x80abcd")
    assert wire.written == b"\x8a\x00"
    wire.clear()
    socket.onClose = lambda *_: None  # type: ignore[method-assign]  # nobody is in session
    socket.dataReceived(b"\x88\x82abcd" + bytes((0x03 ^ 0x61, 0xE8 ^ 0x62)))
    assert wire.written == b"\x88\x02\x03\xe8"


def test_twisted_buffers_of_a_connection() -> None:
    """Where bytes wait, by which write_now knows whether it may send at once."""
    source = inspect.getsource(FileDescriptor)
    for name in ("dataBuffer", "_tempDataBuffer", "producerPaused", "streamingProducer"):
        assert f"self.{name}" in source
    assert Connection.TLS is False


def test_twisted_epoll_reactor() -> None:
    """The lean turn does what doPoll does, with the same names."""
    source = inspect.getsource(EPollReactor.doPoll)
    for name in ("self._poller.poll(timeout, len(self._selectables))", "self._doReadOrWrite"):
        assert name in source
    loop = inspect.getsource(ReactorBase.mainLoop)
    for line in ("self.runUntilCurrent()", "self.timeout()", "self.doIteration(t)"):
        assert line in loop
    assert "while self._started" in loop
    # What makes Twisted's loop look: a call, a new timer, the end.
    source = inspect.getsource(ReactorBase)
    for name in ("threadCallQueue", "_newTimedCalls", "_pendingTimedCalls", "_justStopped"):
        assert f"self.{name}" in source


@pytest.mark.parametrize(
    "name", ["_respondToBadRequestAndDisconnect", "lineReceived", "allContentReceived"]
)
def test_twisted_hooks(name: str) -> None:
    """BoundedChannel overrides what is there."""
    assert callable(getattr(HTTPChannel, name))
    assert getattr(BoundedChannel, name) is not getattr(HTTPChannel, name)


def test_twisted_buffers_pipelined_data() -> None:
    """Data behind a request that is being answered waits where the upgrade looks for it."""
    channel = HTTPChannel()
    assert channel._dataBuffer == []
    assert "self._dataBuffer.append(data)" in inspect.getsource(HTTPChannel.rawDataReceived)
