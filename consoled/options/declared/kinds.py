"""The kinds of values that options have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_config.types import ConfigType

from consoled import values


class Checked(ConfigType):
    """An oslo.config type around a rule of :mod:`consoled.values`."""

    def __init__(self, parse: Callable[[str], Any], type_name: str) -> None:
        super().__init__(type_name=type_name)
        self.parse = parse

    def __call__(self, value: Any) -> Any:
        """What Settings holds for that text (or native default).

        :raises ValueError: a sentence that finishes ``option = value: ...``.
        """
        return self.parse(self._formatter(value))

    def _formatter(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | tuple):
            return ", ".join(str(item) for item in value)
        return str(value)


def flag() -> ConfigType:
    """True or false."""
    return Checked(values.boolean, "true or false")


def port() -> ConfigType:
    """A TCP port; 0 is any."""
    return Checked(values.whole(0, 65535), "port")


def path() -> ConfigType:
    """A path."""
    return Checked(values.path, "path")


def optional_path() -> ConfigType:
    """A path, or nothing."""
    return Checked(values.optional(values.path), "path, or empty")


def listed(parse: Callable[[str], str], of: str) -> ConfigType:
    """Several of the same, between commas.

    :param of: what they are, in the plural.
    """
    return Checked(values.items(parse), f"list of {of} between commas")


def seconds(lowest: float, highest: float) -> ConfigType:
    """A time in seconds, between two bounds."""
    return Checked(values.number(lowest, highest, "seconds"), "seconds")


def from_nova(name: str, group: str) -> list[cfg.DeprecatedOpt]:
    """nova's older name of an option."""
    return [cfg.DeprecatedOpt(name, group=group)]
