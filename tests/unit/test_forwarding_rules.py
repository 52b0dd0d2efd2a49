"""What goes to instances and what comes back: ports, addresses, headers, redirects, heads."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.api.forwarding import streams
from consoled.compute.port_range import PortRange
from consoled.errors import Conflict, Forbidden, NotFound, Unavailable
from consoled.forwarding.headers import Client, header, request_headers, response_headers
from consoled.forwarding.heads import BadAnswer, parse_head, request_head
from consoled.forwarding.http import route
from consoled.forwarding.location import Place, rewrite
from consoled.forwarding.places import Places
from consoled.forwarding.ports import parse_ports
from consoled.forwarding.speech import choose, is_eof
from consoled.forwarding.targets import Targets
from consoled.forwarding.way import own_address

VM = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
CLIENT = Client("192.0.2.9", b"api.example", "https", f"/v1/servers/{VM}/http/80")


def test_ports_are_written_one_by_one_or_as_segments() -> None:
    """Single ports and START:STOP, of which STOP is not used itself."""
    ports = parse_ports("443, 80,8000:8002")
    assert [p for p in (79, 80, 81, 443, 8000, 8001, 8002) if p in ports] == [80, 443, 8000, 8001]


@pytest.mark.parametrize("text", ["http", "80-90", "0", "70000", "90:80", "80, 80:90", ","])
def test_other_words_are_no_ports(text: str) -> None:
    """What names no ports, or one twice, is refused with a sentence."""
    with pytest.raises(ValueError, match=r"^(holds|leaves) "):
        parse_ports(text)


def targets(ports: PortRange | None = None, networks: tuple[str, ...] = ()) -> Targets:
    """Rules under which this machine has 192.0.2.1."""
    return Targets("forward", ports, networks, lambda text: text == "192.0.2.1")


def test_nothing_is_reachable_until_ports_are_allowed() -> None:
    """Without allowed_ports every port is refused, with them every other."""
    with pytest.raises(Forbidden, match=r"\[forward\] allowed_ports"):
        targets().port("80")
    some = targets(parse_ports("80"))
    assert some.port("80") == 80
    with pytest.raises(Forbidden):
        some.port("81")


@pytest.mark.parametrize("text", ["0", "080", "65536", "+80", "８0", "http", "", "99999999999"])
def test_a_port_has_one_spelling(text: str) -> None:
    """What is no port in its plain form is not there."""
    with pytest.raises(NotFound):
        targets(parse_ports("80")).port(text)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "0.1.2.3"),
        *("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1"),
        *("255.255.255.255", "240.0.0.1", "192.0.2.1", "::ffff:192.0.2.1", "web", ""),
    ],
)
def test_what_is_no_place_of_guests_is_not_dialled(address: str) -> None:
    """This machine, loopback, link-local and the like are refused, however they are written."""
    with pytest.raises(Conflict, match="allowed_networks"):
        targets().addresses(VM, [address])


def test_addresses_keep_their_order_and_networks_decide() -> None:
    """Each once; where networks are named they alone count, and allow even loopback."""
    known = ["10.0.0.5", "fd00::5", "10.0.0.5", "127.0.0.1"]
    assert targets().addresses(VM, known) == ("10.0.0.5", "fd00::5")
    assert targets(networks=("127.0.0.0/8",)).addresses(VM, known) == ("127.0.0.1",)
    with pytest.raises(Conflict, match="No address"):
        targets().addresses(VM, [])


def test_own_addresses_are_recognized() -> None:
    """An address that this machine can listen on is its own."""
    assert own_address("127.0.0.1")
    assert not own_address("192.0.2.77")
    assert not own_address("nonsense")


def test_places_are_counted() -> None:
    """One too many is refused, and leaving makes room."""
    places = Places(1)
    with places.one(), pytest.raises(Unavailable):
        places.take()
    with places.one():
        assert places.taken == 1
    assert places.taken == 0


def test_headers_of_one_connection_stay_there() -> None:
    """Hop-by-hop headers go neither way, those that Connection names included."""
    sent = [
        (b"Connection", b"close, X-Named"),
        *((b"X-Named", b"1"), (b"Keep-Alive", b"1"), (b"TE", b"trailers"), (b"Trailer", b"X")),
        *((b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"x"), (b"Transfer-Encoding", b"chunked")),
        *((b"Proxy-Authorization", b"x"), (b"Proxy-Connection", b"x"), (b"X-Kept", b"1")),
    ]
    there = [name for name, _ in request_headers(sent, CLIENT, "10.0.0.5")]
    assert there == [
        *(b"Host", b"X-Kept", b"X-Forwarded-For", b"X-Forwarded-Host"),
        *(b"X-Forwarded-Proto", b"X-Forwarded-Prefix", b"Via"),
    ]
    back = [name for name, _ in response_headers(sent)]
    assert back == [
        *(b"X-Kept", b"Content-Security-Policy", b"X-Content-Type-Options"),
        *(b"Cache-Control", b"Via"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(b"X-Auth-Token", b"x-auth-token", b"X_Auth_Token", b"X-Service-Token", b"Cookie"),
        *(b"X-Forwarded-User", b"X_Forwarded-For", b"Forwarded", b"X-Real-IP", b"Content-Length"),
        *(b"Host", b"Expect", b"X-Consoled-Ticket"),
    ],
)
def test_what_is_consoleds_does_not_reach_an_instance(name: bytes) -> None:
    """No credential, no cookie and no forged word of consoled's goes on."""
    found = request_headers([(name, b"secret")], CLIENT, "10.0.0.5")
    assert b"secret" not in [value for _, value in found]


def test_instance_is_told_who_asks() -> None:
    """Address, host, scheme and prefix of the client, and the instance's own Host."""
    found = request_headers([(b"Authorization", b"Basic x")], CLIENT, "10.0.0.5:8080")
    assert header(found, b"host") == b"10.0.0.5:8080"
    assert header(found, b"authorization") == b"Basic x"
    assert header(found, b"x-forwarded-for") == b"192.0.2.9"
    assert header(found, b"x-forwarded-host") == b"api.example"
    assert header(found, b"x-forwarded-proto") == b"https"
    assert header(found, b"x-forwarded-prefix") == CLIENT.prefix.encode()


def place(address: str = "10.0.0.5", port: int = 80) -> Place:
    """A service of the instance, whose port 8080 may be reached too."""
    return Place(address, port, "api.example", partial(route, VM), lambda p: p in (80, 8080))


ROUTE = f"/v1/servers/{VM}/http/80"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("/", f"{ROUTE}/"),
        ("/a?b=c#d", f"{ROUTE}/a?b=c#d"),
        ("next", f"{ROUTE}/dir/next"),
        ("?q=1", f"{ROUTE}/dir/page?q=1"),
        ("http://10.0.0.5/x", f"{ROUTE}/x"),
        ("HTTP://10.0.0.5:80", f"{ROUTE}/"),
        ("http://10.0.0.5:8080/x", f"/v1/servers/{VM}/http/8080/x"),
        ("https://api.example/x", f"{ROUTE}/x"),
        (f"https://api.example{ROUTE}/x", f"{ROUTE}/x"),
        (f"{ROUTE}/x", f"{ROUTE}/x"),
        (f"{ROUTE}/../../../../sessions", f"{ROUTE}/v1/sessions"),
        ("../../../../v1/sessions", f"{ROUTE}/v1/sessions"),
        ("/%2e%2e/%2E./.%2e/v1", f"{ROUTE}/v1"),
        ("/a/%2e%2e", f"{ROUTE}/"),
        ("\\\\evil.example", f"{ROUTE}/dir/%5C%5Cevil.example"),
        ("/ümlaut x", f"{ROUTE}/%FCmlaut%20x"),
    ],
)
def test_redirects_within_the_instance_stay_below_its_route(sent: str, found: str) -> None:
    """However it is written, the path that the client follows begins with the route."""
    assert rewrite(place(), "/dir/page", sent.encode("latin-1")) == found.encode()


@pytest.mark.parametrize(
    "sent",
    [
        *("//evil.example/", "https://evil.example/", "http://evil.example", "ftp://10.0.0.5/"),
        *("https://10.0.0.5/", "http://10.0.0.5:22/", "http://10.0.0.5@evil.example/"),
        *("http://evil@10.0.0.5/", "javascript:alert(1)", "http://[::1/", "http://10.0.0.5:x/"),
    ],
)
def test_redirects_to_elsewhere_are_none(sent: str) -> None:
    """No key follows to another host, scheme or port."""
    assert rewrite(place(), "/dir/page", sent.encode()) is None


@given(st.text(alphabet="./\\%2eE\t #?@:ahtp", max_size=24))
def test_no_redirect_leaves_the_route(sent: str) -> None:
    """Whatever an instance sends, a client that follows it stays below the route."""
    found = rewrite(place(), "/dir/page", sent.encode("latin-1"))
    if found is not None:
        path = found.decode().partition("?")[0].partition("#")[0]
        assert path.startswith(f"{ROUTE}/")
        assert not {".", ".."} & {s.lower().replace("%2e", ".") for s in path.split("/")}
        assert "\\" not in path


def test_ipv6_instances_are_named_in_brackets() -> None:
    """The Host of an IPv6 address, and redirects to it."""
    there = place("fd00::5", 8080)
    assert there.authority == "[fd00::5]:8080"
    found = rewrite(there, "/", b"http://[fd00::5]:8080/x")
    assert found == f"/v1/servers/{VM}/http/8080/x".encode()


def test_request_is_framed_once() -> None:
    """A body has a length or chunks, and the connection is for this request alone."""
    head = request_head(b"PUT", b"/x?y", [(b"Host", b"a")], 5, body=True)
    assert head == (
        b"PUT /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    )
    assert b"Transfer-Encoding: chunked" in request_head(b"PUT", b"/", [], None, body=True)
    assert b"Content-Length: 0" in request_head(b"POST", b"/", [], None, body=False)
    assert b"Content-Length" not in request_head(b"GET", b"/", [], None, body=False)


@pytest.mark.parametrize(
    ("method", "target"),
    [(b"GET", b"/a b"), (b"GET", b"/a\r\nX: y"), (b"GET", b"x"), (b"GET", b"/#"), (b"G T", b"/")],
)
def test_request_is_one_line(method: bytes, target: bytes) -> None:
    """Nothing in a path begins a second header or a second request."""
    with pytest.raises(ValueError, match="spaces"):
        request_head(method, target, [], None, body=False)


@pytest.mark.parametrize(
    ("method", "head", "expected"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5", (False, 5, 5)),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5", (False, 5, 5)),
        (b"GET", b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked", (True, None, None)),
        (b"GET", b"HTTP/1.0 200 OK", (False, None, None)),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5", (False, 0, 5)),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", (False, 0, None)),
        (b"GET", b"HTTP/1.1 204 None\r\nContent-Length: 5", (False, 0, None)),
        (b"GET", b"HTTP/1.1 304 Same\r\nContent-Length: 5", (False, 0, 5)),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0", (False, 0, 0)),
    ],
)
def test_answer_has_one_length(
    method: bytes, head: bytes, expected: tuple[bool, int | None, int | None]
) -> None:
    """How the body ends, and what the client is told of its length (RFC 9112, section 6.3)."""
    found = parse_head(head, method)
    assert (found.chunked, found.length, found.declared) == expected


@pytest.mark.parametrize(
    "head",
    [
        *(b"SSH-2.0-x", b"HTTP/2 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 200 O\x00K", b""),
        b"HTTP/1.1 200 OK\r\n folded",
        b"HTTP/1.1 200 OK\r\nX : y",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
    ],
)
def test_ambiguous_answers_are_refused(head: bytes) -> None:
    """What another reader could frame in another way is not passed on."""
    with pytest.raises(BadAnswer):
        parse_head(head, b"GET")


def test_one_spelling_of_the_route_streams() -> None:
    """Bodies go on for the route as it is written, and for nothing that only resembles it."""
    assert streams(f"{ROUTE}/a%2Fb?c".encode())
    assert streams(ROUTE.encode())
    for other in (f"{ROUTE}/#x", "/v1/servers/x/h%74tp/80/", "/v1/servers/x/tcp/80", "/x" + ROUTE):
        assert not streams(other.encode())


def test_tunnels_speak_what_is_offered() -> None:
    """Half-closes where the client knows them, bytes alone else."""
    assert choose(["binary", "consoled.tcp.v1"]) == "consoled.tcp.v1"
    assert choose(["binary"]) == "binary"
    assert choose([""]) is None
    with pytest.raises(ValueError, match=r"consoled\.tcp\.v1"):
        choose(["base64"])
    assert is_eof(b'{"type":"eof"}')
    assert not any(map(is_eof, (b"", b"[]", b'{"type": "x"}', b"\xff", b"[" * 100_000)))
