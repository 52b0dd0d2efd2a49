"""Two replicas behind HAProxy without stickiness: any replica serves any viewer."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from backends import Backend, backend, echo
from databases import REPLICATED, new_database
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from consoled.db import schema
from consoled.db.engine import make_engine
from tools.lab.certificates import make_pair
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, static_daemon
from tools.lab.haproxy import HAProxy

WEB_1 = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PATIENCE = 60.0
PAGE = Subprotocol("consoled.v1")


class Cell(NamedTuple):
    """Two replicas, one guest, and what is in front of them."""

    first: Daemon
    second: Daemon
    guest: Backend
    front: HAProxy

    def url(self, key: str = MEMBER_KEY) -> str:
        """A console's URL at the balancer, with a fresh token."""
        token = self.first.console_url(WEB_1, 0, key).partition("?")[2]
        return f"ws://127.0.0.1:{self.front.ports['consoles']}/serial.html?{token}"


@pytest.fixture(params=REPLICATED)
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A cell database with its schema, on each server that cells with replicas run on."""
    url = new_database(request.session, request.param, tmp_path)
    engine = make_engine(url, timeout=None)
    schema.upgrade(engine)
    engine.dispose()
    return url


@contextmanager
def cell(folder: Path, connection: str, config: dict[str, Any] | None = None) -> Iterator[Cell]:
    """A running cell over that database."""
    for name in ("a", "b", "front"):
        (folder / name).mkdir()
    with backend(echo) as guest:
        instance = {
            "uuid": WEB_1,
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{guest.port}"],
        }
        common = {"database": {"connection": connection}, **(config or {})}
        with (
            static_daemon(folder / "a", [instance], common) as first,
            static_daemon(folder / "b", [instance], common) as second,
            HAProxy(folder / "front", {"consoles": [first.port, second.port]}) as front,
        ):
            yield Cell(first, second, guest, front)


@contextmanager
def viewer(url: str, **query: str | int) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    """A page's WebSocket that has been greeted, and the greeting."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    with connect(url + more, compression=None, subprotocols=[PAGE]) as client:
        yield client, json.loads(client.recv(PATIENCE))


def says(client: ClientConnection, text: bytes) -> None:
    """Types something and waits until the guest has echoed it."""
    client.send(text)
    expects(client, text)


def expects(client: ClientConnection, text: bytes) -> None:
    """Exactly these bytes of output come next."""
    got = b""
    while len(got) < len(text):
        piece = client.recv(PATIENCE)
        assert isinstance(piece, bytes)
        got += piece
    assert got == text


def close_of(client: ClientConnection) -> tuple[int, str]:
    """The code and reason with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def relayed(one_cell: Cell) -> int:
    """How many viewers were taken to the other replica so far."""
    events = one_cell.first.events() + one_cell.second.events()
    return sum(event["event"] == "viewer_relayed" for event in events)


def test_attach_resume_and_disconnect(tmp_path: Path, connection: str) -> None:
    """Whichever replica HAProxy picks: a console is found, resumed without a gap, and ended."""
    with cell(tmp_path, connection) as one_cell:
        url = one_cell.url()
        with viewer(url) as (client, hello):
            says(client, b"first ")
            for number in range(4):  # in turn, so that both replicas are asked
                with viewer(url) as (late, told):
                    assert told["type"] == "busy"
                    assert told["takeover"]
                    assert close_of(late)[0] == 4409
                says(client, b"%d " % number)
            assert relayed(one_cell) >= 2
            client.socket.shutdown(socket.SHUT_RDWR)
        seen = hello["offset"] + len(b"first 0 1 2 3 ")
        for number in range(4):
            with viewer(url, resume=hello["resume"], since=seen) as (client, again):
                assert again["session"] == hello["session"]
                assert again["offset"] == seen
                assert "lost" not in again
                text = b"again %d " % number
                says(client, text)
                seen += len(text)
                client.socket.shutdown(socket.SHUT_RDWR)
        assert relayed(one_cell) >= 4
        assert one_cell.guest.accepted.qsize() == 1
        with viewer(url, resume=hello["resume"], since=seen) as (client, _):
            path = f"/v1/sessions/{hello['session']}"
            assert one_cell.second.request("DELETE", path, key=MEMBER_KEY).status == 202
            assert close_of(client) == (4410, "You were disconnected by max.")


def test_another_user(tmp_path: Path, connection: str) -> None:
    """Another user waits while somebody types, and gets a lingering console by any replica."""
    with cell(tmp_path, connection) as one_cell:
        first, second = one_cell.first, one_cell.second
        with viewer(first.ws_url(WEB_1, 0)) as (client, _):
            says(client, b"mine")
            with viewer(second.ws_url(WEB_1, 0, ADMIN_KEY)) as (late, told):
                assert (told["type"], told["takeover"], told["ask"]) == ("busy", False, True)
                assert close_of(late)[0] == 4409
            client.socket.shutdown(socket.SHUT_RDWR)
        first.wait_for_event("session_lingers")
        with viewer(second.ws_url(WEB_1, 0, ADMIN_KEY)) as (client, hello):
            assert hello["offset"] == len(b"mine")  # which is not shown to them
            says(client, b"fresh")
        assert one_cell.guest.accepted.qsize() == 1


def test_tickets_are_the_cells_own(tmp_path: Path) -> None:
    """Nobody else comes in by the replicas' way, with a guessed ticket or with a used one."""
    with cell(tmp_path, f"sqlite:///{tmp_path}/cell.sqlite") as one_cell:
        for headers in (
            {"X-Consoled-Ticket": "guess", "X-Consoled-Arrival": "e30="},
            {"X-Consoled-Ticket": "guess"},
        ):
            with pytest.raises(InvalidStatus) as caught:
                connect(
                    f"ws://127.0.0.1:{one_cell.first.port}/v1/replica/viewers",
                    additional_headers=headers,
                )
            assert caught.value.response.status_code == 403
        assert one_cell.guest.accepted.empty()


def test_owner_is_frozen(tmp_path: Path) -> None:
    """A replica that does not answer is said to be away; nobody waits for long."""
    with (
        cell(tmp_path, f"sqlite:///{tmp_path}/cell.sqlite") as one_cell,
        viewer(one_cell.first.ws_url(WEB_1, 0)) as (client, _),
    ):
        says(client, b"here")
        url = one_cell.second.ws_url(WEB_1, 0)
        os.kill(one_cell.first.pid, signal.SIGSTOP)
        try:
            with connect(url, compression=None) as late:
                code, reason = close_of(late)
        finally:
            os.kill(one_cell.first.pid, signal.SIGCONT)
        assert code == 1013
        assert "cannot be reached" in reason
        says(client, b"still here")


def test_over_tls(tmp_path: Path) -> None:
    """Between replicas that speak TLS the certificate is verified, by [proxy] replica_ca."""
    pair = make_pair()
    cert, key = pair.write(tmp_path)
    config = {
        "serial_console": {"cert": cert, "key": key, "ssl_only": True},
        "proxy": {"replica_ca": cert},
    }
    with cell(tmp_path, f"sqlite:///{tmp_path}/cell.sqlite", config) as one_cell:
        trusting = ssl.create_default_context(cafile=str(cert))
        first, second = one_cell.first, one_cell.second
        with (
            connect(first.ws_url(WEB_1, 0), ssl=trusting, compression=None) as client,
            connect(second.ws_url(WEB_1, 0), ssl=trusting, compression=None) as late,
        ):
            says(client, b"here")
            assert close_of(late)[0] == 4409
            second.wait_for_event("viewer_relayed")
