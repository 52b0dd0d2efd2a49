"""Host and Origin: who may open a WebSocket from where (faults.md H1, H2)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consoled.proxy.origin import Origin, OriginRules, Place, origin_of, parse_host, parse_origin

BASE = "https://console.example.org/serial.html"
HOST = "console.example.org"
RULES = OriginRules(BASE)

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{1,8}){0,3}", fullmatch=True)
PORTS = st.integers(1, 65535)


def may(
    origin: str | None, *, rules: OriginRules = RULES, host: str = HOST, url: str = BASE
) -> bool:
    """Whether such a page may connect."""
    return rules.origin_refusal(origin, host, url) is None


# Host


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("a", Place("a", None)),
        ("A.Example.", Place("a.example", None)),
        ("a:80", Place("a", 80)),
        ("127.0.0.1:6083", Place("127.0.0.1", 6083)),
        ("[::1]", Place("::1", None)),
        ("[0:0:0:0:0:0:0:1]:6083", Place("::1", 6083)),
        ("[2001:DB8::A]", Place("2001:db8::a", None)),
        ("xn--bcher-kva.example", Place("xn--bcher-kva.example", None)),
    ],
)
def test_parse_host(header: str, place: Place) -> None:
    """Case, one trailing dot and the spelling of an address make no difference."""
    assert parse_host(header) == place


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":80",
        "a:",
        "a:b",
        "a:0",
        "a:65536",
        "a:999999",
        "a:-1",
        "a b",
        " a",
        "a ",
        "a\t",
        "a\n",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "user@a",
        "@a",
        "http://a",
        "::1",
        "[::1",
        "::1]",
        "[127.0.0.1]",
        "[::1%eth0]",
        "[:]",
        "[]",
        "bücher.example",
        "a\u212a",
        "a%2eb",
        "*",
    ],
)
def test_what_is_no_host(header: str) -> None:
    """Nothing but host[:port] is read, and no host is found within something else."""
    assert parse_host(header) is None


@given(st.text(max_size=30))
def test_any_text_as_host(text: str) -> None:
    """Whatever is read as a host is exactly what was written."""
    place = parse_host(text)
    if place is not None and ":" not in place.host:
        written = text.lower().removesuffix(f":{text.rpartition(':')[2]}") if ":" in text else text
        assert place.host == written.lower().removesuffix(".")


@given(st.ip_addresses(v=6), st.none() | PORTS)
def test_any_address_as_host(address: ipaddress.IPv6Address, port: int | None) -> None:
    """Every IPv6 address has one form, however it is spelt."""
    assume(address.scope_id is None)
    tail = "" if port is None else f":{port}"
    for spelling in (address.compressed, address.exploded, address.exploded.upper()):
        assert parse_host(f"[{spelling}]{tail}") == Place(str(address), port)


@pytest.mark.parametrize(
    "host", [HOST, f"{HOST}:443", f"{HOST}:6083", "CONSOLE.example.org", f"{HOST}."]
)
def test_own_host(host: str) -> None:
    """base_url's own name is served, whatever the port that a forwarding may have."""
    assert RULES.host_refusal(host) is None


FOREIGN_HOSTS = [
    "evil.example",
    "console.example.org.evil.example",
    "evilconsole.example.org",
    "console.example.org-evil.example",
    "console.example.org@evil.example",
    "evil@console.example.org",
    "console.example.org#",
    "console.example.org,evil.example",
    "console.example",
    "example.org",
    "sub.console.example.org",
    "console.example.org..",
    ".console.example.org",
    "127.0.0.1",
    "localhost",
    "",
    "null",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_hosts(host: str) -> None:
    """Every other name is refused, and the operator is told what to do (faults.md H2)."""
    assert "allowed_hosts" in str(RULES.host_refusal(host))


@pytest.mark.parametrize("host", ["proxy-1.internal:6083", "192.0.2.7", "[2001:db8::7]:6083"])
def test_allowed_hosts(host: str) -> None:
    """Further names and addresses of the operator's are served."""
    rules = OriginRules(BASE, allowed_hosts=("proxy-1.internal", "192.0.2.7", "2001:db8::7"))
    assert rules.host_refusal(host) is None
    assert RULES.host_refusal(host) is not None


@pytest.mark.parametrize("host", FOREIGN_HOSTS[:-2])
def test_rebinding(host: str) -> None:
    """A rebound name is not its own witness: Host and Origin of evil do not make it good."""
    assert RULES.host_refusal(host) is not None


# Origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://a", Origin("http", "a", 80)),
        ("https://a", Origin("https", "a", 443)),
        ("HTTPS://A.:443", Origin("https", "a", 443)),
        ("http://a:443", Origin("http", "a", 443)),
        ("ws://a", Origin("http", "a", 80)),
        ("wss://a:6083", Origin("https", "a", 6083)),
        ("http://[::1]:80", Origin("http", "::1", 80)),
    ],
)
def test_parse_origin(text: str, origin: Origin) -> None:
    """Default ports are filled in; ws is http and wss is https."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a:6083/serial.html", Origin("http", "a", 6083)),
        ("ws://127.0.0.1:6083/?token=x", Origin("http", "127.0.0.1", 6083)),
        ("https://a", Origin("https", "a", 443)),
        ("/serial.html", None),
        ("https://user@a/", None),
        ("http://[::1/", None),
        ("ftp://a/", None),
        ("", None),
    ],
)
def test_origin_of_urls(url: str, origin: Origin | None) -> None:
    """A URL's origin is that of its scheme, host and port."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "origin",
    [
        f"https://{HOST}",
        f"https://{HOST}:443",
        f"https://{HOST}.",
        f"HTTPS://{HOST.upper()}",
        f"wss://{HOST}",
    ],
)
def test_own_origin(origin: str) -> None:
    """The page at base_url may connect."""
    assert may(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "evil",
        "https://",
        "https://evil.example",
        f"https://{HOST}.evil.example",
        f"https://evil{HOST}",
        f"https://evil.{HOST}",
        f"https://{HOST}@evil.example",
        f"https://evil@{HOST}",
        f"https://{HOST}:443@evil.example",
        f"https://evil.example/{HOST}",
        f"https://evil.example?{HOST}",
        f"https://evil.example#{HOST}",
        f"https://evil.example\\@{HOST}",
        f"https://{HOST}#",
        f"https://{HOST}/",
        f"https://{HOST}/path",
        f"https://{HOST}?",
        f"https://{HOST}\\",
        f" https://{HOST}",
        f"https://{HOST} ",
        f"https://{HOST}\t",
        f"https://{HOST}, https://evil.example",
        f"https://{HOST} https://evil.example",
        f"https://{HOST},https://{HOST}",
        f"https:{HOST}",
        f"https:/{HOST}",
        f"//{HOST}",
        HOST,
        f"http://{HOST}",
        f"http://{HOST}:443",
        f"ws://{HOST}",
        f"ftp://{HOST}",
        f"file://{HOST}",
        f"chrome-extension://{HOST}",
        f"https://{HOST}:80",
        f"https://{HOST}:6083",
        f"https://{HOST}:0",
        f"https://{HOST}:99999",
        f"https://{HOST}:",
        "https://[::1]",
        "https://127.0.0.1",
        f"https://{HOST}".replace("k", "\u212a").replace("o", "\u043e"),
        f"https://{HOST}\u3002evil.example",
        f"https://[::ffff:1.2.3.4]@{HOST}",
    ],
)
def test_foreign_origins(origin: str) -> None:
    """Evil, null, lookalikes, and a wrong scheme or port are refused (faults.md H1)."""
    assert not may(origin)


@given(st.text(max_size=40))
def test_any_text_as_origin(text: str) -> None:
    """No text but the origin itself, in its few spellings, may connect."""
    if may(text):
        scheme, _, rest = text.lower().partition("://")
        assert scheme in ("https", "wss")
        assert rest.removesuffix(":443").removesuffix(".") == HOST


@given(NAMES, PORTS, st.sampled_from(["http", "https"]))
def test_any_other_origin(name: str, port: int, scheme: str) -> None:
    """Exactly one combination of scheme, name and port is the access URL's."""
    expected = (scheme, name, port) == ("https", HOST, 443)
    assert may(f"{scheme}://{name}:{port}") == expected


@given(NAMES, PORTS, st.sampled_from(["http", "https", "ws", "wss"]))
def test_any_access_url(name: str, port: int, scheme: str) -> None:
    """Wherever the console's URL leads, its own page may connect, and no other scheme or port."""
    url = f"{scheme}://{name}:{port}/serial.html"
    rules = OriginRules(url)
    page = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    other = "http" if page == "https" else "https"
    assert rules.host_refusal(f"{name}:{port}") is None
    assert may(f"{page}://{name}:{port}", rules=rules, host=f"{name}:{port}", url=url)
    assert not may(f"{other}://{name}:{port}", rules=rules, host=f"{name}:{port}", url=url)
    neighbour = port % 65535 + 1
    assert not may(f"{page}://{name}:{neighbour}", rules=rules, host=f"{name}:{port}", url=url)


def test_missing_origin() -> None:
    """Programs send none: allowed unless the operator says otherwise."""
    assert may(None)
    assert not may(None, rules=OriginRules(BASE, allow_missing=False))


def test_empty_is_not_missing() -> None:
    """An Origin without a value is no reason to let anyone in."""
    assert not may("")


def test_page_at_an_allowed_host() -> None:
    """The page reached by another name of the proxy connects to that same name and port."""
    rules = OriginRules("http://console.example.org:6083/", allowed_hosts=("proxy-1",))
    url = rules.base_url
    assert may("http://proxy-1:6083", rules=rules, host="proxy-1:6083", url=url)
    assert not may("http://proxy-1:6084", rules=rules, host="proxy-1:6083", url=url)
    assert not may("http://proxy-1:6083", rules=rules, host="proxy-2:6083", url=url)
    assert not may("https://proxy-1:6083", rules=rules, host="proxy-1:6083", url=url)


def test_default_port_of_the_host() -> None:
    """A Host without a port stands for the scheme's own, behind a TLS load balancer too."""
    rules = OriginRules(BASE, allowed_hosts=("proxy-1",))
    assert may("https://proxy-1", rules=rules, host="proxy-1")
    assert not may("https://proxy-1:80", rules=rules, host="proxy-1")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://dashboard.example.org", True),
        ("https://dashboard.example.org:8443", True),
        ("https://DASHBOARD.example.org", True),
        ("http://dashboard.example.org", False),
        ("https://dashboard.example.org.evil.example", False),
        ("https://evil.dashboard.example.org", False),
        ("https://[2001:db8::7]:8443", True),
        ("https://[2001:db8::8]:8443", False),
    ],
)
def test_allowed_host_names(origin: str, allowed: bool) -> None:
    """nova's form, a bare name or address: every port of it, but only the access URL's scheme."""
    rules = OriginRules(BASE, allowed_origins=("Dashboard.example.org.", "2001:db8::7"))
    assert may(origin, rules=rules) == allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://dashboard.example.org:8080", True),
        ("http://dashboard.example.org:8081", False),
        ("https://dashboard.example.org:8080", False),
        ("http://dashboard.example.org", False),
        ("https://other.example.org", True),
        ("https://other.example.org:443", True),
    ],
)
def test_allowed_full_origins(origin: str, allowed: bool) -> None:
    """A full entry means exactly that origin, another scheme than the access URL's included."""
    rules = OriginRules(
        BASE, allowed_origins=("http://dashboard.example.org:8080", "https://other.example.org")
    )
    assert may(origin, rules=rules) == allowed


@pytest.mark.parametrize("entry", ["null", "*", "", "https://", "https://*", "://", "[", "a b"])
def test_useless_entries(entry: str) -> None:
    """An entry that names nothing lets nobody in."""
    rules = OriginRules(BASE, allowed_hosts=(entry,), allowed_origins=(entry,))
    assert not may("https://evil.example", rules=rules)
    assert not may("null", rules=rules)
    assert rules.host_refusal("evil.example") is not None
    assert rules.host_refusal("") is not None


def test_unusable_access_url() -> None:
    """A token without a usable access URL opens nothing from a page."""
    assert not may(f"https://{HOST}", url="")


def test_rules_are_not_changed() -> None:
    """Judging keeps no state: nova once grew its list of allowed origins with every request."""
    rules = OriginRules(BASE, allowed_origins=("dashboard",))
    before = repr(rules)
    for _ in range(3):
        may("https://a", rules=rules, host="a")
    assert repr(rules) == before
