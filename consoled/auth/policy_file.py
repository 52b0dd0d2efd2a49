"""An operator's policy file, read and judged before any of it is in force.

oslo.policy quietly makes "nobody" of a rule that it cannot read, "everybody"
of an empty list, and a failed request of a placeholder that is misspelt. Here
each of those is a :class:`~consoled.errors.ConfigError` of one line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import yaml
from oslo_policy import policy

from consoled.errors import ConfigError

PREFIX = "consoled:"
_REMOTE = ("http", "https")
_TARGET = {"project_id": "p"}


def read_policy_file(path: Path, known: Collection[str]) -> dict[str, policy.RuleDefault]:
    """The rules of a YAML file, by name.

    :param known: the names that consoled asks for or refers to; further names
        are the operator's own, outside ``consoled:``.
    :raises consoled.errors.ConfigError: why it cannot be used.
    """
    rules = {}
    for name, text in _texts(path).items():
        if name.startswith(PREFIX) and name not in known:
            raise ConfigError(
                f"policy file {path}: there is no rule {name!r}; there are "
                + ", ".join(sorted(known))
            )
        rules[name] = policy.RuleDefault(name, text)
    return rules


def judge(path: Path, texts: Mapping[str, str], checks: Mapping[str, object]) -> None:
    """Refuses rules that cannot mean what was written.

    :param texts: the operator's rules as they were written.
    :param checks: all rules in force with them, parsed.
    :raises consoled.errors.ConfigError: which rule, and what is wrong with it.
    """
    for name, text in texts.items():
        reason = _misunderstood(text, checks[name], checks)
        if reason:
            raise ConfigError(f"policy file {path}: rule {name!r} {reason}: {_line(text)}")
    for name in checks:
        if _meets_itself(name, checks, frozenset()):
            raise ConfigError(f"policy file {path}: rule {name!r} refers to itself in a circle")


def _texts(path: Path) -> dict[str, str]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"policy file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"policy file {path} is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"policy file {path}{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"policy file {path} is not YAML") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"policy file {path} must be a mapping of rule names to rules")
    for name, text in content.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ConfigError(
                f"policy file {path}: rule {name!r} must be text; "
                'write "!" for nobody and "@" for everybody'
            )
    return content


def _misunderstood(text: str, check: object, checks: Mapping[str, object]) -> str | None:
    leaves = list(leaves_of(check))
    written = re.split(r"[\s()]+", text).count("!")
    if sum(str(leaf) == "!" for leaf in leaves) > written:
        return "cannot be understood"
    for leaf in leaves:
        if isinstance(leaf, policy.RuleCheck):
            if leaf.match not in checks:
                return f"refers to the rule {leaf.match!r}, which does not exist"
        elif isinstance(leaf, policy.Check) and not _evaluates(leaf):
            return f"cannot be evaluated (of the instance only %(project_id)s is known) at {leaf}"
    return None


def _evaluates(check: policy.Check) -> bool:
    try:
        check.match % _TARGET
        if check.kind not in _REMOTE:
            check(_TARGET, {"roles": []}, None)  # type: ignore[arg-type]  # rule checks only use it
    except Exception:
        return False
    return True


def _meets_itself(name: str, checks: Mapping[str, object], above: frozenset[str]) -> bool:
    if name in above:
        return True
    return any(
        isinstance(leaf, policy.RuleCheck) and _meets_itself(leaf.match, checks, above | {name})
        for leaf in leaves_of(checks[name])
    )


def leaves_of(check: object) -> Iterator[object]:
    """The parts of a parsed rule that are not made of others."""
    parts = getattr(check, "rules", None)
    if parts is None and isinstance(check, policy.NotCheck):
        parts = [check.rule]
    if parts is None:
        yield check
        return
    for part in parts:
        yield from leaves_of(part)


def _line(text: str) -> str:
    return " ".join(text.split())[:120]
