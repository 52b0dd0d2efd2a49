"""What every command is given: the options of this call, and what they lead to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from attrs import evolve, frozen

from consoled.cli.api import ApiClient, Transport
from consoled.cli.browser import open_browser
from consoled.cli.endpoint import Endpoint, Given, find_endpoint
from consoled.cli.output import Column, Row, say, table, terminal_width, to_json
from consoled.cli.transport import HttpTransport
from consoled.settings import Settings

NO_CELL = "consolectl"
"""The cell's name that settings are read with: nothing that consolectl does depends on it."""


@frozen
class Outside:
    """What commands reach besides files and the database.

    :ivar connect: a transport to an endpoint.
    :ivar launch: opens a URL in the browser; its exit status.
    """

    connect: Callable[[Endpoint], Transport] = HttpTransport.to
    launch: Callable[[str], int] = open_browser


@frozen
class Invocation:
    """One call of consolectl.

    :ivar wants_json: whether JSON is asked for.
    """

    given: Given
    wants_json: bool
    outside: Outside

    def settings(self) -> Settings:
        """The daemon's configuration.

        :raises click.UsageError: no file is given.
        :raises consoled.errors.ConfigError: it cannot be used.
        """
        if not self.given.config:
            raise click.UsageError(
                "which configuration? Give --config FILE (or CONSOLED_CONFIG), as for the daemon."
            )
        # Late: it takes longer to import than most commands take to run.
        from consoled.options import load

        return load(NO_CELL, self.given.config, {})

    def api(self) -> ApiClient:
        """A client of the API that the options lead to.

        :raises click.UsageError: they lead to none.
        """
        endpoint = find_endpoint(self.given, self.settings)
        return ApiClient(endpoint, self.outside.connect(endpoint))

    def show(self, value: Any, text: str) -> None:
        """Prints an outcome.

        :param value: what scripts get.
        :param text: what people get.
        """
        say(to_json(value) if self.wants_json else text)

    def show_table(self, columns: Sequence[Column], rows: Sequence[Row], empty: str) -> None:
        """Prints objects of the API.

        :param empty: what people are told where there are none; not on the standard output.
        """
        if rows or self.wants_json:
            self.show(rows, table(columns, rows, terminal_width()))
        else:
            say(empty, err=True)

    def show_object(self, columns: Sequence[Column], found: Row) -> None:
        """Prints one object of the API: for people, a table of one line."""
        self.show(found, table(columns, [found], terminal_width()))


pass_invocation = click.make_pass_decorator(Invocation)
"""Gives a command the :class:`Invocation` as its first argument."""


def _set_format(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None and isinstance(context.obj, Invocation):
        context.obj = evolve(context.obj, wants_json=value == "json")


FORMATS = click.Choice(["text", "json"])

format_option = click.option(
    "--format",
    type=FORMATS,
    expose_value=False,
    callback=_set_format,
    help="text for people (the default), json for scripts.",
)
"""``--format`` after the command's name; it may stand before it, too."""
