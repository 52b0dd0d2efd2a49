"""The options of ``[serial_console]`` as twistd plugin options, from the same source."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from consoled.options.declared.consoles import SERIAL_CONSOLE
from consoled.options.declared.kinds import Checked
from consoled.values import boolean


@frozen
class CommandLineOption:
    """One row for ``twisted.python.usage``: an option with a value.

    :ivar name: as in the file; ``--name``.
    :ivar is_flag: whether it takes true or false, and may stand alone for true.
    """

    name: str
    help: str
    is_flag: bool


def _summary(text: str) -> str:
    return text.split(". ", maxsplit=1)[0].rstrip(".")


SERIAL_CONSOLE_OPTIONS: Sequence[CommandLineOption] = tuple(
    CommandLineOption(
        option.dest,
        _summary(option.help or ""),
        isinstance(option.type, Checked) and option.type.parse is boolean,
    )
    for option in SERIAL_CONSOLE
)
"""Every option of ``[serial_console]``, in the order of the sample file."""


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments in the one form that ``twisted.python.usage`` takes.

    getopt knows no option whose value may be left out, and no dashes for
    underscores. ``--ssl-only`` and ``--ssl_only true`` become
    ``--ssl_only=true``, ``--nossl_only`` and ``--no-ssl-only`` (as oslo.config
    has it) ``--ssl_only=false``, ``--port-range=1:2`` becomes
    ``--port_range=1:2``. What is not an option of ``[serial_console]`` stays
    as it is, and so does everything after ``--``.
    """
    options = {option.name: option for option in SERIAL_CONSOLE_OPTIONS}
    expanded: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*expanded, argument, *rest]
        head, equals, value = argument.partition("=")
        name = head[2:].replace("-", "_")
        positive = name.removeprefix("no").removeprefix("_")
        if not head.startswith("--"):
            expanded.append(argument)
        elif name in options and not options[name].is_flag:
            expanded.append(f"--{name}{equals}{value}")
            if not equals and rest:
                expanded.append(rest.pop(0))
        elif name in options:
            if not equals:
                value = rest.pop(0) if rest and _is_boolean(rest[0]) else "true"
            expanded.append(f"--{name}={value}")
        elif positive in options and options[positive].is_flag and not equals:
            expanded.append(f"--{positive}=false")
        else:
            expanded.append(argument)
    return expanded


def _is_boolean(word: str) -> bool:
    try:
        boolean(word)
    except ValueError:
        return False
    return True
