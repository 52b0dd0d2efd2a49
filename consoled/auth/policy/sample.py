"""The text of etc/policy.yaml.sample, made from the rules."""

from __future__ import annotations

import textwrap

from consoled.auth.policy.defaults import DEFAULTS

_HEAD = """\
# Rules of consoled that differ from their defaults.
#
# Name this file in consoled.conf:
#
#     [oslo_policy]
#     policy_file = /etc/consoled/policy.yaml
#
# Every rule below is a comment that shows its default: take the "#" away and
# change it. "!" is nobody, "@" is everybody with a valid credential. The role
# admin holds manager, that holds member, and that holds reader; service stands
# beside them. A token of a domain, or of the whole system, is refused whatever
# a rule says. %(project_id)s is the project of the instance; an instance without
# one matches no project. The file is read again when it changes; a bad one
# leaves the rules before it in force, and the log says why.
"""


def render_sample() -> str:
    """The text of etc/policy.yaml.sample: each rule with its routes, as a comment."""
    blocks = [_HEAD]
    for default in DEFAULTS:
        comment = textwrap.wrap(default.description or "", 78)
        comment += [
            f"{operation['method']}  {operation['path']}"
            for operation in getattr(default, "operations", [])
        ]
        blocks.append(
            "".join(f"# {line}\n" for line in comment)
            + f'#"{default.name}": "{default.check_str}"\n'
        )
    return "\n".join(blocks)
