"""``consolectl server``: instances and their consoles."""

from __future__ import annotations

import click

from consoled.cli.api import path
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import Column

SERVERS = (
    Column("id", "ID"),
    Column("name", "NAME", shrinks=True),
    Column("status", "STATUS"),
    Column("project_id", "PROJECT", shrinks=True),
    Column("host", "HOST", shrinks=True),
    Column("addresses", "ADDRESSES", shrinks=True),
)

CONSOLES = (
    Column("index", "INDEX"),
    Column("type", "TYPE"),
    Column("kind", "KIND"),
    Column("state", "STATE"),
    Column("host", "HOST"),
    Column("port", "PORT"),
)


@click.group()
def server() -> None:
    """Instances and their consoles."""


@server.command("list")
@format_option
@pass_invocation
def list_servers(invocation: Invocation) -> None:
    """List the instances that the key may see."""
    servers = invocation.api().get_list(path("v1", "servers"), "servers")
    invocation.show_table(SERVERS, servers, "There are no servers that this key may see.")


@server.command("consoles")
@click.argument("server", metavar="SERVER")
@format_option
@pass_invocation
def list_consoles(invocation: Invocation, server: str) -> None:
    """List the consoles of SERVER, a name or uuid."""
    api = invocation.api()
    route = path("v1", "servers", server_id(api, server), "consoles")
    consoles = api.get_list(route, "consoles")
    invocation.show_table(CONSOLES, consoles, "This server has no consoles.")
