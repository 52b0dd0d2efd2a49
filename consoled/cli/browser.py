"""Opens the browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


def open_browser(url: str) -> int:
    """Hands the URL to the desktop; its exit status, where it is known at once.

    A browser inherits this command's output and would hold it open, so that
    ``$(consolectl ... --open)`` waited until the browser ends. It gets none.
    """
    with _silence():
        return click.launch(url)


@contextmanager
def _silence() -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in saved:
            os.dup2(nowhere, number)
        yield
    finally:
        os.close(nowhere)
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
