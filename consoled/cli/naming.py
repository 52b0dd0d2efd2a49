"""Which server is meant: by uuid, or by a name that only one has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from uuid import UUID

from consoled.cli.api import ApiClient, path
from consoled.cli.failure import Failure
from consoled.cli.output import Column, Row, table

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_CANDIDATES = (
    Column("id", "ID"),
    Column("project_id", "PROJECT"),
    Column("status", "STATUS"),
    Column("host", "HOST"),
)


def server_id(api: ApiClient, text: str) -> str:
    """The uuid of the server that somebody named.

    A uuid is not looked up: the key may be allowed to open what it may not list.

    :raises consoled.cli.failure.Failure: no server has that name, or several have.
    """
    if _UUID.fullmatch(text):
        return str(UUID(text))
    return choose(text, api.get_list(path("v1", "servers"), "servers"))


def choose(name: str, servers: Sequence[Row]) -> str:
    """The id of the only server with exactly that name.

    :raises consoled.cli.failure.Failure: there is none (with the names that are near), or
        there are several (with their ids and projects).
    """
    found = [server for server in servers if server.get("name") == name]
    if len(found) == 1:
        return str(found[0].get("id"))
    if found:
        listed = table(_CANDIDATES, found)
        raise Failure(f"{len(found)} servers have the name '{name}'; give the id of one:\n{listed}")
    near = _near(name, [str(server.get("name")) for server in servers])
    hint = f"did you mean {near}?" if near else "`consolectl server list` shows what there is"
    raise Failure(f"there is no server '{name}' that this key may see; {hint}")


def _near(name: str, names: Sequence[str]) -> str:
    folded: dict[str, str] = {}
    for other in names:
        folded.setdefault(other.casefold(), other)
    matches = difflib.get_close_matches(name.casefold(), folded, n=3)
    return " or ".join(f"'{folded[match]}'" for match in matches)
