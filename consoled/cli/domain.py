"""``consolectl domain``: the serial ports of libvirt's domains, on the hypervisor itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from consoled.cli.failure import warn
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.output import Column, printable, say, table, terminal_width
from consoled.compute.port_count import MOST

if TYPE_CHECKING:
    from consoled.compute.libvirt.configuring import Change

PORTS = (
    Column("index", "INDEX"),
    Column("host", "HOST"),
    Column("port", "PORT"),
    Column("tls", "TLS"),
    Column("configured", "CONSOLED'S"),
    Column("log", "LOG", shrinks=True),
)

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")


_HOST = click.option(
    "--host",
    metavar="NAME",
    help="The compute host, of several in the configuration; by default the one that has it.",
)


@click.group()
def domain() -> None:
    """Serial ports of libvirt's domains; needs --config."""


@domain.command("enable-serial")
@click.argument("domain", metavar="DOMAIN")
@click.option(
    "--ports",
    type=click.IntRange(1, MOST),
    metavar="N",
    help="How many; by default what nova's metadata in the domain says, else 1.",
)
@click.option("--log", is_flag=True, help="Have libvirt log what the guest writes to files.")
@click.option("--tls", is_flag=True, help="Have QEMU speak TLS on the ports.")
@_DRY_RUN
@click.option("--force", is_flag=True, help="Also where nova manages the domain.")
@_HOST
@format_option
@pass_invocation
def enable_serial(invocation: Invocation, /, domain: str, host: str | None, **wishes: Any) -> None:
    """Give DOMAIN, a name or uuid, serial ports that consoled can open.

    They are there when the domain is started the next time.
    """
    # Late: it takes longer to import than other commands take to run.
    from consoled.cli.hypervisor import configurator, outcome
    from consoled.compute.libvirt.configuring import Wish

    wish = Wish(**wishes)
    with configurator(invocation.settings(), domain, host) as domains:
        _show(invocation, outcome(domains.enable(domain, wish)), wish.dry_run)


@domain.command("disable-serial")
@click.argument("domain", metavar="DOMAIN")
@_DRY_RUN
@_HOST
@format_option
@pass_invocation
def disable_serial(invocation: Invocation, domain: str, dry_run: bool, host: str | None) -> None:
    """Undo what enable-serial did to DOMAIN, a name or uuid."""
    from consoled.cli.hypervisor import configurator, outcome

    with configurator(invocation.settings(), domain, host) as domains:
        _show(invocation, outcome(domains.disable(domain, dry_run=dry_run)), dry_run)


@domain.command("start")
@click.argument("domain", metavar="DOMAIN")
@_HOST
@format_option
@pass_invocation
def start(invocation: Invocation, domain: str, host: str | None) -> None:
    """Start DOMAIN, a name or uuid.

    Where somebody else listens on the port of a serial port that enable-serial made, it gets
    the next one.
    """
    from consoled.cli.hypervisor import outcome, starter
    from consoled.compute.libvirt.starting import started

    with starter(invocation.settings(), domain, host) as domains:
        found = outcome(domains.start(domain))
    view = started(found)
    rows = view["ports"]
    invocation.show(
        view,
        table(PORTS, rows, terminal_width()) if rows else "No serial port listens on TCP.",
    )
    for index, before in found.moved.items():
        warn(f"somebody else has port {before}: serial port {index} has another one now.")


def _show(invocation: Invocation, change: Change, dry_run: bool) -> None:
    from consoled.compute.libvirt.configuring import configuration

    view = configuration(change)
    rows = view["ports"]
    parts = ["\n".join(map(printable, change.diff.splitlines()))]
    parts.append(table(PORTS, rows, terminal_width()) if rows else "No serial port listens on TCP.")
    invocation.show(view, "\n\n".join(part for part in parts if part))
    for warning in change.warnings:
        warn(warning)
    if not change.changed:
        say("Nothing to change.", err=True)
    elif dry_run:
        say("Nothing was changed: this was a dry run.", err=True)
