"""From the bytes of a request to an open WebSocket: site, resource, autobahn and session."""

from __future__ import annotations

import base64
import gc
import struct
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from fakes import FOREIGN, WEB_1, FakeAuthority, make_instance, result
from receptions import House
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from wires import Wire, answer_dial

from consoled.errors import Unavailable
from consoled.http.channel import BoundedChannel, BoundedSite
from consoled.model import Caller
from consoled.proxy.core import SessionCore
from consoled.proxy.forwarded import TrustedProxies
from consoled.proxy.gate import Gate
from consoled.proxy.leg import Leg
from consoled.proxy.limits import Stopwatch
from consoled.proxy.line import Line
from consoled.proxy.origin import OriginRules
from consoled.proxy.paths import Layout
from consoled.proxy.upgrade import HANDSHAKE_DEADLINE, TOKEN_CHECK_LIMIT, Upgrades
from consoled.proxy.website import ProxyResource, Public, Website, security_headers
from consoled.proxy.websocket import ConsoleSocket, ConsoleSocketFactory, PingRules, cut_reason

BASE_URL = "http://127.0.0.1:6083/serial.html"
KEY = base64.b64encode(b"0123456789abcdef").decode()
GOOD = {
    "Host": "127.0.0.1:6083",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


@define
class HangingAuthority(FakeAuthority):
    """An authority whose checks are answered by hand.

    :ivar checks: those that are asked, in order.
    :ivar cancelled: those that were cancelled.
    """

    checks: list[Deferred[Any]] = field(factory=list)
    cancelled: list[object] = field(factory=list)

    def validate(self, clear: str) -> Deferred[Any]:
        """Not answered yet."""
        self.checks.append(Deferred(self.cancelled.append))
        return self.checks[-1]


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """A masked client frame of fewer than 126 bytes."""
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


class Proxy:
    """The proxy port's site over a fake authority and driver."""

    def __init__(self, tmp_path: Path, max_sessions: int = 10) -> None:
        self.reactor = MemoryReactorClock()
        self.authority: Any = FakeAuthority()
        house = House(self.reactor, max_sessions=max_sessions)
        self.driver = house.driver
        self.sessions = house.sessions
        self.upgrades = Upgrades(
            rules=OriginRules(BASE_URL),
            trusted=TrustedProxies(),
            sockets=ConsoleSocketFactory(self.reactor, PingRules(15, 15)),
            authority=self.authority,
            reception=house.reception,
            hops=house.hops,
            clock=self.reactor,
            sessions=self.sessions,
        )
        (tmp_path / "serial.html").write_text("<!doctype html>")
        public = Public(Website(tmp_path, built_in=True), security_headers(True, ()))
        resource = ProxyResource(Layout.of(BASE_URL), public, self.upgrades)
        self.site = BoundedSite(resource, self.reactor)

    def token(self, index: int = 0, user: str = "mia", uuid: str = WEB_1) -> str:
        """A clear token for a console."""
        instance = make_instance(uuid, "web-1")
        caller = Caller(user, "demo")
        issue = self.authority.issue(instance, instance.consoles[index], caller, BASE_URL)
        return str(result(issue).clear)

    def connect(self) -> Wire:
        """A new connection; its transport has the HTTP channel as its protocol."""
        wire = Wire(peerAddress=IPv4Address("TCP", "203.0.113.9", 40000))
        wire.protocol = self.site.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        return wire

    def ask(
        self,
        target: str,
        changes: dict[str, str | None] | None = None,
        more: bytes = b"",
        method: str = "GET",
        turn: bool = True,
    ) -> Wire:
        """Sends a handshake; None takes a header away.

        :param more: bytes in the same segment, after the request.
        :param turn: whether the reactor turns once after it.
        """
        headers = GOOD | (changes or {})
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        wire = self.connect()
        wire.protocol.dataReceived(head + more)
        if turn:
            self.reactor.advance(0)
        return wire


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    """A proxy port."""
    return Proxy(tmp_path)


def status(wire: Wire) -> int:
    """The status of the answer."""
    return int(wire.written.split()[1])


def close_of(wire: Wire) -> tuple[int, str]:
    """The code and reason of the close frame after the handshake."""
    head, _, frames = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert frames[0] == 0x88
    payload = frames[2 : 2 + frames[1]]
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def test_open(proxy: Proxy) -> None:
    """A good handshake becomes a WebSocket whose frames reach the guest and back."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    assert status(wire) == 101
    guest = answer_dial(proxy.reactor)
    wire.protocol.dataReceived(frame(b"hello"))
    guest.protocol.dataReceived(b"world")
    assert guest.written == b"hello"
    assert wire.written.endswith(b"\x82\x05world")
    assert len(proxy.sessions) == 1


@pytest.mark.parametrize("path", ["/", "/websockify", "/serial.html"])
def test_socket_paths(proxy: Proxy, path: str) -> None:
    """WebSockets are taken at nova's path, websockify's and the page's own."""
    assert status(proxy.ask(f"{path}?token={proxy.token()}")) == 101


def test_other_paths_take_no_sockets(proxy: Proxy) -> None:
    """There is no console at any other path."""
    assert status(proxy.ask(f"/other?token={proxy.token()}")) == 404


def test_last_token_of_the_query_wins(proxy: Proxy) -> None:
    """nova's rule: of several tokens the last one counts."""
    assert status(proxy.ask(f"/?token=bogus&token={proxy.token()}")) == 101
    answer_dial(proxy.reactor)


def test_token_from_the_cookie(proxy: Proxy) -> None:
    """nova's rule: without one in the query, the cookie's token counts."""
    wire = proxy.ask("/", {"Cookie": f"a=b; token={proxy.token()}"})
    assert status(wire) == 101
    answer_dial(proxy.reactor)


@pytest.mark.parametrize("target", ["/", "/?token=", "/?token=wrong", "/?other=1"])
def test_token_is_wrong(proxy: Proxy, target: str) -> None:
    """A browser's user is told so by a close, as it cannot see an HTTP status."""
    code, reason = close_of(proxy.ask(target))
    assert code == 4401
    assert reason


def test_token_check_is_away(proxy: Proxy) -> None:
    """A database that is away is 1013: try again."""
    proxy.authority.error = Unavailable("The database is away. Try again in a moment.")
    assert close_of(proxy.ask("/?token=x")) == (
        1013,
        "The database is away. Try again in a moment.",
    )


def test_token_check_takes_too_long(proxy: Proxy) -> None:
    """The token check has its own limit of three seconds."""
    proxy.upgrades.authority = HangingAuthority()
    wire = proxy.ask("/?token=x")
    proxy.reactor.advance(2.9)
    assert wire.written == b""
    proxy.reactor.advance(0.1)
    assert close_of(wire)[0] == 1013


def test_token_check_fails_unexpectedly(proxy: Proxy) -> None:
    """An error nobody thought of is 1011, and its words are not told."""
    proxy.authority.error = ZeroDivisionError("secret detail")
    code, reason = close_of(proxy.ask("/?token=x"))
    assert code == 1011
    assert "secret" not in reason


def test_too_many_sessions(tmp_path: Path) -> None:
    """Sessions over the limit are refused with 1013, those that are open go on."""
    proxy = Proxy(tmp_path, max_sessions=1)
    first = proxy.ask(f"/?token={proxy.token()}")
    guest = answer_dial(proxy.reactor)
    assert close_of(proxy.ask(f"/?token={proxy.token(1)}"))[0] == 1013
    first.protocol.dataReceived(frame(b"still"))
    assert guest.written == b"still"


def test_who_is_away_makes_room(tmp_path: Path) -> None:
    """A full daemon ends the session that has waited longest for its viewer, and its line."""
    proxy = Proxy(tmp_path, max_sessions=2)
    guests = []
    for index in (0, 1):
        wire = proxy.ask(f"/?token={proxy.token(index)}")
        guests.append(answer_dial(proxy.reactor))
        wire.drop()
        proxy.reactor.advance(1)
    assert len(proxy.sessions) == 2
    with capturedLogs() as logs:
        assert status(proxy.ask(f"/?token={proxy.token(uuid=FOREIGN)}")) == 101
    guests.append(answer_dial(proxy.reactor))
    assert [guest.disconnecting for guest in guests] == [True, False, False]
    said = [event["event"] for event in logs if "event" in event]
    assert said[0] == "session_yielded"
    assert {"session_ended", "line_closed"} <= set(said)


def test_whoever_displaces_needs_no_room(tmp_path: Path) -> None:
    """A full daemon gives the console of somebody who is away to another user: one for one."""
    proxy = Proxy(tmp_path, max_sessions=1)
    away = proxy.ask(f"/?token={proxy.token()}")
    guest = answer_dial(proxy.reactor)
    away.drop()
    wire = proxy.ask(f"/?token={proxy.token(user='noa')}")
    wire.protocol.dataReceived(frame(b"mine"))
    assert guest.written == b"mine"
    assert len(proxy.sessions) == 1


def test_too_many_handshakes(proxy: Proxy) -> None:
    """Handshakes over the limit get 503 at once and ask nobody; later ones are served."""
    authority = proxy.upgrades.authority = HangingAuthority()
    proxy.upgrades.max_handshakes = 2
    first, _, third = (proxy.ask("/?token=x") for _ in range(3))
    assert status(third) == 503
    assert b"Retry-After: 1\r\n" in third.written
    assert len(authority.checks) == 2
    authority.checks[0].errback(Unavailable("later"))
    assert close_of(first)[0] == 1013
    assert proxy.ask("/?token=x").written == b""
    assert len(authority.checks) == 3


@pytest.mark.parametrize("end", ["answered", "gone", "late"])
def test_handshakes_under_way_are_counted_back(proxy: Proxy, end: str) -> None:
    """However a handshake ends, its place is free again."""
    authority = proxy.upgrades.authority = HangingAuthority()
    proxy.upgrades.max_handshakes = 1
    wire = proxy.ask("/?token=x")
    if end == "answered":
        authority.checks[0].errback(Unavailable("later"))
    elif end == "gone":
        wire.drop()
    else:
        proxy.reactor.advance(TOKEN_CHECK_LIMIT)
    assert proxy.ask("/?token=x").written == b""


class HangingHops:
    """Another replica, or the database, that never says who has a console."""

    def owner(self, *_: object) -> Deferred[None]:
        """No answer."""
        return Deferred()


def test_absolute_handshake_deadline(proxy: Proxy) -> None:
    """Whatever a handshake waits for, it is answered in ten seconds, with 503 then."""
    hops: Any = HangingHops()
    proxy.upgrades.hops = hops
    wire = proxy.ask(f"/?token={proxy.token()}")
    proxy.reactor.advance(HANDSHAKE_DEADLINE - 0.1)
    assert wire.written == b""
    proxy.reactor.advance(0.1)
    assert status(wire) == 503
    assert len(proxy.sessions) == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Connection": None}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": KEY + "\t!"}, 400),
        ({"Sec-WebSocket-Protocol": "chat, superchat"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1:6083"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
def test_violations(proxy: Proxy, changes: dict[str, str | None], expected: int) -> None:
    """Violations of protocol, Host and Origin are HTTP statuses, and nothing is dialled."""
    wire = proxy.ask(f"/?token={proxy.token()}", changes)
    assert status(wire) == expected
    assert not proxy.reactor.tcpClients


def test_post_is_no_handshake(proxy: Proxy) -> None:
    """A handshake is a GET."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Content-Length": "0"}, method="POST")
    assert status(wire) == 400


def test_handshake_with_a_body(proxy: Proxy) -> None:
    """A handshake has no body."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Content-Length": "2"}, more=b"hi")
    assert status(wire) == 400


def test_connection_header_with_more_words(proxy: Proxy) -> None:
    """Firefox sends ``Connection: keep-alive, Upgrade``."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Connection": "keep-alive, Upgrade"})
    assert status(wire) == 101
    answer_dial(proxy.reactor)


def test_frames_before_the_answer(proxy: Proxy) -> None:
    """Data sent with the request, before the answer, is a violation and reaches nobody."""
    wire = proxy.ask(f"/?token={proxy.token()}", more=frame(b"rm -rf /\r"))
    assert status(wire) == 400
    assert not proxy.reactor.tcpClients


def test_second_request_before_the_answer(proxy: Proxy) -> None:
    """A second handshake while the token is checked gives no second 101."""
    authority = proxy.upgrades.authority = HangingAuthority()
    wire = proxy.ask("/?token=x")
    wire.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:6083\r\n\r\n")
    authority.checks[0].errback(Unavailable("later"))
    assert status(wire) == 400
    assert b"101" not in wire.written.split(b"\r\n")[0]


def test_client_goes_away_during_the_check(proxy: Proxy) -> None:
    """A vanished client's check is cancelled, and nothing is opened for it."""
    authority = proxy.upgrades.authority = HangingAuthority()
    wire = proxy.ask("/?token=x")
    wire.drop()
    assert len(authority.cancelled) == 1
    assert len(proxy.sessions) == 0
    assert not proxy.reactor.getDelayedCalls()


def test_subprotocol_is_answered(proxy: Proxy) -> None:
    """The chosen subprotocol is in the answer."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Sec-WebSocket-Protocol": "consoled.v1, binary"})
    answer_dial(proxy.reactor)
    assert b"Sec-WebSocket-Protocol: consoled.v1\r\n" in wire.written
    assert b'"type": "hello"' in wire.written


def test_deflate_is_not_negotiated(proxy: Proxy) -> None:
    """An offered compression is not taken up (faults.md W5)."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Sec-WebSocket-Extensions": "permessage-deflate"})
    answer_dial(proxy.reactor)
    assert status(wire) == 101
    assert b"Extensions" not in wire.written


def test_bad_control_message_ends_the_session(proxy: Proxy) -> None:
    """A page that does not speak its protocol is closed with 1008."""
    wire = proxy.ask(f"/?token={proxy.token()}", {"Sec-WebSocket-Protocol": "consoled.v1"})
    guest = answer_dial(proxy.reactor)
    wire.protocol.dataReceived(frame(b"not json", opcode=1))
    assert b"\x88" in wire.written
    assert struct.pack("!H", 1008) in wire.written
    assert guest.disconnecting


def test_oversized_frame(proxy: Proxy) -> None:
    """A declared frame of 2^62 bytes is refused at its header (faults.md W1)."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    answer_dial(proxy.reactor)
    wire.protocol.dataReceived(b"\x82\xff" + struct.pack("!Q", 1 << 62) + b"\x01\x02\x03\x04")
    assert struct.pack("!H", 1009) in wire.written


def test_unmasked_frame(proxy: Proxy) -> None:
    """A client frame without a mask is a protocol error (faults.md W3)."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    answer_dial(proxy.reactor)
    wire.protocol.dataReceived(b"\x82\x02hi")
    assert struct.pack("!H", 1002) in wire.written


def test_client_closes(proxy: Proxy) -> None:
    """A client's close ends the session and frees the console."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    guest = answer_dial(proxy.reactor)
    wire.protocol.dataReceived(frame(struct.pack("!H", 1000), opcode=8))
    wire.drop()
    assert guest.disconnecting
    assert len(proxy.sessions) == 0


def test_connection_drops(proxy: Proxy) -> None:
    """After a lost connection the console waits for its viewer, then it is free."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    guest = answer_dial(proxy.reactor)
    wire.drop()
    assert not guest.disconnecting
    assert len(proxy.sessions) == 1
    proxy.reactor.advance(30)
    assert guest.disconnecting
    assert len(proxy.sessions) == 0


def test_no_token_in_any_log(proxy: Proxy) -> None:
    """No event of a whole session carries the token (faults.md T7)."""
    token = proxy.token()
    with capturedLogs() as logs:
        wire = proxy.ask(f"/?token={token}", {"Origin": "http://127.0.0.1:6083"})
        answer_dial(proxy.reactor)
        wire.drop()
        proxy.ask(f"/?token={token}x")
        proxy.ask(f"/?token={token}", {"Origin": "http://evil.example"})
        proxy.ask(f"/?token={token}", {"Upgrade": None})
    assert logs
    assert token not in repr(logs)


KINDS = (SessionCore, Line, Leg, ConsoleSocket, Gate, Stopwatch, BoundedChannel)
"""What a session consists of."""


def test_nothing_is_left_of_a_session(proxy: Proxy) -> None:
    """When sessions have ended, however, none of their parts is kept by anybody (faults.md F5)."""

    def parts() -> list[object]:
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, KINDS)]

    # Of tests before this one: they may be on their way out, or not.
    others = {id(one): one for one in parts()}
    for end in ("left", "lost", "refused", "hung up"):
        token = "wrong" if end == "refused" else proxy.token()
        wire = proxy.ask(f"/?token={token}", {"Sec-WebSocket-Protocol": "consoled.v1"})
        if end != "refused":
            guest = answer_dial(proxy.reactor)
            if end == "hung up":
                guest.drop()
        if end != "lost":
            # Its own close, or the answer to ours.
            wire.protocol.dataReceived(frame(struct.pack("!H", 1000), opcode=8))
        wire.drop()
        proxy.reactor.advance(60)
    assert len(proxy.sessions) == 0
    assert not proxy.reactor.getDelayedCalls()
    # The test's own hold on what it has made.
    del wire, guest
    proxy.reactor.tcpClients.clear()
    assert [one for one in parts() if id(one) not in others] == []


def test_drain(proxy: Proxy) -> None:
    """Draining tells every viewer and waits for the last socket."""
    wire = proxy.ask(f"/?token={proxy.token()}")
    answer_dial(proxy.reactor)
    drained: list[object] = []
    proxy.sessions.end_all(1001, "restarting").addCallback(drained.append)
    assert struct.pack("!H", 1001) in wire.written
    assert drained == []
    wire.drop()
    assert drained == [None]


@pytest.mark.parametrize("reason", ["x" * 200, "ü" * 100, "a" + "€" * 60])
def test_reasons_fit_a_control_frame(reason: str) -> None:
    """A long reason is cut at a character, within 123 bytes."""
    cut = cut_reason(reason)
    assert len(cut) <= 123
    assert reason.startswith(cut.decode())
