"""``consolectl ssh``: the host keys of SSH servers, before they are trusted."""

from __future__ import annotations

import re
from typing import Any

import click

from consoled.cli.failure import Failure
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.errors import ConsoledError
from consoled.transports.ssh.host_keys import SSH_PORT, fingerprint, key_type, known_line

TIMEOUT = 10.0
"""Seconds that a server is given for each type of key."""

_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%\w+)?"
_PLACE = re.compile(
    rf"\[(?P<inside>{_IPV6})\](:(?P<port>[0-9]{{1,5}}))?"
    rf"|(?P<name>[^\s:\[\]]+)(:(?P<its_port>[0-9]{{1,5}}))?"
    rf"|(?P<bare>{_IPV6})",
    re.ASCII,
)


@click.group()
def ssh() -> None:
    """SSH servers that lead to consoles and instances."""


@ssh.command("scan")
@click.argument("place", metavar="HOST[:PORT]")
@format_option
@pass_invocation
def scan_host_keys(invocation: Invocation, place: str) -> None:
    """Show the host keys of an SSH server, and the lines that accept them.

    Nobody vouches for them: compare the fingerprints with those that
    "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" shows on the server itself.
    """
    host, port = parse_place(place)
    rows = [
        {
            "type": key_type(blob),
            "fingerprint": fingerprint(blob),
            "line": known_line(host, port, blob),
        }
        for blob in _scan(host, port)
    ]
    people = "\n".join(f"# {row['fingerprint']} ({row['type']})\n{row['line']}" for row in rows)
    invocation.show(rows, people)


def parse_place(place: str) -> tuple[str, int]:
    """Host and port of an argument; an IPv6 address with a port stands in brackets.

    :raises click.UsageError: it is neither.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        raise click.UsageError(f"{place!r} is not HOST, HOST:PORT or [ADDRESS]:PORT")
    host = match["inside"] or match["name"] or match["bare"]
    port = int(match["port"] or match["its_port"] or SSH_PORT)
    if not 1 <= port <= 65535:
        raise click.UsageError(f"{port} is not a port from 1 to 65535")
    return host, port


def _scan(host: str, port: int) -> list[bytes]:
    # Late: Twisted and cryptography take longer to import than most commands take to run.
    from twisted.internet.defer import Deferred
    from twisted.internet.selectreactor import SelectReactor

    from consoled.transports.ssh.scan import scan

    reactor: Any = SelectReactor()
    found: list[Any] = []

    def begin() -> None:
        scanned = Deferred.fromCoroutine(scan(reactor, host, port, TIMEOUT))
        scanned.addBoth(found.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    [outcome] = found
    if not isinstance(outcome, list):
        error = outcome.value
        if isinstance(error, ConsoledError):
            raise Failure(str(error)) from None
        outcome.raiseException()
    keys: list[bytes] = outcome
    return keys
