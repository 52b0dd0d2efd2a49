"""consolectl ssh scan: how a server is named, and what is said when there is none."""

from __future__ import annotations

import socket

import click
import pytest
from cli_client import run

from consoled.cli.ssh import parse_place


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("gate", "gate", 22),
        ("gate.example.org:2222", "gate.example.org", 2222),
        ("10.0.0.5:22", "10.0.0.5", 22),
        ("2001:db8::5", "2001:db8::5", 22),
        ("[2001:db8::5]", "2001:db8::5", 22),
        ("[2001:db8::5]:2222", "2001:db8::5", 2222),
        ("[fe80::5%eth0]:22", "fe80::5%eth0", 22),
    ],
)
def test_places(place: str, host: str, port: int) -> None:
    """A name or an address, with a port or without."""
    assert parse_place(place) == (host, port)


@pytest.mark.parametrize(
    "place", ["", "gate:", "gate:ssh", "gate:70000", "gate:0", "[gate]", "a b"]
)
def test_places_that_are_none(place: str) -> None:
    """A usage error names what was given."""
    with pytest.raises(click.UsageError):
        parse_place(place)


def test_nobody_listens() -> None:
    """One line says so."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = run(["ssh", "scan", f"127.0.0.1:{port}"])
    assert done.exit_code == 1
    assert done.stderr == (f"consolectl: The SSH server 127.0.0.1:{port} refused the connection.\n")
