"""``[ssh_proxy] proxy_command``: split first, filled in afterwards."""

from __future__ import annotations

import pytest

from consoled.reaching.commands import ProxyCommand, Unfilled

VALUES = {
    "host": "10.0.0.5",
    "port": "22",
    "tenant_id": "demo",
    "network_id": None,
    "router_id": "8c1f",
}


def test_the_usual_command() -> None:
    """The places of an argument are filled in; braces can be written."""
    command = ProxyCommand.parse(
        "ip netns exec qrouter-{router_id} nc '{host}' {port} 'a b' {{{tenant_id}}}"
    )
    assert command.fill(VALUES) == (
        *("ip", "netns", "exec", "qrouter-8c1f", "nc", "10.0.0.5", "22", "a b", "{demo}"),
    )
    assert command.names == {"router_id", "host", "port", "tenant_id"}


def test_what_is_filled_in_stays_one_argument() -> None:
    """Nothing that a tenant could name becomes an option, a second argument or a command."""
    command = ProxyCommand.parse("nc {tenant_id} {host}")
    for bad in ("a b", "-e/bin/sh", "$(id)", "a;b", "", "{host}", "a\nb", "a\0", "'", "é"):
        with pytest.raises(Unfilled, match=r"\{tenant_id\} holds what could be more"):
            command.fill({**VALUES, "tenant_id": bad})
    assert command.fill({**VALUES, "host": "2001:db8::5"})[2] == "2001:db8::5"


def test_what_is_not_known() -> None:
    """A place without a value ends the attempt; the command is never run with a gap."""
    with pytest.raises(Unfilled, match=r"\{network_id\} is not known"):
        ProxyCommand.parse("x {network_id}").fill(VALUES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nc {hots}", "a place that is not known; there are {host}"),
        ("nc {host.x}", "a place that is not known"),
        ("nc {host[0]}", "a place that is not known"),
        ("nc {host!r}", "a place that is not known"),
        ("nc {host:>9}", "a place that is not known"),
        ("nc {}", "a place that is not known"),
        ("nc {host", "a brace without its second one"),
        ("nc host}", "a brace without its second one"),
        ("nc 'x", "a quotation mark without its second one"),
        ("'' x", "is empty"),
        (" ", "is empty"),
        ("{host} x", "must begin with the program's own name"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    """A mistake is told when the configuration is read."""
    with pytest.raises(ValueError, match=problem):
        ProxyCommand.parse(text)


def test_it_is_a_value() -> None:
    """Settings with it can be compared and hashed."""
    one, two = ProxyCommand.parse("nc {host}"), ProxyCommand.parse("nc {host}")
    assert one == two
    assert hash(one) == hash(two)
    assert one != ProxyCommand.parse("nc {port}")
