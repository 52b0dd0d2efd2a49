"""``consolectl`` itself: its options, and the nouns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from consoled import __version__
from consoled.cli.cell import cell
from consoled.cli.console import console, get_serial_console
from consoled.cli.db import db
from consoled.cli.domain import domain
from consoled.cli.endpoint import Given
from consoled.cli.failure import Failure, warn
from consoled.cli.forward import forward
from consoled.cli.invocation import FORMATS, Invocation, Outside
from consoled.cli.migration import migrate
from consoled.cli.node_group import node_group, node_group_template
from consoled.cli.recording import recording
from consoled.cli.server import server
from consoled.cli.session import session
from consoled.cli.ssh import ssh
from consoled.cli.token import token
from consoled.errors import ConsoledError

PROGRAM = "consolectl"


class _Root(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConsoledError as error:
            raise Failure(str(error)) from error


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    multiple=True,
    envvar="CONSOLED_CONFIG",
    metavar="FILE",
    help="The daemon's configuration; of several, a later one wins. On the daemon's own host it "
    "says where the API is and with which key. [env: CONSOLED_CONFIG, files between colons]",
)
@click.option(
    "--api",
    envvar="CONSOLED_API",
    metavar="URL",
    help="The REST API, such as http://127.0.0.1:8774. [env: CONSOLED_API]",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with a key of the API and nothing else.",
)
@click.option(
    "--key",
    envvar="CONSOLED_KEY",
    metavar="KEY",
    help="A key of the API; other users of this machine can see it here, not in the environment. "
    "[env: CONSOLED_KEY]",
)
@click.option(
    "--cacert",
    type=click.Path(path_type=Path),
    envvar="CONSOLED_CACERT",
    metavar="FILE",
    help="Certificate authorities (PEM) to trust instead of the system's. [env: CONSOLED_CACERT]",
)
@click.option(
    "--format",
    "format_",
    type=FORMATS,
    default="text",
    help="text for people (the default), json for scripts.",
)
@click.pass_context
def root(context: click.Context, /, **options: Any) -> None:
    """Operates consoled, the serial consoles of virtual machines.

    From anywhere with --api and a key; on the daemon's own host with --config alone.
    """
    typed = frozenset(
        name
        for name in options
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )
    if "key" in typed:
        warn("--key shows the key to other users of this machine; use --key-file or CONSOLED_KEY")
    wants_json = options.pop("format_") == "json"
    # An empty item of CONSOLED_CONFIG would name the current directory.
    config = tuple(file for file in options.pop("config") if file != Path())
    given = Given(config=config, typed=typed, **options)
    outside = context.obj if isinstance(context.obj, Outside) else Outside()
    context.obj = Invocation(given, wants_json, outside)


for command in (
    db,
    domain,
    server,
    session,
    cell,
    token,
    recording,
    console,
    get_serial_console,
    forward,
    node_group,
    node_group_template,
    ssh,
):
    root.add_command(command)
domain.add_command(migrate)


def main() -> None:
    """The console script."""
    root.main(prog_name=PROGRAM)
