"""The sample configuration file, from the options themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from oslo_config import cfg

from consoled.options.declared.cells import CELL_SECTION
from consoled.options.declared.compute import HOST_SECTION
from consoled.options.groups import GROUPS, NAMED, names_in_files

_HEAD = """\
# A sample configuration of consoled. Every option stands here with its default;
# remove the # to set one. `twistd consoled --config FILE` reads it, a second
# --config wins over the first, and `--check-config` does nothing but check.
# An unknown option is an error. $name stands for the value of an option, $$ for
# a dollar sign.
"""


def sample() -> str:
    """The text of etc/consoled.conf.sample."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    for group, options in GROUPS:
        yield f"\n\n[{group.name}]\n{_comment(group.help or '')}"
        for option in options:
            yield "\n" + _option(group.name, option)
        if group.name in _EXAMPLES:
            yield "\n" + _example(*_EXAMPLES[group.name])


def _option(group: str, option: cfg.Opt) -> str:
    lines = _comment(f"{option.help} ({option.type.type_name})")
    for section, key in names_in_files(group, option)[1:]:
        lines += _comment(f"Deprecated name: [{section}] {key}")
    [default] = option.type.format_defaults("" if option.default is None else option.default)
    return f"{lines}#{option.dest} = {default}".rstrip() + "\n"


_EXAMPLES = {
    "cells": ("Another cell of names", CELL_SECTION, "cell2"),
    "libvirt": ("A compute host of hosts", HOST_SECTION, "kvm1"),
}
"""What has sections of its own: after which group, whose, how they begin, and one's name."""


def _example(what: str, beginning: str, name: str) -> str:
    """A section as prose: one that nothing names is an error."""
    options = NAMED[beginning]
    intro = f"{what} has a section of its own, such as this one of {name}. "
    intro += " ".join(f"{one.dest}: {one.help} ({one.type.type_name})" for one in options)
    example = [f"#   {one.dest} = {one.sample_default}\n" for one in options]
    return "".join([_comment(intro), "#\n", f"#   [{beginning}{name}]\n", *example])


def _comment(text: str) -> str:
    wrapped = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in wrapped)
