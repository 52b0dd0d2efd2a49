"""X-Forwarded-* headers: believed from trusted peers only (faults.md H11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.proxy.forwarded import TrustedProxies

NOBODY = TrustedProxies()
TRUSTED = TrustedProxies(("10.0.0.0/8", "192.0.2.7", "2001:db8::/32"))
ADDRESSES = st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("11.0.0.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.0.0.1", False),
        ("", False),
        ("localhost", False),
        ("10.1.2.3, 10.1.2.3", False),
    ],
)
def test_trusts(peer: str, trusted: bool) -> None:
    """Addresses, networks, and IPv4 in its IPv6 mapping."""
    assert TRUSTED.trusts(peer) == trusted
    assert not NOBODY.trusts(peer)


@given(ADDRESSES, st.lists(st.text(max_size=20) | ADDRESSES), st.lists(st.text(max_size=20)))
def test_untrusted_peers(peer: str, chain: list[str], hosts: list[str]) -> None:
    """Whatever an untrusted peer sends, it is itself and its Host is what it said."""
    assert NOBODY.client(peer, chain) == peer
    assert NOBODY.host(peer, "console", hosts) == "console"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([], "10.0.0.1"),
        (["198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        (["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        (["203.0.113.1, 198.51.100.1"], "198.51.100.1"),
        (["evil", "198.51.100.1"], "198.51.100.1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["198.51.100.1, unknown"], "10.0.0.1"),
        (["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        (["198.51.100.1:4711"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([","], "10.0.0.1"),
        (["[2001:db9::1]"], "2001:db9::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        (["1.2.3.4\r\nX: y"], "10.0.0.1"),
    ],
)
def test_chains(chain: list[str], client: str) -> None:
    """The client is the last hop that no trusted proxy added itself; what is no address ends it."""
    assert TRUSTED.client("10.0.0.1", chain) == client


@given(st.lists(st.text(max_size=30), max_size=5), ADDRESSES)
def test_invented_hops_do_not_count(invented: list[str], real: str) -> None:
    """What a client put into the header itself never hides its own address."""
    if not TRUSTED.trusts(real):
        mapped = TrustedProxies(TRUSTED.networks)  # type: ignore[arg-type]  # networks are converted again
        assert mapped.client("10.0.0.1", [*invented, real]) == TRUSTED.client("10.0.0.1", [real])


@pytest.mark.parametrize(
    ("values", "host"),
    [
        ([], "inner"),
        (["console.example.org"], "console.example.org"),
        (["console.example.org:8443"], "console.example.org:8443"),
        (["evil", "console.example.org"], "console.example.org"),
        (["evil, console.example.org"], "console.example.org"),
        ([""], ""),
    ],
)
def test_forwarded_host(values: list[str], host: str) -> None:
    """The Host that the nearest trusted proxy names is the one that was asked for."""
    assert TRUSTED.host("10.0.0.1", "inner", values) == host
    assert TRUSTED.host("11.0.0.1", "inner", values) == "inner"
