"""The configuration files and twistd options of consoled, read once into frozen Settings."""

from consoled.options.command_line import (
    SERIAL_CONSOLE_OPTIONS,
    CommandLineOption,
    expand_arguments,
)
from consoled.options.groups import list_opts
from consoled.options.loading import load

__all__ = [
    "SERIAL_CONSOLE_OPTIONS",
    "CommandLineOption",
    "expand_arguments",
    "list_opts",
    "load",
]
