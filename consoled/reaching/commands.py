"""``[ssh_proxy] proxy_command``: the program that is the way to a proxy node.

The text is split into arguments first, as a shell does, and what is filled in afterwards stays
within its argument; no shell runs. So nothing that a tenant names can become an option or a
command of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from string import Formatter
from typing import Self

from attrs import field, frozen

PLACEHOLDERS = ("host", "port", "tenant_id", "network_id", "router_id")

_VALUE = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,254}", re.ASCII)
_Parts = tuple[tuple[str, str | None], ...]


class Unfilled(Exception):
    """A place has nothing to be filled in with; the text says which."""


@frozen
class ProxyCommand:
    """The arguments, with their places.

    :ivar text: as it stands in the configuration.
    """

    text: str
    _arguments: tuple[_Parts, ...] = field(eq=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The command of a text.

        :raises ValueError: a sentence that finishes ``proxy_command = ...: ...``.
        """
        try:
            words = shlex.split(text)
        except ValueError:
            raise ValueError("has a quotation mark without its second one") from None
        if not words or not words[0]:
            raise ValueError("is empty")
        command = cls(text, tuple(_parts(word) for word in words))
        if any(name is not None for _, name in command._arguments[0]):
            raise ValueError("must begin with the program's own name, not with a place")
        return command

    @property
    def names(self) -> frozenset[str]:
        """The places that it has."""
        return frozenset(name for parts in self._arguments for _, name in parts if name is not None)

    def fill(self, values: Mapping[str, str | None]) -> tuple[str, ...]:
        """The arguments to run.

        :param values: by the names in :data:`PLACEHOLDERS`; None where it is not known.
        :raises Unfilled: a value that is needed is not known, or could be taken for an option.
        """
        return tuple(
            "".join(literal + _value(name, values) for literal, name in parts)
            for parts in self._arguments
        )


def _parts(word: str) -> _Parts:
    """Literal texts, each with the name of the place after it."""
    found = []
    try:
        for literal, name, form, conversion in Formatter().parse(word):
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                places = ", ".join(f"{{{place}}}" for place in PLACEHOLDERS)
                raise ValueError(
                    f"has a place that is not known; there are {places}, and {{{{ for a brace"
                )
            found.append((literal, name))
    except ValueError as error:
        if "place that" in str(error):
            raise
        raise ValueError("has a brace without its second one; write {{ for a brace") from None
    return tuple(found)


def _value(name: str | None, values: Mapping[str, str | None]) -> str:
    if name is None:
        return ""
    value = values.get(name)
    if value is None:
        raise Unfilled(f"{{{name}}} is not known for it")
    if not _VALUE.fullmatch(value):
        raise Unfilled(f"{{{name}}} holds what could be more than a name or an address")
    return value
