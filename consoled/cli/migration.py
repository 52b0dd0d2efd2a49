"""``consolectl domain migrate``: a running domain to another compute host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from consoled.cli.failure import Failure
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.output import Column, printable, say, table, terminal_width

if TYPE_CHECKING:
    from consoled.compute.migration.values import Migration

PORTS = (Column("index", "INDEX"), Column("port", "PORT"))
MEBIBYTE = 1024 * 1024


@click.command()
@click.argument("domain", metavar="DOMAIN")
@click.argument("destination", metavar="DEST-URI")
@click.option(
    "--host",
    metavar="NAME",
    help="The compute host that has it, of several in the configuration.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Where the serial ports listen on a destination that the configuration does not name.",
)
@click.option(
    "--inbound-address",
    metavar="ADDRESS",
    help="Where such a destination takes the guest's memory; by default libvirt chooses.",
)
@format_option
@pass_invocation
def migrate(invocation: Invocation, /, **wanted: str | None) -> None:
    """Migrate DOMAIN, a name or uuid, live to another host.

    DEST-URI is a compute host's name in the configuration, or a libvirt URI by which the source's
    libvirt reaches the destination's. Open consoles go on where both are hosts of the daemon.
    ^C cancels: the domain stays where it is.
    """
    # Late: it takes longer to import than other commands take to run.
    from consoled.cli.hypervisor import outcome
    from consoled.cli.inline_engine import InlineEngine
    from consoled.cli.migration_sites import Wanted, both_sites
    from consoled.compute.migration.migrator import Migrator

    told: list[Migration] = []
    progress = _Progress()

    def tell(migration: Migration) -> None:
        told.append(migration)
        progress.show(migration)

    settings = invocation.settings()
    tls = settings.libvirt.live_migration_with_native_tls
    with both_sites(settings, Wanted(**wanted)) as sites:  # type: ignore[arg-type]  # click gives the names
        migrator = Migrator(InlineEngine(progress.cancelling), tell, tls)
        domain = str(wanted["domain"])
        outcome(migrator.start(domain, sites.source, sites.destination))
    progress.end()
    _show(invocation, told[-1])


class _Progress:
    """One line for whoever looks, written over and over; nothing where nobody does."""

    def __init__(self) -> None:
        self._looked_at = sys.stderr.isatty()
        self._width = 0

    def show(self, migration: Migration) -> None:
        """How far it is."""
        progress = migration.progress
        if progress.total:
            self._say(
                f"{printable(migration.name)}: {progress.percent} % of "
                f"{progress.total / MEBIBYTE:.0f} MiB, {progress.rate / MEBIBYTE:.1f} MiB/s, "
                f"{progress.elapsed:.0f} s"
            )

    def cancelling(self) -> None:
        """^C was heard."""
        self.end()
        say("Cancelling; ^C once more leaves it to libvirt.", err=True)

    def end(self) -> None:
        """What is said next begins a line."""
        if self._width:
            self._width = 0
            say("", err=True)

    def _say(self, line: str) -> None:
        if self._looked_at:
            say(f"\r{line.ljust(self._width)}", err=True, end="")
            self._width = len(line)


def _show(invocation: Invocation, migration: Migration) -> None:
    from consoled.compute.migration.values import State, migration_view

    view = migration_view(migration)
    name, source, destination = map(str, (migration.name, migration.source, migration.destination))
    if migration.state is not State.COMPLETED:
        if invocation.wants_json:
            invocation.show(view, "")
        why = {
            State.CANCELLED: f"the migration was cancelled; {name} stays on {source}",
            State.FAILED: f"{name} did not migrate to {destination}: {migration.error}",
        }
        raise Failure(why[migration.state])
    text = f"{printable(name)} runs on {printable(destination)} now."
    if view["ports"]:
        text += "\n\n" + table(PORTS, view["ports"], terminal_width())
    invocation.show(view, text)
