"""``consolectl forward``: local TCP ports that lead to ports of an instance."""

from __future__ import annotations

import re
from ipaddress import ip_address

import click
from attrs import frozen

from consoled.cli.api import path
from consoled.cli.failure import warn
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id

LOOPBACK = "127.0.0.1"

_SPEC = re.compile(
    r"(?:(?P<bind>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):)?(?P<local>[0-9]{1,5}):(?P<port>[0-9]{1,5})",
    re.ASCII,
)
_LAST = 65535


@frozen
class Spec:
    """One local port.

    :ivar bind: the address to listen on, without brackets.
    :ivar local: the port to listen on; 0 takes any free one.
    :ivar port: the instance's.
    """

    bind: str
    local: int
    port: int

    @property
    def loopback(self) -> bool:
        """Whether this machine alone can connect to it."""
        return ip_address(self.bind).is_loopback


def parse_spec(text: str) -> Spec:
    """``[BIND:]LOCAL_PORT:PORT``, as ``ssh -L`` has it but for the host.

    :raises ValueError: a sentence that says what to write instead.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not [BIND:]LOCAL_PORT:PORT; give one such as 2222:22 or [::1]:8080:80"
        )
    bind = (match["bind"] or LOOPBACK).removeprefix("[").removesuffix("]")
    bind = LOOPBACK if bind == "localhost" else bind
    try:
        bind = str(ip_address(bind))
    except ValueError:
        raise ValueError(f"{bind!r} is not an IP address to listen on") from None
    local, port = int(match["local"]), int(match["port"])
    if local > _LAST or not 1 <= port <= _LAST:
        raise ValueError(f"a port in {text!r} is outside 1 to {_LAST} (LOCAL_PORT may be 0)")
    return Spec(bind, local, port)


def _specs(
    _context: click.Context, _argument: click.Parameter, value: tuple[str, ...]
) -> tuple[Spec, ...]:
    try:
        return tuple(map(parse_spec, value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(short_help="Make ports of a server local ones.")
@click.argument("server", metavar="SERVER")
@click.argument(
    "specs", metavar="[BIND:]LOCAL_PORT:PORT...", nargs=-1, required=True, callback=_specs
)
@format_option
@pass_invocation
def forward(invocation: Invocation, server: str, specs: tuple[Spec, ...]) -> None:
    """Listen on LOCAL_PORT and connect whoever comes to PORT of SERVER, a name or uuid.

    It listens on 127.0.0.1 unless BIND is another address; LOCAL_PORT 0 takes a free port. Each
    connection goes its own way through the API, any number at once. ^C ends it. What happens is
    said on the standard error stream, a line each; with --format json on the standard output, an
    object a line.
    """
    api = invocation.api()
    uuid = server_id(api, server)
    name = server
    for spec in specs:
        # It says now what would otherwise be said to the first who connects.
        allowed = api.get(path("v1", "servers", uuid, "tcp", spec.port), "tunnel")
        name = str(allowed.get("server_name") or server)
        if not spec.loopback:
            warn(f"whoever reaches {spec.bind} can use port {spec.port} of {name} with your key")
    # Late: it brings a reactor, and takes longer to import than most commands take to run.
    from consoled.cli.tunnels import run_tunnels

    run_tunnels(api.endpoint, uuid, name, specs, wants_json=invocation.wants_json)
