"""The sample configuration file, from the options themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from oslo_config import cfg

from consoled.options.declared.compute import HOST_SECTION, LIBVIRT_HOST
from consoled.options.groups import GROUPS, names_in_files

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
        if group.name == "libvirt":
            yield "\n" + _host_section()


def _option(group: str, option: cfg.Opt) -> str:
    lines = _comment(f"{option.help} ({option.type.type_name})")
    for section, key in names_in_files(group, option)[1:]:
        lines += _comment(f"Deprecated name: [{section}] {key}")
    [default] = option.type.format_defaults("" if option.default is None else option.default)
    return f"{lines}#{option.dest} = {default}".rstrip() + "\n"


def _host_section() -> str:
    """An example, as prose: a section that no host has is an error."""
    intro = "A compute host of hosts has a section of its own, such as this one of kvm1. "
    intro += " ".join(f"{one.dest}: {one.help} ({one.type.type_name})" for one in LIBVIRT_HOST)
    example = [f"#   {one.dest} = {one.sample_default}\n" for one in LIBVIRT_HOST]
    return "".join([_comment(intro), "#\n", f"#   [{HOST_SECTION}kvm1]\n", *example])


def _comment(text: str) -> str:
    wrapped = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in wrapped)
