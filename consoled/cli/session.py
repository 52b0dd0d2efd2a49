"""``consolectl session``: who is on which console, and how to disconnect them."""

from __future__ import annotations

import click

from consoled.cli.api import path
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import Column

SESSIONS = (
    Column("id", "ID"),
    Column("server_id", "SERVER"),
    Column("console_index", "CONSOLE"),
    Column("console_type", "TYPE"),
    Column("user_id", "USER", shrinks=True),
    Column("project_id", "PROJECT", shrinks=True),
    Column("role", "ROLE"),
    Column("since", "SINCE"),
    Column("state", "STATE"),
)


@click.group()
def session() -> None:
    """Sessions on consoles."""


@session.command("list")
@format_option
@pass_invocation
def list_sessions(invocation: Invocation) -> None:
    """List the sessions that the key may see."""
    sessions = invocation.api().get_list(path("v1", "sessions"), "sessions")
    invocation.show_table(SESSIONS, sessions, "There are no sessions that this key may see.")


@session.command("kill")
@click.argument("session", metavar="SESSION", required=False)
@click.option("--server", metavar="SERVER", help="All sessions of this server, a name or uuid.")
@format_option
@pass_invocation
def kill_sessions(invocation: Invocation, session: str | None, server: str | None) -> None:
    """Disconnect SESSION, an id of the list, or all of a server."""
    if (session is None) == (server is None):
        raise click.UsageError("name one SESSION, or a server with --server")
    api = invocation.api()
    if server is None:
        route = path("v1", "sessions", session)
    else:
        route = path("v1", "servers", server_id(api, server), "sessions")
    ended = api.delete_list(route, "sessions")
    invocation.show_table(SESSIONS, ended, "This server has no sessions.")
