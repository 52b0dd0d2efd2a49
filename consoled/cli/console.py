"""``consolectl get-serial-console``: the client command of the serial-ports specification."""

from __future__ import annotations

import click

from consoled.cli.api import path
from consoled.cli.failure import Failure
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import printable
from consoled.model import SERIAL

TYPES = (SERIAL,)


def _check_type(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    if value not in TYPES:
        raise click.BadParameter(f"{value!r} is not a type of console; there is: {SERIAL}")
    return value


@click.command("get-serial-console", short_help="Print a URL that opens a console.")
@click.argument("server", metavar="SERVER")
@click.argument(
    "console_type",
    metavar="[CONSOLE-TYPE]",
    default=SERIAL,
    callback=_check_type,
    expose_value=False,
)
@click.option(
    "--index",
    type=click.IntRange(0, 99999),
    metavar="N",
    help="Which console, as `server consoles` numbers them; without it the daemon chooses.",
)
@click.option("--open", "open_", is_flag=True, help="Also open the URL in the browser.")
@format_option
@pass_invocation
def get_serial_console(invocation: Invocation, server: str, index: int | None, open_: bool) -> None:
    """Print a URL that opens a console of SERVER, a name or uuid.

    The URL holds a token: whoever has it can open the console until it expires. CONSOLE-TYPE
    is serial, the only one there is.
    """
    api = invocation.api()
    uuid = server_id(api, server)
    if index is None:
        made = api.post(path("v3", "servers", uuid, "get-serial-console"), "serial_console")
    else:
        made = api.post(path("v1", "servers", uuid, "consoles", index, "tokens"), "token")
    url = str(made.get("url"))
    invocation.show(made, printable(url))
    if open_:
        _open(invocation, url)


def _open(invocation: Invocation, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise Failure(
            "this URL is for WebSocket clients and no browser can open it: [serial_console] "
            "base_url of the daemon begins with ws"
        )
    if invocation.outside.launch(url) != 0:
        raise Failure("no browser could be started here; open the URL above")
