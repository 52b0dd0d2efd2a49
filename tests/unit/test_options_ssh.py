"""``[ssh_proxy]`` from files to Settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.errors import ConfigError
from consoled.options import load
from consoled.options.ssh import nodes
from consoled.settings import SSHNode, SSHProxy


def settings(tmp_path: Path, text: str) -> SSHProxy:
    """The group of a file."""
    path = tmp_path / "consoled.conf"
    path.write_text(f"[ssh_proxy]\n{text}\n")
    return load("cell1", [path], {}).ssh_proxy


def refusal(tmp_path: Path, text: str) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nodes() -> None:
    """User, host and port; IPv6 in brackets; each once, in their order."""
    assert nodes("jump@10.0.0.5, a.b@GW.example.org:2222,\nu@[2001:db8::5], u@[::1]:1") == (
        SSHNode("jump", "10.0.0.5", 22),
        SSHNode("a.b", "gw.example.org", 2222),
        SSHNode("u", "2001:db8::5", 22),
        SSHNode("u", "::1", 1),
    )
    assert nodes("u@a, u@a:22, u@b") == (SSHNode("u", "a"), SSHNode("u", "b"))
    assert nodes("") == nodes(" ,\n") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.5", "does not begin with a user's name and @"),
        ("@10.0.0.5", "does not begin with a user's name"),
        ("-x@10.0.0.5", "does not begin with a user's name"),
        ("u:p@10.0.0.5", "does not begin with a user's name"),
        ("u@", "does not hold a valid host"),
        ("u@a:0", "has no port from 1 to 65535"),
        ("u@a:65536", "has no port"),
        ("u@a:x", "has no port"),
        ("u@a:", "does not end with a host, or a host and a port"),
        ("u@2001:db8::5", "an IPv6 address without brackets"),
        ("u@[2001:db8::5", "does not end with a host"),
        ("u@[2001:db8::5]22", "does not end with a host"),
        ("u@[2001:db8::5]:", "does not end with a host"),
        ("u@*", "does not hold a valid host"),
        ("u@a, u@b:0", "holds 'u@b:0', which has no port"),
    ],
)
def test_nodes_that_are_none(text: str, problem: str) -> None:
    """Each mistake is told with what to write."""
    with pytest.raises(ValueError, match="give one such as jump@") as caught:
        nodes(text)
    assert problem in str(caught.value)


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Whatever stands there is nodes or a sentence."""
    try:
        found = nodes(text)
    except ValueError as error:
        assert "give one such as" in str(error)
    else:
        assert all(1 <= node.port <= 65535 and node.user and node.host for node in found)


def test_a_whole_group(tmp_path: Path) -> None:
    """Every option has its value."""
    found = settings(
        tmp_path,
        "nodes = jump@10.0.0.5\nkey_file = /k\nkey_passphrase_file = /p\nknown_hosts = /h\n"
        "method = nc\nproxy_command = nc {host} {port}\nkeys_dir = /keys\n"
        "secret_key_file = /s\nallowed_networks = 10.0.0.0/24, ::1\nlinger = 5\n"
        "connect_timeout = 2\nkeepalive_interval = 3\nkeepalive_count = 4\nmax_channels = 5\n"
        "retry_after = 6",
    )
    assert found.nodes == (SSHNode("jump", "10.0.0.5"),)
    assert found.allowed_networks == ("10.0.0.0/24", "::1/128")
    assert found.proxy_command is not None
    assert found.proxy_command.text == "nc {host} {port}"
    assert (found.key_file, found.known_hosts, found.keys_dir, found.secret_key_file) == (
        *(Path("/k"), Path("/h"), Path("/keys"), Path("/s")),
    )
    assert (found.method, found.linger, found.max_channels, found.keepalive_count) == (
        *("nc", 5.0, 5, 4),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nodes = u@a\nknown_hosts = /h\ngroup = g", "stands beside nodes"),
        ("nodes = u@a", "needs known_hosts"),
        ("key_file = /k", "is for nodes, and there are none"),
        ("known_hosts = /h", "is for nodes, and there are none"),
        ("nodes = u@a\nknown_hosts = /h\nkey_passphrase_file = /p", "set key_file as well"),
        ("proxy_command = nc {hots}", "has a place that is not known; there are {host}"),
        ("proxy_command = nc 'x", "has a quotation mark without its second one"),
        ("nodes = 10.0.0.5", "does not begin with a user's name and @"),
        ("method = telnet", "is not one of auto, direct, nc"),
        ("allowed_networks = 10.0.0.1/24", "the network is 10.0.0.0/24"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """A contradiction is told before anything listens, with its file and line."""
    assert problem in refusal(tmp_path, text)
    assert f"{tmp_path}/consoled.conf:" in refusal(tmp_path, text)
