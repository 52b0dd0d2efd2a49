"""The proxy as programs see it: real WebSocket clients against the real daemon."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from backends import Backend, backend, deaf, echo, flooding, saying, silent
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tools.lab.daemon import MEMBER_KEY, Daemon, static_daemon

EVERY_BYTE = bytes(range(256))
PATIENCE = 60.0
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


class World:
    """A daemon and one instance for each kind of backend."""

    def __init__(self, daemon: Daemon, backends: dict[str, Backend], ids: dict[str, str]) -> None:
        self.daemon = daemon
        self.backends = backends
        self.ids = ids

    def address(self, name: str, path: str = "/") -> str:
        """A WebSocket address with a fresh token for that instance."""
        url = self.daemon.console_url(self.ids[name], key=MEMBER_KEY)
        token = url.partition("token=")[2]
        return f"ws://127.0.0.1:{self.daemon.port}{path}?token={token}"

    def connect(self, name: str, *subprotocols: Any, **options: Any) -> ClientConnection:
        """A connected client."""
        return connect(
            options.pop("address", None) or self.address(name),
            subprotocols=subprotocols or None,
            compression=None,
            open_timeout=PATIENCE,
            **options,
        )


KINDS = {
    "echo": echo,
    "echo-2": echo,
    "silent": silent,
    "deaf": deaf,
    "flooding": flooding,
    "greeting": saying(b"login: "),
    "<b>web</b>": echo,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon over backends of every kind, one refusing and one stopped."""
    with ExitStack() as stack:
        backends = {name: stack.enter_context(backend(kind)) for name, kind in KINDS.items()}
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = closed.getsockname()[1]
        ports = {name: one.port for name, one in backends.items()} | {"refusing": refusing}
        ids = {name: str(uuid.uuid4()) for name in [*ports, "portless", "stopped"]}
        instances: list[dict[str, object]] = [
            {
                "uuid": ids[name],
                "name": name,
                "project_id": "demo",
                "host": "rack1",
                "serial": [f"127.0.0.1:{port}"],
            }
            for name, port in ports.items()
        ]
        folder = tmp_path_factory.mktemp("websocket")
        # Without linger: the output of one test is not shown to the next one.
        config = {"proxy": {"stall_timeout": 2, "linger": 0}}
        daemon = stack.enter_context(static_daemon(folder, instances, config))
        yield World(daemon, backends, ids)


def receive(client: ClientConnection, count: int) -> bytes:
    """That many bytes of binary frames."""
    received = b""
    while len(received) < count:
        message = client.recv(PATIENCE)
        assert isinstance(message, bytes)
        received += message
    return received


def close_of(client: ClientConnection) -> tuple[int, str]:
    """The code and reason with which the server closes; what comes before is dropped."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_every_byte_value(world: World) -> None:
    """A plain client with subprotocol binary gets all 256 byte values back (faults.md W4)."""
    with world.connect("echo", "binary") as client:
        assert client.subprotocol == "binary"
        client.send(EVERY_BYTE * 16)
        assert receive(client, 4096) == EVERY_BYTE * 16


def test_no_subprotocol(world: World) -> None:
    """A client that offers no subprotocol gets the wire in binary frames."""
    with world.connect("echo") as client:
        assert client.subprotocol is None
        client.send(EVERY_BYTE)
        assert receive(client, 256) == EVERY_BYTE


def test_text_input(world: World) -> None:
    """An old client that sends text frames is served."""
    with world.connect("echo", "binary") as client:
        client.send("läuft\r")
        assert receive(client, 7) == "läuft\r".encode()


def test_base64(world: World) -> None:
    """The subprotocol base64 carries every byte value in text."""
    with world.connect("echo", "base64") as client:
        client.send(base64.b64encode(EVERY_BYTE).decode())
        received = b""
        while len(received) < 256:
            message = client.recv(PATIENCE)
            assert isinstance(message, str)
            received += base64.b64decode(message)
        assert received == EVERY_BYTE


def test_hello(world: World) -> None:
    """consoled.v1 greets when the console is open, before any of its output."""
    name = "<b>web</b>"
    with world.connect(name, "consoled.v1", "binary") as client:
        assert client.subprotocol == "consoled.v1"
        hello = json.loads(client.recv(PATIENCE))
        assert hello["type"] == "hello"
        assert hello["instance"] == {"uuid": world.ids[name], "name": name}
        assert (hello["console"], hello["offset"]) == (0, 0)
    with world.connect("greeting", "consoled.v1") as client:
        assert json.loads(client.recv(PATIENCE))["type"] == "hello"
        assert client.recv(PATIENCE) == b"login: "


def test_credit(world: World) -> None:
    """A page that acknowledges nothing is sent no more than its credit, then closed (4414)."""
    with world.connect("flooding", "consoled.v1", max_size=None) as client:
        received = 0
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                received += len(client.recv(PATIENCE))
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4414
        assert 256 * 1024 < received < 512 * 1024


def test_acknowledging_page_is_served_on(world: World) -> None:
    """A page that acknowledges gets more than its credit, and its ^C stops the flood."""
    with world.connect("flooding", "consoled.v1", max_size=None) as client:
        assert json.loads(client.recv(PATIENCE))["type"] == "hello"
        received = 0
        while received < 2 * 1024 * 1024:
            received += len(client.recv(PATIENCE))
            client.send(json.dumps({"type": "ack", "bytes": received}))
        client.send(b"\x03")
        tail = b""
        while b"interrupted" not in tail:
            message = client.recv(PATIENCE)
            assert isinstance(message, bytes)
            received += len(message)
            tail = tail[-100:] + message
            client.send(json.dumps({"type": "ack", "bytes": received}))


def test_stalled_viewer_frees_the_console(world: World) -> None:
    """A viewer that reads nothing is closed after the stall limit; the next one is served."""
    with socket.create_connection(("127.0.0.1", world.daemon.port)) as stalled:
        seen = len(world.daemon.events())
        path = world.address("flooding").partition(str(world.daemon.port))[2]
        stalled.sendall(HANDSHAKE % path.encode())
        opened = _wait_for_event(
            world.daemon, "session_opened", since=seen, instance_uuid=world.ids["flooding"]
        )
        _wait_for_event(world.daemon, "viewer_stalled", session_id=opened["session_id"])
    with world.connect("flooding", "binary", max_size=None) as client:
        assert client.recv(PATIENCE)


def test_deaf_guest(world: World) -> None:
    """Input that the guest does not read stops the client's sending, not the daemon."""
    with world.connect("deaf", "binary") as client:
        client.socket.settimeout(1)
        chunk = bytes(32 * 1024)
        with pytest.raises((TimeoutError, ConnectionClosed)):
            for _ in range(4096):
                client.send(chunk)
        with world.connect("echo", "binary") as other:
            other.send(b"x")
            assert receive(other, 1) == b"x"
        client.socket.close()


def test_second_client_is_refused(world: World) -> None:
    """One writer per console: the second gets 4409, and no byte of either reaches the other."""
    with world.connect("echo-2", "binary") as first:
        with world.connect("echo-2", "binary") as second:
            code, reason = close_of(second)
            assert code == 4409
            assert "another window" in reason
        first.send(b"mine")
        assert receive(first, 4) == b"mine"
    _wait_for_event(world.daemon, "session_ended", instance_uuid=world.ids["echo-2"], bytes_in=4)
    with world.connect("echo-2", "binary") as third:
        third.send(b"next")
        assert receive(third, 4) == b"next"


def test_refused_port(world: World) -> None:
    """A console whose port refuses is told in words."""
    with world.connect("refusing") as client:
        assert close_of(client) == (
            1011,
            "The serial port 0 of refusing refused the connection.",
        )


def test_backend_hangs_up(world: World) -> None:
    """A console that closes its port ends the session with 1000."""
    echoing = world.backends["echo"]
    while not echoing.accepted.empty():
        echoing.accepted.get()
    with world.connect("echo", "binary") as client:
        client.send(b"x")
        assert receive(client, 1) == b"x"
        echoing.accepted.get().shutdown(socket.SHUT_RDWR)
        assert close_of(client)[0] == 1000


@pytest.mark.parametrize("path", ["/", "/websockify", "/serial.html"])
def test_paths(world: World, path: str) -> None:
    """nova's path, websockify's and the page's own all take WebSockets."""
    with world.connect("echo", "binary", address=world.address("echo", path)) as client:
        client.send(b"x")
        assert receive(client, 1) == b"x"


def test_token_in_a_cookie(world: World) -> None:
    """The token may come in the cookie that nova's pages set."""
    address, _, token = world.address("echo").partition("?token=")
    headers = {"Cookie": f"token={token}"}
    with world.connect("echo", address=address, additional_headers=headers) as client:
        client.send(b"x")
        assert receive(client, 1) == b"x"


@pytest.mark.parametrize("query", ["", "?token=", "?token=nonsense", "?token=" + "x" * 5000])
def test_bad_tokens(world: World, query: str) -> None:
    """A missing, wrong or huge token completes the handshake, then 4401 with a reason."""
    address = f"ws://127.0.0.1:{world.daemon.port}/{query}"
    with world.connect("", address=address) as client:
        code, reason = close_of(client)
    assert code == 4401
    assert reason


def test_unknown_subprotocols(world: World) -> None:
    """A client that speaks nothing we do gets 400 in the handshake."""
    with pytest.raises(InvalidStatus) as caught:
        world.connect("echo", "chat")
    assert caught.value.response.status_code == 400


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x02hi", 1002),
        (b"\xc2\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126), 1002),
        (b"\x82\xff\x40\0\0\0\0\0\0\0\0\0\0\0", 1009),
        (b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", 1009),
    ],
)
def test_protocol_violations(world: World, data: bytes, code: int) -> None:
    """Unmasked, reserved, unknown and oversized frames end with their code (faults.md W1, W3)."""
    with world.connect("echo", "binary") as client:
        client.socket.sendall(data)
        assert close_of(client)[0] == code


def test_fragments_over_the_limit(world: World) -> None:
    """Fragments are counted together: over the limit is 1009 (faults.md W2)."""
    with world.connect("echo", "binary") as client:
        fragment = b"\x00\xfe\x40\x00\0\0\0\0" + bytes(0x4000)
        client.socket.sendall(b"\x02\xfe\x40\x00\0\0\0\0" + bytes(0x4000) + 4 * fragment)
        assert close_of(client)[0] == 1009


def test_audit_line(world: World) -> None:
    """Who, what, from where, how long and how much; the request's id joins the lines."""
    with world.connect("silent", "binary") as client:
        client.send(b"12345")
        opened = _wait_for_event(world.daemon, "session_opened", instance_uuid=world.ids["silent"])
    ended = _wait_for_event(world.daemon, "session_ended", session_id=opened["session_id"])
    assert ended["user_id"] == "max"
    assert ended["src"] == "127.0.0.1"
    assert ended["request_id"] == opened["request_id"]
    assert ended["request_id"].startswith("req-")


def _wait_for_event(daemon: Daemon, event: str, **fields: Any) -> dict[str, Any]:
    return daemon.wait_for_event(event, timeout=PATIENCE, **fields)
