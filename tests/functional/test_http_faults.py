"""The rows H1 to H11 of faults.md against the real daemon, by raw sockets (H10: test_tls)."""

from __future__ import annotations

import json
import queue
import selectors
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from backends import Backend, backend, echo
from raw_http import Answer, dial, exchange, handshake, read_to_end, request
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tools.lab.daemon import MEMBER_KEY, Daemon, static_daemon

BALANCER = "127.0.0.2"
"""Whose X-Forwarded headers are believed here; everybody else comes from 127.0.0.1."""

HTML = "<img src=x onerror=alert(1)>\"'&ü"
PATIENCE = 60.0


class World:
    """A daemon, and instances whose consoles echo."""

    def __init__(self, daemon: Daemon, console: Backend, ids: dict[str, str]) -> None:
        self.daemon = daemon
        self.console = console
        self.ids = ids

    @property
    def port(self) -> int:
        """The proxy's."""
        return self.daemon.port

    @property
    def host(self) -> str:
        """The Host that is known."""
        return f"127.0.0.1:{self.port}"

    def token(self, name: str = "web-1") -> str:
        """A fresh token for that instance's console."""
        url = self.daemon.console_url(self.ids[name], key=MEMBER_KEY)
        return url.partition("token=")[2]

    def dialled(self) -> bool:
        """Whether anybody has reached the console since this was last asked."""
        found = False
        with suppress(queue.Empty):
            while self.console.accepted.get_nowait():
                found = True
        return found

    def get(self, target: str, source: str | None = None, **headers: str) -> Answer:
        """The proxy port's answer to a GET."""
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        host = lines.pop("Host", self.host)
        return exchange(self.port, request(target, host, lines), source=source)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon with instances whose consoles are one echo server each."""
    names = ["web-1", "live", HTML]
    with ExitStack() as stack:
        consoles = {name: stack.enter_context(backend(echo)) for name in names}
        ids = {name: str(uuid.uuid4()) for name in names}
        instances = [
            {
                "uuid": ids[name],
                "name": name,
                "project_id": "demo",
                "host": "rack1",
                "serial": [f"127.0.0.1:{consoles[name].port}"],
            }
            for name in names
        ]
        config = {
            "proxy": {"trusted_proxies": BALANCER},
            "console": {"allowed_origins": "http://dash.test:8080, friend.test"},
        }
        folder = tmp_path_factory.mktemp("faults")
        daemon = stack.enter_context(static_daemon(folder, instances, config))
        yield World(daemon, consoles["web-1"], ids)


@pytest.fixture(params=["proxy", "api"])
def port(world: World, request: pytest.FixtureRequest) -> int:
    """Each of the two ports."""
    return world.port if request.param == "proxy" else world.daemon.api_port


def assert_unharmed(world: World, since: int = 0) -> None:
    """Both ports still answer, and the log has no traceback."""
    assert world.get("/serial.html").status == 200
    assert world.daemon.request("GET", "/v1/servers").status == 200
    for event in world.daemon.events()[since:]:
        assert "traceback" not in event
        assert event["level"] in ("info", "debug", "warn")


# H1, H2

EVIL = {
    "evil": "http://evil.example",
    "null": "null",
    "empty": "",
    "suffix": "http://{host}.evil.example",
    "prefix": "http://evil{host}",
    "userinfo": "http://{host}@evil.example",
    "path": "http://{host}/",
    "wrong scheme": "https://{host}",
    "wrong port": "http://127.0.0.1:1",
    "default port": "http://127.0.0.1",
    "other name of it": "http://localhost:{port}",
    "two": "http://{host}, http://evil.example",
    "friend, wrong scheme": "https://friend.test",
    "dashboard, wrong port": "http://dash.test",
    "friend's friend": "http://evil.friend.test",
}


@pytest.mark.parametrize("origin", EVIL.values(), ids=EVIL.keys())
def test_h1_origin(world: World, origin: str) -> None:
    """A page of another origin gets 403, and its valid token reaches nothing."""
    sent = origin.format(host=world.host, port=world.port)
    world.dialled()
    answer = handshake(world.port, f"/?token={world.token()}", {"Origin": sent})
    assert answer.status == 403
    assert b"origin" in answer.body or b"protocol" in answer.body
    assert not world.dialled()


@pytest.mark.parametrize(
    "origin", [None, "http://{host}", "http://dash.test:8080", "http://friend.test:1234"]
)
def test_h1_allowed_origin(world: World, origin: str | None) -> None:
    """The page itself, allowed origins, and by default a client without one, connect."""
    headers = {} if origin is None else {"Origin": origin.format(host=world.host)}
    assert handshake(world.port, f"/?token={world.token()}", headers).status == 101


REBOUND = ["evil.example", "127.0.0.1.evil.example", "evil.example:{port}", "localhost:{port}"]


@pytest.mark.parametrize("host", REBOUND)
def test_h2_rebinding(world: World, host: str) -> None:
    """A rebound name gets 403 for page and WebSocket, though Host and Origin agree."""
    name = host.format(port=world.port)
    world.dialled()
    headers = {"Host": name, "Origin": f"http://{name}"}
    assert handshake(world.port, f"/?token={world.token()}", headers).status == 403
    assert world.get("/serial.html", Host=name).status == 403
    assert not world.dialled()


# H3

HOSTILE_PATHS = [
    "//evil.example/%2F..",
    "//evil.example/..",
    "/\\evil.example",
    "/%5Cevil.example/..",
    "/?redirect=http://evil.example",
    "/serial.html?redirect=http://evil.example",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/../../etc/passwd",
    "/assets/..%2f..%2fetc%2fpasswd",
    "/assets/%2e%2e/%2e%2e/settings.py",
    "/%00",
    "/serial.html%00",
    "/.",
    "/%ff",
    "/" + "a" * 1000,
]


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: path[:40])
def test_h3_paths(world: World, path: str) -> None:
    """Hostile paths are 4xx or the page, never a redirect and never another file."""
    for answer in (world.get(path), handshake(world.port, path)):
        assert answer.status in (101, 200, 400, 404, 426)
        assert "Location" not in answer.headers
        assert "Refresh" not in answer.headers
        assert b"root:" not in answer.body
    answer = exchange(world.daemon.api_port, request(path, "127.0.0.1"))
    # A query changes nothing: that one is the API's list of versions.
    assert answer.status in ((200,) if path.startswith("/?") else (400, 404))
    assert "Location" not in answer.headers
    assert b"evil" not in answer.body


# H4

POST = "POST {path} HTTP/1.1\r\nHost: {host}\r\n"
SMUGGLED = {
    "two lengths": POST + "Content-Length: 4\r\nContent-Length: 40\r\n\r\nGET ",
    "same length twice": POST + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nGET ",
    "CL.TE": POST + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": POST + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET",
    "TE.TE": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "identity": POST + "Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nGET ",
    "signed length": POST + "Content-Length: +4\r\n\r\nGET ",
    "negative length": POST + "Content-Length: -4\r\n\r\nGET ",
    "hex length": POST + "Content-Length: 0x4\r\n\r\nGET ",
    "endless length": POST + "Content-Length: " + "9" * 5000 + "\r\n\r\n",
    "signed chunk": POST + "Transfer-Encoding: chunked\r\n\r\n+4\r\nGET \r\n0\r\n\r\n",
    "bare LF": "GET {path} HTTP/1.1\nHost: {host}\n\n",
    "bare LF in a head": POST + "A: b\nContent-Length: 4\r\n\r\nGET ",
    "folded": POST + "Content-Length:\r\n 4\r\n\r\nGET ",
    "space before colon": POST + "Content-Length : 4\r\n\r\nGET ",
    "no Host": "GET {path} HTTP/1.1\r\n\r\n",
    "two Hosts": "GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n",
    "Host twice": "GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n",
    "absolute target": "GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
}


def test_h4_smuggling(world: World, port: int) -> None:
    """What two servers could read in two ways is 400 and the connection's end."""
    good = f"GET /serial.html HTTP/1.1\r\nHost: {world.host}\r\n\r\n"
    with ExitStack() as stack:
        socks = {name: stack.enter_context(dial(port)) for name in SMUGGLED}
        for name, sock in socks.items():
            text = SMUGGLED[name].format(path="/serial.html", host=world.host)
            sock.sendall((text + good).encode("latin-1"))
        for name, sock in socks.items():
            answer = Answer(read_to_end(sock))
            assert answer.status == 400, name
            assert answer.headers["Connection"] == "close", name
            assert answer.headers["X-Openstack-Request-Id"].startswith("req-"), name
            assert answer.data.count(b"HTTP/1.1 ") == 1, name
            if port == world.daemon.api_port:
                assert json.loads(answer.body)["badRequest"]["code"] == 400, name


# H5

SPLIT = "%0d%0aX-Injected:%20yes%0d%0a%0d%0a<script>"


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/" + SPLIT, {}),
        ("/serial.html?a=" + SPLIT, {}),
        ("/?token=" + SPLIT, {}),
        ("/", {"Sec-WebSocket-Protocol": "binary" + SPLIT}),
        ("/", {"Sec-WebSocket-Protocol": "binary\rX-Injected: yes"}),
        ("/", {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==\nX-Injected: yes"}),
        ("/", {"Origin": "http://a\rX-Injected: yes"}),
        ("/", {"X-Openstack-Request-Id": "req-" + SPLIT}),
        ("/", {"X-Forwarded-Host": "a" + SPLIT}),
    ],
)
def test_h5_header_split(world: World, target: str, headers: dict[str, str]) -> None:
    """CR and LF in path, query, subprotocol or any header split no header of the answer."""
    answers = [
        world.get(target, **headers),
        handshake(world.port, target, headers),
        exchange(world.daemon.api_port, request(target, "127.0.0.1", headers)),
        handshake(world.port, target, headers, source=BALANCER),
    ]
    for answer in answers:
        assert answer.status
        assert "X-Injected" not in answer.headers
        assert b"<script>" not in answer.data


# H6

SLOW = {
    "nothing": (b"", b""),
    "request line": (b"GET /", b"a"),
    "headers": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"A: b\r\n"),
    "one header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"b"),
    "body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n", b"x"),
    "chunks": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "second request": (b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\nGET ", b"a"),
    "TLS": (b"\x16\x03\x01\x02\x00", b"\x01"),
}


def test_h6_slowloris(world: World) -> None:
    """Whatever comes one byte per second is closed at an absolute deadline, on both ports."""
    begun = time.monotonic()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for port in (world.port, world.daemon.api_port):
            for name, (start, more) in SLOW.items():
                sock = stack.enter_context(dial(port))
                sock.sendall(start)
                selector.register(sock, selectors.EVENT_READ, (f"{name} on {port}", more))
        while selector.get_map() and time.monotonic() < begun + PATIENCE:
            for key, _ in selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    data = key.fileobj.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    selector.unregister(key.fileobj)
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                with suppress(BrokenPipeError, ConnectionResetError):
                    key.fileobj.sendall(key.data[1])
        assert [key.data[0] for key in selector.get_map().values()] == []
    refused = [
        event["status"] for event in world.daemon.events() if event["event"] == "http_refused"
    ]
    assert refused.count(408) >= 2 * 4
    assert_unharmed(world)


# H7

FLOODS = {
    "endless header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"b" * 4096, 431),
    "endless headers": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"A: " + b"b" * 500 + b"\r\n", 431),
    "endless line": (b"GET /", b"a" * 4096, 431),
    "endless chunks": (
        b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1000\r\n" + b"x" * 4096 + b"\r\n",
        413,
    ),
    "endless chunk": (
        b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"x" * 4096,
        413,
    ),
    "declared": (
        b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
        b"x" * 4096,
        413,
    ),
}
AT_ONCE = 100
FLOOD = 2 * 1024 * 1024
"""Bytes that each connection would send if it were let."""


def memory(pid: int, field: str) -> int:
    """A field of the process's status in bytes, such as VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field} in the status of {pid}")


def disk(daemon: Daemon) -> int:
    """The bytes of the state folder, and of files that are open and in no folder."""
    kept = sum(path.stat().st_size for path in (daemon.folder / "state").rglob("*"))
    unlinked = 0
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(link.readlink()).endswith(" (deleted)"):
                unlinked += link.stat().st_size
    return kept + unlinked


def flood(port: int, start: bytes, more: bytes, *, at_end: Callable[[], None]) -> list[Answer]:
    """What 100 connections at once are told that send without an end.

    :param at_end: called while all of them are still open.
    """
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        socks = [stack.enter_context(dial(port)) for _ in range(AT_ONCE)]
        pending = {sock: start + more * (FLOOD // len(more)) for sock in socks}
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_WRITE | selectors.EVENT_READ)
        received = dict.fromkeys(socks, b"")
        deadline = time.monotonic() + PATIENCE
        while selector.get_map() and time.monotonic() < deadline:
            for key, events in selector.select(1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with suppress(BlockingIOError):
                    try:
                        if events & selectors.EVENT_READ:
                            data = sock.recv(65536)
                            received[sock] += data
                            if not data:
                                selector.unregister(sock)
                        elif pending[sock]:
                            sent = sock.send(pending[sock][:65536])
                            pending[sock] = pending[sock][sent:]
                        else:
                            selector.modify(sock, selectors.EVENT_READ)
                    except (ConnectionResetError, BrokenPipeError):
                        selector.unregister(sock)
            if len(selector.get_map()) < AT_ONCE // 2:
                at_end()
        assert not selector.get_map(), "not every flood was ended"
        return [Answer(data) for data in received.values()]


@pytest.mark.parametrize(("start", "more", "status"), FLOODS.values(), ids=FLOODS.keys())
def test_h7_floods(world: World, port: int, start: bytes, more: bytes, status: int) -> None:
    """A hundred endless heads or bodies at once are refused, memory and disk stay flat."""
    pid = world.daemon.pid
    assert_unharmed(world)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    rss, used = memory(pid, "VmRSS"), disk(world.daemon)
    most: list[int] = [used]
    answers = flood(port, start, more, at_end=lambda: most.append(disk(world.daemon)))
    # A reset may overtake the answer, but not all of them.
    told = {answer.status for answer in answers if answer.data}
    assert told == {status}
    assert memory(pid, "VmHWM") - rss < 32 * 1024 * 1024
    assert max(most) - used < 1024 * 1024
    assert_unharmed(world)


# H8

STEERING = "host=127.0.0.1&port={port}&path=evil&encrypt=1&url=ws://127.0.0.1:{port}/"


def test_h8_page_parameters(world: World) -> None:
    """The page is the same bytes whatever its query says, and so are its headers."""
    with backend(echo) as decoy:
        query = STEERING.format(port=decoy.port)
        plain, steered = world.get("/serial.html"), world.get(f"/serial.html?{query}")
        assert steered.body == plain.body
        ignored = {"Date", "X-Openstack-Request-Id"}
        assert [h for h in steered.headers.items() if h[0] not in ignored] == [
            h for h in plain.headers.items() if h[0] not in ignored
        ]
        assert decoy.accepted.empty()


def test_h8_socket_parameters(world: World) -> None:
    """A WebSocket leads to its token's console, whatever else its query says."""
    with backend(echo) as decoy:
        query = STEERING.format(port=decoy.port)
        world.dialled()
        address = f"ws://{world.host}/?{query}&token={world.token()}"
        with connect(address, compression=None) as client:
            client.send(b"whoami")
            assert client.recv(PATIENCE) == b"whoami"
        assert world.dialled()
        assert decoy.accepted.empty()


# H9


def test_h9_names_are_text(world: World) -> None:
    """An instance's name with HTML in it comes as JSON text in hello, and on no page."""
    address = f"ws://{world.host}/?token={world.token(HTML)}"
    speak = [Subprotocol("consoled.v1")]
    with connect(address, subprotocols=speak, compression=None) as client:
        hello = client.recv(PATIENCE)
    assert isinstance(hello, str)
    assert hello.isascii()
    assert json.loads(hello)["instance"]["name"] == HTML
    page = world.get(f"/serial.html?token={world.token(HTML)}")
    assert b"onerror" not in page.body
    answer = world.daemon.request("GET", "/v1/servers")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("target", ["/serial.html", "/assets/app.js", "/nothing", "//evil", "/"])
def test_h9_headers(world: World, target: str) -> None:
    """Pages, assets and refusals have the policy, nosniff, and let nobody frame them."""
    headers = world.get(target).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


# H11


def test_h11_forwarded_for(world: World) -> None:
    """The log shows an untrusted peer itself, and what a trusted one says of its client."""
    claimed = {"X_Forwarded_For": "203.0.113.66"}
    for source, src in ((None, "127.0.0.1"), (BALANCER, "203.0.113.66")):
        answer = world.get("/serial.html", source, **claimed)
        event = world.daemon.wait_for_event(
            "page_request", request_id=answer.headers["X-Openstack-Request-Id"]
        )
        assert event["src"] == src


def test_h11_forwarded_host(world: World) -> None:
    """The list of hosts is not bypassed by an untrusted peer, and holds for a trusted one."""
    good = {"Host": "evil.example", "X_Forwarded_Host": "127.0.0.1"}
    assert world.get("/serial.html", None, **good).status == 403
    assert world.get("/serial.html", BALANCER, **good).status == 200
    evil = {"X_Forwarded_Host": "evil.example"}
    assert world.get("/serial.html", None, **evil).status == 200
    assert world.get("/serial.html", BALANCER, **evil).status == 403


def test_h11_origin_through_a_balancer(world: World) -> None:
    """Behind a trusted balancer a page is judged by the Host that its browser asked for."""
    headers = {"Host": "inner", "X-Forwarded-Host": world.host, "Origin": f"http://{world.host}"}
    target = f"/?token={world.token()}"
    assert handshake(world.port, target, headers, source=BALANCER).status == 101
    assert handshake(world.port, target, headers).status == 403


# All at once

MALFORMED = {
    "NUL": b"\x00",
    "noise": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 160,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "words": b"one two three four\r\n\r\n",
    "bad method": b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "long method": b"A" * 5000 + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "bad escape": b"GET /%zz%%% HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
    "odd Host": b"GET /websockify HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "huge port": b"GET /websockify HTTP/1.1\r\nHost: a:99999\r\nConnection: close\r\n\r\n",
    "bad header": b"GET / HTTP/1.1\r\nHost: {host}\r\nno colon\r\n\r\n",
    "bad range": b"GET /serial.html HTTP/1.1\r\nHost: a\r\nRange: bytes=\xff-\r\n"
    b"Connection: close\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "bad chunk, no Host": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    "bad cookie": b"GET /websockify HTTP/1.1\r\nHost: {host}\r\nCookie: =;;=\xff; token\r\n"
    b"Connection: close\r\n\r\n",
    "bad JSON": b"POST /v1/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n"
    b"Connection: close\r\n\r\n{\xff}",
    "bad handshake": b"GET /websockify HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    b"Connection: close Upgrade\r\nSec-WebSocket-Key: \xff\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "frames": b"\x82\x85\x00\x00\x00\x00hello\r\n\r\n",
}


def test_malformed_requests(world: World) -> None:
    """After every malformed request on both ports the daemon serves, and a live session echoes."""
    since = len(world.daemon.events())
    with connect(f"ws://{world.host}/?token={world.token('live')}", compression=None) as live:
        for port in (world.port, world.daemon.api_port):
            for name, sent in MALFORMED.items():
                answer = exchange(port, sent.replace(b"{host}", world.host.encode()))
                assert not answer.data or 400 <= answer.status < 500, name
                live.send(name)
                assert live.recv(PATIENCE) == name.encode()
    assert_unharmed(world, since)


def test_cut_off_requests(world: World) -> None:
    """So it is after requests that end in the middle, wherever that is."""
    since = len(world.daemon.events())
    whole = (
        f"POST /v1/x HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: 5\r\n\r\nhello".encode()
        + f"GET /?token={world.token()} HTTP/1.1\r\nHost: {world.host}\r\n".encode()
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for port in (world.port, world.daemon.api_port):
        for end in range(0, len(whole), 7):
            with dial(port) as sock:
                sock.sendall(whole[:end])
                if end % 2:
                    sock.shutdown(socket.SHUT_WR)
                    read_to_end(sock)
    assert_unharmed(world, since)
