"""Names of other libraries that are theirs, and that we build on all the same.

An upgrade that renames one must fail here, not in a user's session.
"""

from __future__ import annotations

import inspect

import autobahn.websocket.protocol
import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.web.http import HTTPChannel

from consoled.http.channel import BoundedChannel
from consoled.proxy.websocket import ConsoleSocket


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
