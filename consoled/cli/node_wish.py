"""What options of ``node-group`` and ``node-group-template`` ask the API for."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from consoled.cli.api import ApiClient, path
from consoled.cli.failure import Failure
from consoled.cli.naming import server_id
from consoled.cli.output import Row

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WITH_PORT = re.compile(r"(.+):([0-9]{1,5})", re.ASCII)
_LONGEST = 64 * 1024
_STDIN = Path("-")

NOTHING: Mapping[str, Any] = {
    "project": None,
    "user": None,
    "ssh-key": None,
    "via": None,
    "known-hosts": [],
    "members": [],
    "hosts": [],
}
"""What a field is when ``--unset`` names it."""

_FIELDS = {
    "project": "project_id",
    "user": "user_name",
    "ssh-key": "key_file",
    "via": "proxy_group_id",
    "known-hosts": "known_hosts",
}


def wish_of(api: ApiClient, options: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the object that the API is sent.

    :param options: of the command, by their Python names; None and () are not given.
    :raises consoled.cli.failure.Failure: a file cannot be read, or nothing has that name.
    """
    wish: dict[str, Any] = {
        _FIELDS.get(name, name): NOTHING[name] for name in options.get("unset") or ()
    }
    plain = {"name": "name", "project": "project_id", "proxy": "is_proxy", "user": "user_name"}
    for option, member in {**plain, "ssh_key": "key_file"}.items():
        if options.get(option) is not None:
            wish[member] = options[option]
    if options.get("private_key") is not None:
        wish["private_key"] = read(options["private_key"])
    if options.get("passphrase_file") is not None:
        wish["passphrase"] = read(options["passphrase_file"]).rstrip("\r\n")
    if options.get("known_hosts") is not None:
        wish["known_hosts"] = host_key_lines(read(options["known_hosts"]))
    if options.get("via") is not None:
        wish["proxy_group_id"] = find(api, "node-groups", options["via"])
    if options.get("host"):
        wish["hosts"] = list(options["host"])
    if options.get("member"):
        wish["members"] = [member_of(api, text) for text in options["member"]]
    return wish


def member_of(api: ApiClient, text: str) -> dict[str, Any]:
    """A member as the API takes it: an IP address or a server, with either a port.

    :param text: such as ``10.0.0.5``, ``[2001:db8::5]:2222``, ``web-1`` or ``web-1:2222``.
    :raises consoled.cli.failure.Failure: no server has that name, or several have.
    """
    match = None if _address(text) else _WITH_PORT.fullmatch(text)
    name, port = (text, {}) if match is None else (match[1], {"port": int(match[2])})
    address = _address(name)
    if address is not None:
        return {"host": address, **port}
    return {"instance_id": server_id(api, name), **port}


def _address(text: str) -> str | None:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        return None


def find(api: ApiClient, collection: str, text: str) -> str:
    """The id of the group or template that somebody named, by id or name.

    :param collection: ``node-groups`` or ``node-group-templates``.
    :raises consoled.cli.failure.Failure: none has that name.
    """
    if _UUID.fullmatch(text):
        return text
    every = listed(api, collection)
    found = next((str(one.get("id")) for one in every if one.get("name") == text), None)
    if found is None:
        what = collection.removesuffix("s").replace("-", " ")
        raise Failure(
            f"there is no {what} '{text}' that this key may see; "
            f"`consolectl {collection.removesuffix('s')} list` shows what there is"
        )
    return found


def listed(api: ApiClient, collection: str) -> list[Row]:
    """All groups or templates that the key may see."""
    return list(api.get_list(path("v1", collection), collection.replace("-", "_")))


def host_key_lines(text: str) -> list[str]:
    """The lines of a known_hosts file that say something."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def read(file: Path) -> str:
    """The text of a file; ``-`` is the standard input.

    :raises consoled.cli.failure.Failure: it cannot be read.
    """
    if file == _STDIN:
        return sys.stdin.read(_LONGEST)
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_LONGEST)
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"cannot read {file}: it is not UTF-8 text") from None


def members_text(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Members for people; the usual port is left out."""
    return [_member_text(member) for member in members]


def _member_text(member: Mapping[str, Any]) -> str:
    place = str(member.get("instance_id") or member.get("host"))
    port = member.get("port", 22)
    if port == 22:
        return place
    return f"[{place}]:{port}" if ":" in place else f"{place}:{port}"
