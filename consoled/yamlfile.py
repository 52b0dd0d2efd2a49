"""YAML by node and line: what the inventory and the keys file share.

Only nodes are composed, nothing is constructed: no tag makes an object, an
alias costs nothing, and each node knows its line. Errors name the place and the
rule, never the text, unless the caller says so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml
from attrs import frozen

from consoled.errors import ConfigError

T = TypeVar("T")

MAX_BYTES = 4 * 1024 * 1024
"""A file of more is refused unread; it would hold some 30,000 instances."""

MAX_TEXT = 255
"""The longest text in characters, as the database's columns are wide."""

MAX_DEPTH = 16
"""How deep lists and mappings may nest; libyaml's composer overflows the C stack on thousands."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BARE_IPV6 = re.compile(r"(^|[\s,\[])\[[0-9A-Fa-f:.%]*:[0-9A-Fa-f:.%]*\]:\d")
_NULL = "tag:yaml.org,2002:null"
_KINDS = {
    yaml.MappingNode: "a mapping",
    yaml.SequenceNode: "a list",
    yaml.ScalarNode: "a single value",
}


@frozen
class Yaml:
    """One YAML node in a named source.

    :ivar source: the file's name, for errors.
    :ivar secret: whether errors leave out whatever stands in the file.
    """

    source: str
    node: yaml.Node
    secret: bool = False

    @property
    def line(self) -> int:
        """Its first line, counted from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, problem: str) -> NoReturn:
        """Refuses this node.

        :raises consoled.errors.ConfigError: always.
        """
        raise ConfigError(f"{self.source}:{self.line}: {problem}")

    @property
    def is_null(self) -> bool:
        """Whether nothing, or ``null``, stands here."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    def items(self, what: str) -> Iterator[Yaml]:
        """The nodes of a list.

        :param what: its name, for errors.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"{what} is {self._kind()}; write a list, each item after a '- '")
        return (self._at(node) for node in self.node.value)

    def mapping(
        self, what: str, required: Sequence[str], optional: Sequence[str]
    ) -> dict[str, Yaml]:
        """The nodes of a mapping by their keys, which are checked.

        :param what: its name, for errors.
        """
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"{what} is {self._kind()}; write '{required[0]}: ...' lines")
        known = [*required, *optional]
        found: dict[str, Yaml] = {}
        for key_node, value_node in self.node.value:
            key = self._at(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                key.fail(f"{what} has {key._kind()} as a key; its keys are {', '.join(known)}")
            name = key_node.value
            if name not in known:
                shown = "such key" if self.secret else f"key {_shown(name)}"
                key.fail(f"{what} has no {shown}{_suggestion(name, known)}")
            if name in found:
                key.fail(
                    f"{what} has the key {name!r} twice; the first is on line {found[name].line}"
                )
            found[name] = self._at(value_node)
        missing = [name for name in required if name not in found]
        if missing:
            self.fail(f"{what} lacks {', '.join(missing)}; each needs a value")
        return found

    def text(self, what: str) -> str:
        """A text that is not empty; a number or ``yes`` counts as the text that stands there.

        :param what: its name, for errors.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"{what} is {self._kind()}; write one value")
        value: str = self.node.value
        if self.is_null or not value.strip():
            self.fail(f"{what} is empty; give a value")
        value = value.strip()
        if not value.isprintable():
            self.fail(f"{what} holds a line break or another control character; remove it")
        if len(value) > MAX_TEXT:
            self.fail(f"{what} is longer than {MAX_TEXT} characters; shorten it")
        return value

    def parsed(self, what: str, parse: Callable[[str], T]) -> T:
        """A text that fits a rule of :mod:`consoled.values`.

        :param what: its name, for errors.
        """
        value = self.text(what)
        try:
            return parse(value)
        except ValueError as error:
            self.fail(f"{what} {error}" if self.secret else f"{what} {_shown(value)} {error}")

    def _at(self, node: yaml.Node) -> Yaml:
        return Yaml(self.source, node, self.secret)

    def _kind(self) -> str:
        return "empty" if self.is_null else _KINDS[type(self.node)]


def compose(text: str, source: str, *, secret: bool = False) -> Yaml | None:
    """The only document of a YAML text, or None where it holds none.

    :param secret: whether errors leave out whatever stands in it.
    :raises consoled.errors.ConfigError: with the line of the first syntax error.
    """
    try:
        _refuse_depth(text, source)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error, text, source)) from None
    except (yaml.YAMLError, UnicodeError):
        raise ConfigError(f"{source}: this is not YAML: it holds a control character") from None
    return None if node is None else Yaml(source, node, secret)


def read_text(path: Path, what: str) -> str:
    """The text of a file; it blocks.

    :param what: the file's name for the operator: ``inventory``.
    :raises consoled.errors.ConfigError: it cannot be read, is too long or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            return decode(file.read(MAX_BYTES + 1), str(path), what)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot read this {what}: {reason}") from None


def decode(data: bytes, source: str, what: str) -> str:
    """The text of a file's bytes.

    :raises consoled.errors.ConfigError: it is too long or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{source}: this {what} is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: this line is not UTF-8 text") from None


def _refuse_depth(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            mark = event.start_mark
            line = mark.line + 1 if mark else 1
            raise ConfigError(f"{source}:{line}: lists and mappings are nested too deeply")


def _syntax(error: yaml.MarkedYAMLError, text: str, source: str) -> str:
    """One line about a syntax error that quotes nothing of the text."""
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    line = marks[0].line + 1 if marks else 1
    # The pure Python parser quotes names in its messages.
    reason = re.sub(r"'[^'\s]{2,}'", "'...'", " ".join((error.problem or "").split()))
    reason = reason.removeprefix("but ")
    if marks and error.context and marks[-1].line != marks[0].line:
        reason += f" ({error.context}, which starts on line {marks[-1].line + 1})"
    near = text.split("\n")[marks[-1].line : line] if marks else []
    if any(_BARE_IPV6.search(row) for row in near):
        reason += '; put "[address]:port" in quotes, YAML reads a bare [ as a list'
    return f"{source}:{line}: this is not YAML: {reason or 'it cannot be read'}"


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:80]}...")


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; its keys are {', '.join(known)}"
