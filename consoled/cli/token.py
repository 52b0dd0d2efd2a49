"""``consolectl token``: the right to open a console, given, looked at and taken back."""

from __future__ import annotations

import re

import click

from consoled.cli.api import path
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import Column
from consoled.model import OBSERVER

ISSUED = (
    Column("id", "ID"),
    Column("server_id", "SERVER"),
    Column("console_index", "CONSOLE"),
    Column("role", "ROLE"),
    Column("expires_at", "EXPIRES"),
    Column("url", "URL"),
)

TOKEN = (
    Column("id", "ID"),
    Column("server_id", "SERVER"),
    Column("console_index", "CONSOLE"),
    Column("role", "ROLE"),
    Column("user_id", "USER", shrinks=True),
    Column("project_id", "PROJECT", shrinks=True),
    Column("created_at", "CREATED"),
    Column("expires_at", "EXPIRES"),
    Column("used", "USED"),
)

_PREFIX = re.compile(r"[0-9a-f]{12,64}", re.ASCII)


def _check_prefix(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    prefix = value.lower()
    if not _PREFIX.fullmatch(prefix):
        # What was typed may be the token itself, so it is neither sent nor repeated.
        raise click.BadParameter(
            "this is no token's id: 12 or more hex digits, as `token issue` and the logs show it"
        )
    return prefix


_prefix_argument = click.argument("prefix", metavar="PREFIX", callback=_check_prefix)


@click.group()
def token() -> None:
    """Tokens: each is the right to open one console."""


@token.command("issue")
@click.argument("server", metavar="SERVER")
@click.option(
    "--index",
    type=click.IntRange(0, 99999),
    metavar="N",
    help="Which console, as `server consoles` numbers them; without it the daemon chooses.",
)
@click.option(
    "--observe", is_flag=True, help="To watch only, also where somebody else has the console."
)
@format_option
@pass_invocation
def issue_token(invocation: Invocation, server: str, index: int | None, observe: bool) -> None:
    """Make a token for a console of SERVER, a name or uuid.

    Its URL is shown this once; whoever has it can open the console until it expires. With
    --observe they see what is going on there, and what they type reaches nobody.
    """
    api = invocation.api()
    servers = ("v1", "servers", server_id(api, server))
    if index is None:
        route = path(*servers, "tokens")
    else:
        route = path(*servers, "consoles", index, "tokens")
    wish = {"token": {"role": OBSERVER}} if observe else None
    invocation.show_object(ISSUED, api.post(route, "token", wish))


@token.command("show")
@_prefix_argument
@format_option
@pass_invocation
def show_token(invocation: Invocation, prefix: str) -> None:
    """Show for what the token is whose id is PREFIX, and until when."""
    invocation.show_object(TOKEN, invocation.api().get(path("v1", "tokens", prefix), "token"))


@token.command("revoke")
@_prefix_argument
@format_option
@pass_invocation
def revoke_token(invocation: Invocation, prefix: str) -> None:
    """Take back the token whose id is PREFIX: it opens no further session.

    A session that it has opened goes on; `session kill` ends it.
    """
    invocation.api().delete(path("v1", "tokens", prefix))
    invocation.show({"id": prefix}, f"Token {prefix} is revoked.")
