"""``consolectl cell``: the cells of the deployment."""

from __future__ import annotations

import click

from consoled.cli.api import path
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.output import Column

CELLS = (
    Column("name", "NAME"),
    Column("own", "OWN"),
    Column("state", "STATE"),
    Column("since", "SINCE"),
    Column("latency_ms", "MS"),
    Column("version", "VERSION"),
    Column("api_url", "API", shrinks=True),
    Column("reason", "REASON", shrinks=True),
)


@click.group()
def cell() -> None:
    """The cells of the deployment."""


@cell.command("list")
@format_option
@pass_invocation
def list_cells(invocation: Invocation) -> None:
    """List the cells as the one that is asked sees them."""
    cells = invocation.api().get_list(path("v1", "cells"), "cells")
    invocation.show_table(CELLS, cells, "There are no cells.")
