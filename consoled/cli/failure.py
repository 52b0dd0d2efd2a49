"""What ends a command: one line that says what to do, and exit status 1."""

from __future__ import annotations

from typing import IO, Any

import click

from consoled.cli.output import printable, say


class Failure(click.ClickException):
    """``consolectl: MESSAGE`` on the standard error stream.

    :param message: one line, or one line and a table below it.
    """

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints it; nothing in it can command the terminal."""
        lines = "\n".join(printable(line) for line in self.message.split("\n"))
        say(f"consolectl: {lines}", err=True)


def warn(message: str) -> None:
    """One line beside the outcome of a command."""
    say(f"consolectl: {printable(message)}", err=True)
