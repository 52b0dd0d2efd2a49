"""Configuration files by file and line: where a value stands, and what stands there unknown.

oslo.config reads the values; it forgets the lines, and passes over unknown keys
without a word. This module reads the same files with oslo.config's parser and
knows both.
"""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from attrs import field, frozen
from oslo_config import cfg

from consoled.errors import ConfigError

Name = tuple[str, str]
"""A section and a key, as oslo.config looks them up."""


@frozen
class Place:
    """A value as it stands in a file.

    :ivar raw: its text; continuation lines are joined by line breaks.
    """

    file: Path
    line: int
    section: str
    key: str
    raw: str = field(repr=False)


@frozen
class ConfigFile:
    """One parsed file.

    :ivar sections: the sections with the line of their first header.
    :ivar places: the last place of each (section, key).
    """

    path: Path
    sections: Mapping[str, int]
    places: Mapping[Name, Place]


def normalise_section(section: str) -> str:
    """The section's name as oslo.config compares it."""
    return section if section == "DEFAULT" else section.lower()


class _Parser(cfg.ConfigParser):
    """oslo.config's own parser, that notes lines and never quotes one (it may hold a secret)."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), {})
        self.path = path
        self.section_lines: dict[str, int] = {}
        self.places: dict[Name, Place] = {}

    def read(self, lines: Sequence[str]) -> None:
        """Parses the lines; an added blank one ends the last value."""
        super(cfg.ConfigParser, self).parse([*lines, ""])

    def new_section(self, section: str) -> None:
        super().new_section(section)
        self.section_lines.setdefault(normalise_section(section), self.lineno)

    def assignment(self, key: str, value: list[str]) -> None:
        line = self.lineno - len(value)
        if not self.section:
            self._fail("stands before any [section]; put [DEFAULT] or its section above it", line)
        super().assignment(key, value)
        section = normalise_section(self.section)
        self.places[section, key] = Place(self.path, line, section, key, "\n".join(value))

    def error_invalid_assignment(self, line: str) -> NoReturn:
        self._fail("is neither 'key = value' nor '[section]' nor a '# comment'")

    def error_empty_key(self, line: str) -> NoReturn:
        self._fail("has nothing before its '=' or ':'; write 'key = value'")

    def error_unexpected_continuation(self, line: str) -> NoReturn:
        self._fail("is indented and continues nothing; remove the space before it")

    def error_no_section_end_bracket(self, line: str) -> NoReturn:
        self._fail("starts a section that does not end with ']' (a comment needs its own line)")

    def error_no_section_name(self, line: str) -> NoReturn:
        self._fail("starts a section without a name")

    def _fail(self, problem: str, line: int | None = None) -> NoReturn:
        raise ConfigError(f"{self.path}:{line or self.lineno}: this line {problem}")


def read_lines(path: Path) -> list[str]:
    """The file's lines.

    :raises consoled.errors.ConfigError: it cannot be read as UTF-8 text.
    """
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise ConfigError(f"{path}: this is a pipe; give a regular file, it is read twice")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot read this configuration file: {reason}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this line is not UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise ConfigError(f"{path}:1: starts with a byte order mark; save it as UTF-8 without one")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse(path: Path) -> ConfigFile:
    """One configuration file.

    :raises consoled.errors.ConfigError: it cannot be read or breaks the syntax.
    """
    parser = _Parser(path)
    parser.read(read_lines(path))
    return ConfigFile(path, parser.section_lines, parser.places)


def find(files: Sequence[ConfigFile], names: Sequence[Name]) -> Place | None:
    """Where the value of an option comes from: the last file, and in it the first name."""
    for file in reversed(files):
        for name in names:
            if name in file.places:
                return file.places[name]
    return None


def refuse_unknown(file: ConfigFile, known: Mapping[str, Sequence[str]]) -> None:
    """Refuses the first key or section that no option reads.

    :param known: the keys of each section, deprecated names included.
    :raises consoled.errors.ConfigError: with a suggestion where one is near.
    """
    unknown = [
        (line, section, "") for section, line in file.sections.items() if section not in known
    ]
    unknown += [
        (place.line, section, key)
        for (section, key), place in file.places.items()
        if section in known and key not in known[section]
    ]
    if not unknown:
        return
    line, section, key = min(unknown)
    if not key:
        problem = f"there is no section [{section}]{_suggest_section(section, known)}"
    else:
        problem = f"[{section}] has no option {key!r}{_suggest_key(section, key, known)}"
    raise ConfigError(f"{file.path}:{line}: {problem}")


def _suggest_section(section: str, known: Mapping[str, Sequence[str]]) -> str:
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(section.lower(), folded, n=1)
    if near:
        return f"; did you mean [{folded[near[0]]}]?"
    return f"; the sections are {', '.join(known)}"


def _suggest_key(section: str, key: str, known: Mapping[str, Sequence[str]]) -> str:
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known[section], n=1)
    homes = [name for name, keys in known.items() if key in keys]
    if homes:
        return f"; it belongs in [{homes[0]}]"
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; its options are {', '.join(sorted(known[section]))}"
