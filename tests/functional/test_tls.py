"""TLS on the proxy port and on the API's (faults.md H10), by the clients' own libraries."""

from __future__ import annotations

import socket
import ssl
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen
from backends import backend, echo
from raw_http import exchange, request
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tools.lab.certificates import Pair, make_pair
from tools.lab.daemon import Daemon, static_daemon

PATIENCE = 60.0
EVERY_BYTE = bytes(range(256)) * 200
OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
DASHBOARD = "https://dash.test"


@frozen
class World:
    """A daemon with TLS and its certificate."""

    daemon: Daemon
    pair: Pair
    instance: str

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client that trusts this certificate only.

        :param version: the only version that it offers.
        """
        context = ssl.create_default_context(cadata=self.pair.cert_pem.decode())
        if version is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
            # The client's OpenSSL offers old versions at its lowest security level only.
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context

    def token(self) -> str:
        """A fresh token."""
        return self.daemon.console_url(self.instance).partition("token=")[2]


def instance(port: int) -> dict[str, object]:
    """An instance with a console at that port."""
    return {
        "uuid": str(uuid.uuid4()),
        "name": "web-1",
        "project_id": "demo",
        "host": "rack1",
        "serial": [f"127.0.0.1:{port}"],
    }


def serving(folder: Path, ssl_only: bool) -> Iterator[World]:
    """A daemon with TLS on its proxy port."""
    pair = make_pair()
    cert, key = pair.write(folder)
    with ExitStack() as stack:
        described = instance(stack.enter_context(backend(echo)).port)
        config = {
            "serial_console": {
                "cert": cert,
                "key": key,
                "ssl_only": ssl_only,
                "base_url": "https://localhost/serial.html",
            },
            "console": {
                "frame_ancestors": DASHBOARD,
                "ssl_minimum_version": "tlsv1_2" if ssl_only else "default",
            },
        }
        daemon = stack.enter_context(static_daemon(folder, [described], config))
        yield World(daemon, pair, str(described["uuid"]))


@pytest.fixture(scope="module")
def either(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon whose port takes TLS and plain."""
    yield from serving(tmp_path_factory.mktemp("either"), ssl_only=False)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon whose port takes TLS only."""
    yield from serving(tmp_path_factory.mktemp("strict"), ssl_only=True)


@pytest.fixture(params=["either", "strict"])
def world(request: pytest.FixtureRequest) -> World:
    """Each of the two."""
    found: World = request.getfixturevalue(request.param)
    return found


def talk(world: World, scheme: str, context: ssl.SSLContext | None) -> bytes:
    """What comes back from the console through a WebSocket."""
    with connect(
        f"{scheme}://localhost:{world.daemon.port}/?token={world.token()}",
        ssl=context,
        origin="https://localhost",
        compression=None,
        max_size=None,
        open_timeout=PATIENCE,
        subprotocols=[Subprotocol("consoled.v1")],
    ) as client:
        assert isinstance(client.recv(PATIENCE), str)
        client.send(EVERY_BYTE)
        received = b""
        while len(received) < len(EVERY_BYTE):
            message = client.recv(PATIENCE)
            assert isinstance(message, bytes)
            received += message
    return received


def test_page_and_socket(world: World) -> None:
    """Page and WebSocket come over TLS, the certificate is the operator's."""
    page = exchange(
        world.daemon.port, request("/serial.html", "localhost"), context=world.context()
    )
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert len(page.body) == int(page.headers["Content-Length"])
    assert talk(world, "wss", world.context()) == EVERY_BYTE


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.name)
def test_h10_old_versions(world: World, version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 are refused by an alert that says so."""
    with socket.create_connection(("127.0.0.1", world.daemon.port), PATIENCE) as sock:
        context = world.context(version)
        with pytest.raises(ssl.SSLError) as caught:
            context.wrap_socket(sock, server_hostname="localhost")
    assert "PROTOCOL_VERSION" in str(caught.value)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_versions(world: World, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are spoken."""
    with (
        socket.create_connection(("127.0.0.1", world.daemon.port), PATIENCE) as sock,
        world.context(version).wrap_socket(sock, server_hostname="localhost") as secure,
    ):
        assert secure.version() == version.name.replace("_", ".")


def test_plain_beside_tls(either: World) -> None:
    """Where ssl_only is off, the same port takes plain connections, page and WebSocket."""
    page = exchange(either.daemon.port, request("/serial.html", "localhost"))
    assert page.status == 200
    assert talk(either, "ws", None) == EVERY_BYTE


def test_h10_plain_under_ssl_only(strict: World) -> None:
    """Under ssl_only a plain request, and a plain WebSocket, are refused with a sentence."""
    page = exchange(strict.daemon.port, request("/serial.html", "localhost"))
    assert page.status == 400
    assert b"https://" in page.body
    with pytest.raises((InvalidStatus, InvalidMessage)) as caught:
        talk(strict, "ws", None)
    assert isinstance(caught.value, InvalidStatus)
    assert caught.value.response.status_code == 400


def test_plain_origin_of_a_tls_console(either: World) -> None:
    """A page fetched without TLS may not open the console of an https URL."""
    with pytest.raises(InvalidStatus) as caught:
        connect(
            f"ws://localhost:{either.daemon.port}/?token={either.token()}",
            origin="http://localhost",
            open_timeout=PATIENCE,
        )
    assert caught.value.response.status_code == 403
    assert b"protocol" in (caught.value.response.body or b"")


def test_h9_frame_ancestors(world: World) -> None:
    """The configured dashboard, and nobody else, may frame the page."""
    for target in ("/serial.html", "/nothing"):
        answer = exchange(world.daemon.port, request(target, "localhost"), context=world.context())
        assert answer.headers["Content-Security-Policy"].endswith(f"frame-ancestors {DASHBOARD}")
        assert "X-Frame-Options" not in answer.headers


def test_refusals_within_tls(world: World) -> None:
    """Malformed requests are refused within TLS as they are without, and the daemon lives."""
    for sent in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 100_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"4000\r\n%s\r\n" % (b"x" * 0x4000) * 10,
    ):
        answer = exchange(world.daemon.port, sent, context=world.context())
        assert answer.status in (400, 413, 431)
    for garbage in (
        b"\x16",
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
        b"\x16\x03\x01\x00\x01\x00",
    ):
        with socket.create_connection(("127.0.0.1", world.daemon.port), PATIENCE) as sock:
            sock.sendall(garbage)
    assert talk(world, "wss", world.context()) == EVERY_BYTE
    assert not [event for event in world.daemon.events() if "traceback" in event]


def test_api_with_tls(tmp_path: Path) -> None:
    """With a certificate the API speaks TLS, and only that."""
    pair = make_pair()
    cert, key = pair.write(tmp_path)
    config = {"api": {"cert": cert, "key": key}}
    with static_daemon(tmp_path, [instance(1)], config) as daemon:
        context = ssl.create_default_context(cadata=pair.cert_pem.decode())
        sent = request("/v1/servers", "localhost")
        secure = exchange(daemon.api_port, sent, context=context)
        assert secure.status == 401
        assert secure.headers["Content-Type"] == "application/json"
        plain = exchange(daemon.api_port, sent)
        assert plain.status == 400
        assert b"https://" in plain.body
