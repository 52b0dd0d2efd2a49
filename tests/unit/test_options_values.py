"""The rules for single values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consoled import values
from consoled.compute.port_range import PortRange

GOOD: list[tuple[Callable[[str], Any], str, Any]] = [
    (values.boolean, "Yes", True),
    (values.boolean, "0", False),
    (values.whole(0, 65535), " 0 ", 0),
    (values.whole(0, 65535), "65535", 65535),
    (values.number(0.1, 300, "seconds"), "0.5", 0.5),
    (values.choice("libvirt", "static"), "static", "static"),
    (values.ip_address, "[::1]", "::1"),
    (values.ip_address, "0.0.0.0", "0.0.0.0"),
    (values.ip_network, "10.0.0.0/8", "10.0.0.0/8"),
    (values.ip_network, "::1", "::1/128"),
    (values.host, "Console.Example.ORG.", "console.example.org"),
    (values.host, "[::1]", "::1"),
    (values.base_url, "http://127.0.0.1:6083/serial.html", "http://127.0.0.1:6083/serial.html"),
    (values.base_url, "wss://console.example.org", "wss://console.example.org/"),
    (values.base_url, "https://[::1]:6083/a/b", "https://[::1]:6083/a/b"),
    (values.origin, "HTTPS://Dash.example.org:443", "https://dash.example.org"),
    (values.origin, "http://dash:8080", "http://dash:8080"),
    (values.memcache_server, "Cache:11211", "cache:11211"),
    (values.memcache_server, "inet:10.0.0.5:11211", "10.0.0.5:11211"),
    (values.memcache_server, "[::1]:11211", "inet6:[::1]:11211"),
    (values.memcache_server, "inet6:[::1]:1", "inet6:[::1]:1"),
    (values.memcache_server, "unix:/run/memcached.sock", "unix:/run/memcached.sock"),
    (values.origin_or_host, "Dash", "dash"),
    (values.origin_or_host, "http://[::1]:80", "http://[::1]"),
    (values.frame_ancestor, "self", "'self'"),
    (values.frame_ancestor, "'self'", "'self'"),
    (values.items(values.host), " a, b,\n c, a ,", ("a", "b", "c")),
    (values.items(values.host), "", ()),
    (values.port_range, "10000:20000", PortRange(((10000, 20000),))),
    (values.port_range, "1:65536", PortRange(((1, 65536),))),
    (values.port_range, " 20:30, 1:5", PortRange(((1, 5), (20, 30)))),
    (values.uri, "qemu+ssh://root@host/system", "qemu+ssh://root@host/system"),
    (values.optional(values.host), " ", None),
    (values.path, "/a/../b", Path("/b")),
]

BAD: list[tuple[Callable[[str], Any], str, str]] = [
    (values.boolean, "maybe", "neither true nor false"),
    (values.boolean, "", "is empty"),
    (values.whole(0, 65535), "65536", "whole number from 0 to 65535"),
    (values.whole(0, 65535), "-1", "whole number"),
    (values.whole(0, 65535), "1_0", "whole number"),
    (values.whole(0, 65535), "\N{FULLWIDTH DIGIT SIX}083", "whole number"),
    (values.whole(1, 9, "seconds"), "x", "whole number of seconds from 1 to 9"),
    (values.number(0.1, 300, "seconds"), "nan", "number of seconds from 0.1 to 300"),
    (values.number(0.1, 300, "seconds"), "inf", "number of seconds"),
    (values.choice("libvirt", "static"), "statik", "is not one of libvirt, static"),
    (values.ip_address, "localhost", "no name, no port"),
    (values.ip_address, "127.0.0.1:80", "no port"),
    (values.ip_network, "10.0.0.1/8", "the network is 10.0.0.0/8"),
    (values.ip_network, "x", "not an IP address or network"),
    (values.host, "a:80", "no port"),
    (values.host, "*.example.org", "list each host"),
    (values.host, "a..b", "is not a host"),
    (values.host, "a" * 64, "is not a host"),
    (values.base_url, "ftp://host/", "does not start with http://HOST"),
    (values.base_url, "host:6083/serial.html", "does not start with http://HOST"),
    (values.base_url, "http://user:pw@host/", "user name or password"),
    (values.base_url, "http://host/?token=", "without"),
    (values.base_url, "http://host/#x", "without"),
    (values.base_url, "http://host:99999/", "valid host and port"),
    (values.base_url, "http://host:0/", "port 0"),
    (values.base_url, "http://[::1/", "valid host and port"),
    (values.base_url, "http://a b/", "%20"),
    (values.base_url, "http://-/", "valid host"),
    (values.origin, "https://dash/", "give https://dash"),
    (values.origin, "ws://dash", "does not start with"),
    (values.memcache_server, "10.0.0.5", "has no port"),
    (values.memcache_server, "cache:0", "has no port"),
    (values.memcache_server, "cache:65536", "has no port"),
    (values.memcache_server, "::1:11211", "without brackets"),
    (values.memcache_server, "a b:11211", "valid host"),
    (values.memcache_server, ":11211", "valid host"),
    (values.memcache_server, "unix:memcached.sock", "whole path"),
    (values.frame_ancestor, "https://*.example.org", "is a pattern"),
    (values.items(values.host), "a, *", "holds '*', which is a pattern"),
    (values.port_range, "10000", "START:STOP"),
    (values.port_range, "10000-20000", "START:STOP"),
    (values.port_range, "5:5", "START must be below STOP"),
    (values.port_range, "0:10", "leaves the ports"),
    (values.port_range, "1:65537", "leaves the ports"),
    (values.port_range, "1:9,5:20", "holds ports twice"),
    (values.uri, "qemu", "qemu:///system"),
    (values.path, "", "is empty"),
    (values.path, "a\x00b", "control character"),
    (values.path, "a\nb", "indented line"),
]

RULES = sorted({rule for rule, _, _ in GOOD}, key=lambda rule: rule.__qualname__)


@pytest.mark.parametrize(("rule", "text", "expected"), GOOD)
def test_good_values_are_normalised(
    rule: Callable[[str], Any], text: str, expected: object
) -> None:
    """Every rule takes what it should, in the one form that the code uses."""
    assert rule(text) == expected


@pytest.mark.parametrize(("rule", "text", "problem"), BAD)
def test_bad_values_say_what_is_wrong(rule: Callable[[str], Any], text: str, problem: str) -> None:
    """A bad value is refused with a sentence that names the rule."""
    with pytest.raises(ValueError, match=r"^(is|holds|has|leaves|does|runs) ") as caught:
        rule(text)
    assert problem in str(caught.value)


@settings(deadline=None)
@given(st.sampled_from(RULES), st.text())
def test_arbitrary_text_is_taken_or_refused(rule: Callable[[str], Any], text: str) -> None:
    """No text makes a rule raise anything but its own one-line sentence."""
    try:
        rule(text)
    except ValueError as error:
        assert type(error) is ValueError
        assert "\n" not in str(error)


@settings(deadline=None)
@given(st.sampled_from([values.base_url, values.origin, values.host]), st.text(max_size=20))
def test_hosts_never_hide_something(rule: Callable[[str], Any], text: str) -> None:
    """Whatever a URL, origin or host rule lets through has no user, space or control character."""
    try:
        result = rule(f"http://{text}" if rule is not values.host else text)
    except ValueError:
        return
    assert result.isprintable()
    assert " " not in result
    assert "@" not in result.split("/")[2 if "://" in result else 0]
