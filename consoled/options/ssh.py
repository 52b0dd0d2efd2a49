"""``[ssh_proxy]``: its values, and what would contradict itself. The files that it names are
read by :mod:`consoled.reaching.parts`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from consoled import values
from consoled.reaching.commands import ProxyCommand
from consoled.settings import SSHNode, SSHProxy

if TYPE_CHECKING:
    # The reader knows the options, whose rules are here.
    from consoled.options.reading import Reader

_SSH_PORT = 22
_MAX_PORT = 65535
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,254}", re.ASCII)
_EXAMPLE = "; give one such as jump@10.0.0.5:22 or jump@[2001:db8::5]:22"


def nodes(value: str) -> tuple[SSHNode, ...]:
    """``user@host:port`` between commas; the port is 22 where none is given."""
    found: dict[SSHNode, None] = {}
    for item in re.split(r"[,\n]", value):
        if item.strip():
            try:
                found[_node(item.strip())] = None
            except ValueError as error:
                where = "" if item == value else f"holds {item.strip()!r}, which "
                raise ValueError(f"{where}{error}") from None
    return tuple(found)


def _node(value: str) -> SSHNode:
    user, at, place = value.rpartition("@")
    if not at or not _USER.fullmatch(user):
        raise ValueError(f"does not begin with a user's name and @{_EXAMPLE}")
    if place.startswith("["):
        name, bracket, rest = place.partition("]")
        name, port = name + bracket, rest.removeprefix(":")
        well = bool(bracket) and (not rest or (rest.startswith(":") and bool(port)))
    else:
        name, colon, port = place.partition(":")
        well = ":" not in port and bool(port) == bool(colon)
    if place.count(":") > 1 and not place.startswith("["):
        raise ValueError(f"holds an IPv6 address without brackets{_EXAMPLE}")
    if port and (
        not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= _MAX_PORT
    ):
        raise ValueError(f"has no port from 1 to {_MAX_PORT}{_EXAMPLE}")
    if not well:
        raise ValueError(f"does not end with a host, or a host and a port{_EXAMPLE}")
    try:
        return SSHNode(user, values.host(name), int(port or _SSH_PORT))
    except ValueError:
        raise ValueError(f"does not hold a valid host{_EXAMPLE}") from None


def proxy_command(value: str) -> ProxyCommand:
    """The arguments of a command, with their places."""
    return ProxyCommand.parse(values.text(value))


def refuse_ssh_contradictions(reader: Reader, group: SSHProxy) -> None:
    """Says nothing where the options of the group go together.

    :raises consoled.errors.ConfigError: naming the one that does not.
    """
    section = "ssh_proxy"
    if group.nodes and group.group is not None:
        reader.fail(section, "group", "stands beside nodes; a cell has the one or the other")
    if group.nodes and group.known_hosts is None:
        reader.fail(
            section,
            "nodes",
            "needs known_hosts, the file of these nodes' host keys; "
            "`consolectl ssh scan HOST` shows what to put there",
        )
    for option in ("key_file", "known_hosts"):
        if getattr(group, option) is not None and not group.nodes:
            reader.fail(section, option, "is for nodes, and there are none; set nodes as well")
    if group.key_passphrase_file is not None and group.key_file is None:
        reader.fail(section, "key_passphrase_file", "is of no use alone; set key_file as well")
