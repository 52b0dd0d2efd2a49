"""Names of other libraries that are theirs, and that we build on all the same.

An upgrade that renames one must fail here, not in a user's session.
"""

from __future__ import annotations

import inspect
from typing import Any

import autobahn.websocket.protocol
import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.abstract import FileDescriptor
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.web.http import HTTPChannel
from wires import Wire

from consoled.http.channel import BoundedChannel
from consoled.proxy.websocket import (
    MESSAGE_LIMIT,
    OF_THE_HANDSHAKE,
    ConsoleSocket,
    ConsoleSocketFactory,
    Handshake,
    PingRules,
)


class Nobody:
    """A session that nothing happens to."""


def open_socket() -> tuple[ConsoleSocket, Wire]:
    """An open WebSocket."""
    session: Any = Nobody()
    sockets = ConsoleSocketFactory(MemoryReactorClock(), PingRules(0, 0))
    socket, wire = sockets.socket(lambda _: session, None), Wire()
    wire.protocol = socket
    socket.makeConnection(wire)
    socket.dataReceived(Handshake(b"MDEyMzQ1Njc4OWFiY2RlZg==").as_request())
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


def test_an_open_socket_has_forgotten_its_handshake() -> None:
    """What is taken off an open socket is there before, and autobahn does without it after."""
    source = inspect.getsource(autobahn.websocket.protocol)
    socket, wire = open_socket()
    for name in (*OF_THE_HANDSHAKE, "send_queue"):
        assert f"self.{name}" in source
    assert not set(OF_THE_HANDSHAKE) & vars(socket).keys()
    socket.dataReceived(b"\x89\x80abcd")
    assert wire.written == b"\x8a\x00"


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
    assert "self.doIteration(t)" in inspect.getsource(ReactorBase.mainLoop)


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
