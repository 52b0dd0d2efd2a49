"""Reads option by option, and knows of each where its value comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from attrs import define, field
from oslo_config import cfg

from consoled.errors import ConfigError
from consoled.options import files, groups
from consoled.options.declared.compute import HOST_SECTION

KEYSTONE_SECTION = "keystone_authtoken"
SERVICE_SECTION = "service_user"

_SHOWN = 120
_USERINFO = re.compile(r"//[^/\s]*@")
_OPTIONS = {
    (group.name, option.dest): option for group, options in groups.GROUPS for option in options
} | {(kind, option.dest): option for kind, options in groups.NAMED.items() for option in options}


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
        known = groups.known_names(self._named_sections)
        for section, keys in self._foreign_names().items():
            known[section] = [*known.get(section, []), *keys]
        for file in self._files:
            files.refuse_unknown(file, known)
        self._conf = self._read()
        groups.register(self._conf, self._named_sections)
        for name, text in self.overrides.items():
            self._override(name, text)

    def _read(self) -> cfg.ConfigOpts:
        """The files as oslo.config has them; no option is registered."""
        conf = cfg.ConfigOpts()
        try:
            conf(
                args=[],
                prog="consoled",
                default_config_files=[str(path) for path in self.paths],
                default_config_dirs=[],
                use_env=False,
            )
        except (cfg.Error, OSError, ValueError) as error:
            # files.parse() has read them all; this one changed in between.
            raise ConfigError(f"cannot read the configuration files: {_line(str(error))}") from None
        return conf

    def _foreign_names(self) -> dict[str, list[str]]:
        """The keys of sections that are a library's own, where a file has them."""
        found: dict[str, list[str]] = {}
        present = {section for file in self._files for section in file.sections}
        # The libraries take a while to load, and few need them.
        if KEYSTONE_SECTION in present:
            from consoled.options import keystone

            found[KEYSTONE_SECTION] = self._keys(KEYSTONE_SECTION, keystone.keys)
        if SERVICE_SECTION in present:
            from consoled.options import service_user

            found[SERVICE_SECTION] = self._keys(SERVICE_SECTION, service_user.keys)
        return found

    def _keys(self, section: str, keys: Callable[[str], list[str]]) -> list[str]:
        """The keys of a section for the way to log in that it names."""
        place = self._auth_type_place(section)
        try:
            return keys(_auth_type(place))
        except ValueError as error:
            assert place is not None
            where = f"{place.file}:{place.line}: [{place.section}] {place.key}"
            raise ConfigError(_line(f"{where}: {_shorten(place.raw)} {error}")) from None

    def _auth_type_place(self, section: str) -> files.Place | None:
        return files.find(self._files, [(section, name) for name in ("auth_type", "auth_plugin")])

    def keystone(self) -> cfg.ConfigOpts:
        """The configuration as keystonemiddleware takes it, which has options of its own in
        sections that are ours, too.

        :raises consoled.errors.ConfigError: ``[keystone_authtoken]`` lacks something.
        """
        from consoled.options import keystone

        conf = self._read()
        try:
            keystone.prepare(conf, _auth_type(self._auth_type_place(KEYSTONE_SECTION)))
        except ValueError as error:
            self.fail("api", "auth_strategy", str(error))
        return conf

    def service_user(self) -> cfg.ConfigOpts | None:
        """The configuration as keystoneauth takes it; None where ``[service_user]`` names nobody.

        :raises consoled.errors.ConfigError: the section lacks something.
        """
        given = {key for file in self._files for at, key in file.places if at == SERVICE_SECTION}
        if not given:
            return None
        from consoled.options import service_user

        if not service_user.names_user(given):
            return None
        conf = self._read()
        try:
            service_user.prepare(conf)
        except ValueError as error:
            self.fail_section(SERVICE_SECTION, str(error))
        return conf

    @property
    def host_sections(self) -> Sequence[str]:
        """The sections of compute hosts that the files have, in lower case, each once."""
        return self.sections_of(HOST_SECTION)

    def sections_of(self, kind: str) -> Sequence[str]:
        """The sections of one kind that the files have, in lower case, each once.

        :param kind: one of :data:`consoled.options.groups.NAMED`.
        """
        found = (section for file in self._files for section in file.sections)
        return [*dict.fromkeys(s for s in found if s.startswith(kind))]

    @property
    def _named_sections(self) -> Sequence[str]:
        return [section for kind in groups.NAMED for section in self.sections_of(kind)]

    def fail_section(self, section: str, problem: str) -> NoReturn:
        """Refuses a section that the files have, for what it is or lacks.

        :param problem: a sentence that begins with a verb.
        :raises consoled.errors.ConfigError: always, with the place of its first header.
        """
        path, line = next(
            (file.path, file.sections[section]) for file in self._files if section in file.sections
        )
        raise ConfigError(_line(f"{path}:{line}: [{section}] {problem}"))

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
            text = str(_option(group, name).default)
            where = f"[{group}] {name} (the default)"
        if _option(group, name).secret:
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
        return files.find(self._files, groups.names_in_files(group, _option(group, name)))


def _auth_type(place: files.Place | None) -> str:
    """keystoneauth's word for how consoled logs in; its usual one where there is none."""
    return "password" if place is None else place.raw.strip()


def _option(group: str, name: str) -> cfg.Opt:
    return _OPTIONS[groups.kind(group), name]


def _shorten(text: str) -> str:
    shown = repr(_USERINFO.sub("//***@", text))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _hint(text: str) -> str:
    if " #" in text or " ;" in text:
        return " (a comment needs a line of its own)"
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())
