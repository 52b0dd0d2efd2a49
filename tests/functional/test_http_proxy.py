"""HTTP to an instance through a real daemon: what goes on, what comes back, what breaks off."""

from __future__ import annotations

import hashlib
import http.client
import json
import select
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from http_target import PIECE, Target, closed_port, digest_of, target

from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, READER_KEY, STRANGER_KEY, Daemon, static_daemon

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
BARE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
STOPPED = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0003"
PIECES = 1024
"""64 MiB."""
ROOM = 24 * 2**20
"""Bytes by which the daemon's memory may grow while they pass."""


class World(NamedTuple):
    """A daemon, and a web service on an instance of its."""

    daemon: Daemon
    service: Target
    closed: int

    def path(self, rest: str = "", port: int | None = None, server: str = WEB) -> str:
        """The path of something at the instance."""
        return f"/v1/servers/{server}/http/{port or self.service.port}/{rest}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the API."""
        return http.client.HTTPConnection("127.0.0.1", self.daemon.api_port, timeout=60)

    def ask(
        self,
        rest: str = "",
        *,
        method: str = "GET",
        key: str | None = MEMBER_KEY,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **place: Any,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """An answer and its body."""
        connection = self.connect()
        sent = {**({} if key is None else {"X-Auth-Token": key}), **(headers or {})}
        connection.request(method, self.path(rest, **place), body, sent)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer, data

    def fault(self, rest: str = "", **how: Any) -> tuple[int, str]:
        """Status and sentence of a refusal of consoled's own."""
        answer, data = self.ask(rest, **how)
        assert answer.getheader("Via") is None
        [inner] = json.loads(data).values()
        assert inner["code"] == answer.status
        return answer.status, inner["message"]

    @property
    def memory(self) -> int:
        """The most bytes that the daemon has had in memory so far."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests."""
    with target() as service:
        closed = closed_port()
        own = {"project_id": "demo", "host": "rack1"}
        instances = [
            {"uuid": WEB, "name": "web", "addresses": ["127.0.0.1"], **own},
            {"uuid": BARE, "name": "bare", **own},
            {"uuid": STOPPED, "name": "off", "addresses": ["127.0.0.1"], "state": "stopped", **own},
        ]
        config = {
            "http_proxy": {
                "allowed_ports": f"{service.port}, {closed}",
                "allowed_networks": "127.0.0.0/8",
                "idle_timeout": 4,
            }
        }
        with static_daemon(tmp_path_factory.mktemp("http"), instances, config) as daemon:
            yield World(daemon, service, closed)


def test_request_reaches_the_instance_as_it_was_sent(world: World) -> None:
    """Method, path, query, body and headers go on; credentials and cookies do not."""
    sent = {
        "X-Service-Token": "secret-1",
        "Cookie": "token=secret-2",
        "Authorization": "Basic bWU6bWU=",
        "X-Forwarded-For": "6.6.6.6",
        "X_Forwarded_For": "6.6.6.6",
        "Connection": "X-Private",
        "X-Private": "1",
        "X-Kept": "yes",
        "Accept-Encoding": "zstd",
    }
    answer, data = world.ask(
        "echo//a%2Fb/../c;d?q=%41&&q=", method="PATCH", body=b"\x00\xffbody", headers=sent
    )
    seen = json.loads(data)
    headers = dict(seen["headers"])
    assert answer.status == 200
    assert seen["method"] == "PATCH"
    assert seen["path"] == "/echo//a%2Fb/../c;d?q=%41&&q="
    assert seen["body"] == "\x00\xffbody"
    assert headers["x-kept"] == "yes"
    assert headers["authorization"] == "Basic bWU6bWU="
    assert headers["accept-encoding"] == "zstd"
    assert headers["host"] == f"127.0.0.1:{world.service.port}"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == f"127.0.0.1:{world.daemon.api_port}"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-prefix"] == world.path().rstrip("/")
    assert "secret" not in data.decode()
    assert MEMBER_KEY not in data.decode()
    assert {"x-private", "cookie", "x_forwarded_for"}.isdisjoint(headers)


def test_answer_cannot_command_the_browser(world: World) -> None:
    """Cookies and policies of the instance stay there, and what it shows is in a sandbox."""
    names = {
        "Set-Cookie": "a=b",
        "Strict-Transport-Security": "max-age=1",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "public",
        "Content-Security-Policy": "default-src 'self'",
        "X-Kept": "yes",
        "Content-Type": "text/html",
    }
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in names.items())
    answer, _ = world.ask(f"headers?{query}")
    assert answer.getheader("X-Kept") == "yes"
    assert answer.getheader("Set-Cookie") is None
    assert answer.getheader("Strict-Transport-Security") is None
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    policies = answer.headers.get_all("Content-Security-Policy") or []
    assert policies == ["default-src 'self'", "sandbox"]
    assert answer.getheader("Via") == "1.1 consoled"


@pytest.mark.parametrize(
    ("sent", "location", "elsewhere"),
    [
        ("/login?a=b", "login?a=b", None),
        ("next", "next", None),
        ("../../../../../v1/sessions", "v1/sessions", None),
        ("https://evil.example/x", None, "https://evil.example/x"),
        ("//evil.example/x", None, "//evil.example/x"),
    ],
)
def test_redirects_stay_with_the_instance(
    world: World, sent: str, location: str | None, elsewhere: str | None
) -> None:
    """A redirect within the instance works, and the key follows none that leads elsewhere."""
    answer, _ = world.ask(f"headers?status=302&Location={quote(sent, safe='')}")
    assert answer.status == 302
    assert answer.getheader("Location") == (None if location is None else world.path(location))
    assert answer.getheader("X-Consoled-Location") == elsewhere


def test_bodies_of_any_framing_come_whole(world: World) -> None:
    """Chunks, HEAD, 204, 304, an answer without a length, and one after others."""
    assert world.ask("chunked")[1] == b"hello world"
    answer, data = world.ask("echo", method="HEAD")
    assert (answer.status, data) == (200, b"")
    assert int(answer.getheader("Content-Length") or 0) > 10
    assert world.ask("raw?=" + quote("HTTP/1.1 204 No Content\r\n\r\n"))[0].status == 204
    answer, data = world.ask("raw?=" + quote('HTTP/1.1 304 Fine\r\nETag: "x"\r\n\r\n'))
    assert (answer.status, answer.reason, answer.getheader("ETag")) == (304, "Fine", '"x"')
    assert world.ask("raw?=" + quote("HTTP/1.0 200 OK\r\n\r\nuntil the end"))[1] == b"until the end"
    hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert (
        world.ask("raw?=" + quote(hints + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))[1]
        == b"ok"
    )


def test_connection_serves_one_request_after_the_other(world: World) -> None:
    """A client keeps its connection, also after a body that was handed on."""
    connection = world.connect()
    for number in range(3):
        body = str(number).encode() * 100_000
        connection.request("PUT", world.path("upload"), body, {"X-Auth-Token": MEMBER_KEY})
        assert json.loads(connection.getresponse().read())["size"] == 100_000
    connection.request("GET", "/v1/servers", headers={"X-Auth-Token": MEMBER_KEY})
    assert connection.getresponse().status == 200
    connection.close()


def pieces() -> Iterator[bytes]:
    """A large body."""
    for _ in range(PIECES):
        yield PIECE


@pytest.mark.parametrize("length", [True, False])
def test_large_upload_takes_no_memory(world: World, length: bool) -> None:
    """64 MiB reach the instance, with a length or in chunks, and the daemon stays small."""
    before = world.memory
    headers = {"Content-Length": str(PIECES * len(PIECE))} if length else {}
    _, data = world.ask("upload", method="POST", body=pieces(), headers=headers)
    assert json.loads(data) == {"digest": digest_of(PIECES), "size": PIECES * len(PIECE)}
    assert world.memory - before < ROOM


def test_slow_reader_stops_the_instance(world: World) -> None:
    """A client that takes nothing of 64 MiB stops the instance's sending, not more."""
    before = world.memory
    world.service.stalled.clear()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", world.daemon.api_port))
        path = world.path(f"download?pieces={PIECES}")
        sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {MEMBER_KEY}\r\n\r\n".encode()
        )
        assert world.service.stalled.wait(60)
        assert world.memory - before < ROOM
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        found = hashlib.sha256()
        while data := answer.read(2**16):
            found.update(data)
    assert found.hexdigest() == digest_of(PIECES)
    assert world.memory - before < ROOM


def test_stalled_instance_stops_the_upload(world: World) -> None:
    """Of 64 MiB that an instance does not take the daemon keeps next to nothing."""
    before = world.memory
    world.service.released.clear()
    with socket.create_connection(("127.0.0.1", world.daemon.api_port)) as sock:
        size = PIECES * len(PIECE)
        head = f"POST {world.path('late')} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n"
        sock.sendall(f"{head}X-Auth-Token: {MEMBER_KEY}\r\n\r\n".encode())
        for _ in range(PIECES):
            left = memoryview(PIECE)
            while left:
                if not select.select([], [sock], [], 0.5)[1]:
                    assert world.memory - before < ROOM
                    world.service.released.set()
                left = left[sock.send(left) :]
        assert world.service.released.is_set()
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert json.loads(answer.read())["digest"] == digest_of(PIECES)
    assert world.memory - before < ROOM


def test_requests_cannot_be_smuggled(world: World) -> None:
    """A request within a body is that body, and a body with two lengths is refused."""
    hidden = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    before = world.service.connections
    answer, data = world.ask(method="POST", body=iter([hidden]))
    assert json.loads(data)["body"].encode() == hidden
    assert (answer.status, world.service.connections) == (200, before + 1)
    twice = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    assert world.ask(method="POST", headers=twice, body=b"0\r\n\r\n")[0].status == 400
    assert world.service.connections == before + 1


def test_leave_to_send_comes_from_the_instance(world: World) -> None:
    """A client that expects 100 hears it when its body is wanted, and never after a refusal."""
    head = (
        f"POST {world.path('upload')} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        "Expect: 100-continue\r\nX-Auth-Token: "
    )
    with socket.create_connection(("127.0.0.1", world.daemon.api_port)) as sock:
        sock.sendall(f"{head}{MEMBER_KEY}\r\n\r\n".encode())
        assert sock.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    with socket.create_connection(("127.0.0.1", world.daemon.api_port)) as sock:
        sock.sendall(f"{head}wrong\r\n\r\n".encode())
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in received


def test_early_answer_comes_before_the_upload_ends(world: World) -> None:
    """An instance that refuses a body unread is heard while its client still sends."""
    with socket.create_connection(("127.0.0.1", world.daemon.api_port)) as sock:
        head = f"POST {world.path('refuse')} HTTP/1.1\r\nHost: a\r\nContent-Length: {2**30}\r\n"
        sock.sendall(f"{head}X-Auth-Token: {MEMBER_KEY}\r\n\r\n".encode() + PIECE)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 413
        assert json.loads(answer.read()) == {"refused": True}
        assert answer.getheader("Via") == "1.1 consoled"


def test_refusals_are_faults(world: World) -> None:
    """What cannot be reached is said in the API's form, with a status that fits."""
    assert world.fault(key=None)[0] == 401
    assert world.fault(key=STRANGER_KEY)[0] == 404
    assert world.fault(key=READER_KEY)[0] == 403
    status, text = world.fault(port=9)
    assert (status, "allowed_ports" in text) == (403, True)
    assert world.fault(server=BARE)[0] == 409
    assert world.fault(server=STOPPED)[0] == 409
    status, text = world.fault(port=world.closed)
    assert (status, "refuses connections" in text) == (502, True)
    status, text = world.fault(headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    assert (status, "consolectl forward" in text) == (400, True)
    assert world.fault(method="TRACE")[0] == 405
    status, text = world.fault("hang")
    assert (status, "in time" in text) == (504, True)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_answers_that_are_none_are_502(world: World, answer: str) -> None:
    """Whatever can be read in two ways, or not at all, is not passed on."""
    assert world.fault("raw?=" + quote(answer))[0] == 502


def test_head_without_end_is_cut(world: World) -> None:
    """An answer whose head grows and grows is given up at its limit."""
    assert world.fault("flood")[0] == 502


def test_broken_answer_shows_as_broken(world: World) -> None:
    """An answer that breaks off at the instance breaks off for the client."""
    with pytest.raises(http.client.IncompleteRead):
        world.ask("raw?=" + quote("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
    with pytest.raises(http.client.IncompleteRead):
        world.ask("endless")


def test_client_that_goes_takes_its_request_along(world: World) -> None:
    """The instance's connection closes when the client's does."""
    world.service.gone.clear()
    world.service.waiting.clear()
    with socket.create_connection(("127.0.0.1", world.daemon.api_port)) as sock:
        head = f"GET {world.path('hang')} HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {ADMIN_KEY}\r\n\r\n"
        sock.sendall(head.encode())
        assert world.service.waiting.wait(60)
    assert world.service.gone.wait(60)
