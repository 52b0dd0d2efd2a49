"""The options by which node groups and their templates are made and changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from consoled.cli.node_wish import NOTHING

Command = TypeVar("Command", bound=Callable[..., Any])

_GROUP_ONLY = ("members", "hosts")


def _options(*unset: str) -> Callable[[Command], Command]:
    """The options that groups and templates share."""
    file = click.Path(path_type=Path, allow_dash=True)
    options = [
        click.option("--project", metavar="PROJECT", help="Whose it is; else the operator's."),
        click.option("--proxy/--no-proxy", default=None, help="Others are reached over it."),
        click.option("--user", metavar="NAME", help="Who logs in there."),
        click.option(
            "--ssh-key", metavar="NAME", help="The key: a file in the daemon's keys_dir, no path."
        ),
        click.option(
            "--private-key",
            type=file,
            metavar="FILE",
            help="The key itself, from a file here (- is the standard input); kept encrypted.",
        ),
        click.option(
            "--passphrase-file", type=file, metavar="FILE", help="With the key's passphrase."
        ),
        click.option(
            "--known-hosts",
            type=file,
            metavar="FILE",
            help="The host keys, as `ssh scan` prints them.",
        ),
        click.option("--via", metavar="GROUP", help="The proxy group that leads there."),
        click.option(
            "--unset",
            type=click.Choice(unset),
            multiple=True,
            help="Leave this empty; may be given several times.",
        ),
    ]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_MEMBER = click.option(
    "--member",
    multiple=True,
    metavar="MEMBER",
    help="An IP address or a server, with :PORT where it is not 22; the first is the proxy. May "
    "be given several times; the new list replaces the old one.",
)
_HOST = click.option(
    "--host",
    multiple=True,
    metavar="HOST",
    help="A compute host that this group leads to, by its name; may be given several times.",
)


def of_group(command: Command) -> Command:
    """The options of groups."""
    return _options(*NOTHING)(_MEMBER(_HOST(command)))


def of_template(command: Command) -> Command:
    """The options of templates."""
    return _options(*(name for name in NOTHING if name not in _GROUP_ONLY))(command)
