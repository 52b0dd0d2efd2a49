"""Reads option by option, and knows of each where its value comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from attrs import define, field
from oslo_config import cfg

from consoled.errors import ConfigError
from consoled.options import files, groups

_SHOWN = 120
_USERINFO = re.compile(r"//[^/\s]*@")
_OPTIONS = {
    (group.name, option.dest): option for group, options in groups.GROUPS for option in options
}


@define
class Reader:
    """Files and overrides, checked for unknown keys; then asked for each value once.

    :ivar paths: the configuration files; a later one wins over an earlier one.
    :ivar overrides: texts for options of ``[serial_console]``, which win over all files.
    """

    paths: Sequence[Path]
    overrides: Mapping[str, str]
    _files: list[files.ConfigFile] = field(init=False)
    _conf: cfg.ConfigOpts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._files = [files.parse(path) for path in self.paths]
        known = groups.known_names()
        for file in self._files:
            files.refuse_unknown(file, known)
        self._conf = cfg.ConfigOpts()
        groups.register(self._conf)
        try:
            self._conf(
                args=[],
                prog="consoled",
                default_config_files=[str(path) for path in self.paths],
                default_config_dirs=[],
                use_env=False,
            )
        except (cfg.Error, OSError, ValueError) as error:
            # files.parse() has read them all; this one changed in between.
            raise ConfigError(f"cannot read the configuration files: {_line(str(error))}") from None
        for name, text in self.overrides.items():
            self._override(name, text)

    def value(self, group: str, name: str) -> Any:
        """The option's value, checked.

        :raises consoled.errors.ConfigError: naming the place, the value and what is wrong.
        """
        try:
            return self._conf[name] if group == "DEFAULT" else self._conf[group][name]
        except ValueError as error:
            # oslo.config wraps the rule's own sentence.
            wrapped = isinstance(error, cfg.ConfigSourceValueError)
            self.fail(group, name, str(error.__context__ if wrapped else error))
        except (cfg.Error, RecursionError):
            self.fail(
                group,
                name,
                "refers with $ to an option that does not exist, or to itself; write $$ for a"
                " plain dollar sign",
            )

    def is_set(self, group: str, name: str) -> bool:
        """Whether a file or the command line sets the option."""
        return self._is_overridden(group, name) or self._place(group, name) is not None

    def fail(self, group: str, name: str, problem: str) -> NoReturn:
        """Refuses the option's value.

        :param problem: a sentence that begins with a verb: ``is not ...; give ...``.
        :raises consoled.errors.ConfigError: always.
        """
        place = self._place(group, name)
        if self._is_overridden(group, name):
            text = self.overrides[name]
            where = f"--{name}"
        elif place is not None:
            text = place.raw
            where = f"{place.file}:{place.line}: [{place.section}] {place.key}"
        else:
            text = str(_OPTIONS[group, name].default)
            where = f"[{group}] {name} (the default)"
        if _OPTIONS[group, name].secret:
            raise ConfigError(_line(f"{where}: the value {problem}"))
        raise ConfigError(_line(f"{where}: {_shorten(text)} {problem}{_hint(text)}"))

    def _override(self, name: str, text: str) -> None:
        if ("serial_console", name) not in _OPTIONS:
            raise ConfigError(f"--{name}: there is no such option in [serial_console]")
        try:
            self._conf.set_override(name, text, group="serial_console")
        except ValueError as error:
            self.fail("serial_console", name, str(error))

    def _is_overridden(self, group: str, name: str) -> bool:
        return group == "serial_console" and name in self.overrides

    def _place(self, group: str, name: str) -> files.Place | None:
        return files.find(self._files, groups.names_in_files(group, _OPTIONS[group, name]))


def _shorten(text: str) -> str:
    shown = repr(_USERINFO.sub("//***@", text))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _hint(text: str) -> str:
    if " #" in text or " ;" in text:
        return " (a comment needs a line of its own)"
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())
