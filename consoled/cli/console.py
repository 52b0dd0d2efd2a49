"""``consolectl get-serial-console`` of the serial-ports specification, and ``console break``."""

from __future__ import annotations

import click

from consoled.cli.api import path
from consoled.cli.failure import Failure
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import Column, printable
from consoled.errors import BadRequest
from consoled.model import SERIAL, SHELL
from consoled.sysrq import check_key

TYPES = (SERIAL, SHELL)
BREAK = (
    Column("server_id", "SERVER"),
    Column("console_index", "CONSOLE"),
    Column("sysrq", "SYSRQ"),
)


def _check_type(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    if value not in TYPES:
        raise click.BadParameter(
            f"{value!r} is not a type of console; there are: {', '.join(TYPES)}"
        )
    return value


@click.command("get-serial-console", short_help="Print a URL that opens a console.")
@click.argument("server", metavar="SERVER")
@click.argument(
    "console_type",
    metavar="[CONSOLE-TYPE]",
    default=SERIAL,
    callback=_check_type,
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
def get_serial_console(
    invocation: Invocation, server: str, console_type: str, index: int | None, open_: bool
) -> None:
    """Print a URL that opens a console of SERVER, a name or uuid.

    The URL holds a token: whoever has it can open the console until it expires. CONSOLE-TYPE
    is serial, or ssh for a shell on the server over SSH.
    """
    shell = console_type == SHELL
    if shell and index is not None:
        raise click.UsageError(
            "--index is for serial consoles: each session has a shell of its own"
        )
    api = invocation.api()
    uuid = server_id(api, server)
    if shell:
        made = api.post(path("v1", "servers", uuid, "consoles", SHELL, "tokens"), "token")
    elif index is None:
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


@click.group()
def console() -> None:
    """What a console's line carries besides bytes."""


def _check_key(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            check_key(value)
        except BadRequest as error:
            raise click.BadParameter(str(error)) from None
    return value


@console.command("break")
@click.argument("server", metavar="SERVER")
@click.argument("index", metavar="[INDEX]", type=click.IntRange(0, 99999), default=0)
@click.option(
    "--sysrq",
    metavar="KEY",
    callback=_check_key,
    help="Send SysRq KEY: the BREAK, then the key. A guest that takes it does it at once: h prints "
    "what there is, s syncs its disks, b restarts it.",
)
@format_option
@pass_invocation
def send_break(invocation: Invocation, server: str, index: int, sysrq: str | None) -> None:
    """Send a BREAK to console INDEX (0) of SERVER, a name or uuid.

    Nobody may be on the console; from the console's own page it is sent by its menu.
    """
    api = invocation.api()
    route = path("v1", "servers", server_id(api, server), "consoles", index, "break")
    wish = None if sysrq is None else {"sysrq": sysrq}
    invocation.show_object(BREAK, api.post(route, "break", wish))
