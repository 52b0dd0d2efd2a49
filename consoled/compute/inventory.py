"""The inventory of the static driver: YAML text in, instances out, or one line that says why not.

::

    instances:
      - uuid: 2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001
        name: web-1
        host: rack1                  # where it stands
        project_id: demo             # optional: without it only administrators see it
        addresses: [10.0.0.5]        # optional: the guest's own
        state: running               # optional: running, paused or stopped
        serial:                      # optional: its consoles, in order
          - 127.0.0.1:7000
          - "[::1]:7001"
        tls: false                   # optional: whether they speak TLS
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from consoled import values
from consoled.errors import ConfigError
from consoled.model import Console, Instance, InstanceState
from consoled.yamlfile import Yaml, compose, read_text

MAX_CONSOLES = 64
"""The most serial consoles of one instance."""

MAX_ADDRESSES = 64
"""The most addresses of one instance."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_PLACE = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*):(?P<port>[0-9]{1,5})", re.ASCII)
_EMPTY = "holds no instances; where there are to be none, write 'instances: []'"


def parse_inventory(text: str, source: str) -> tuple[Instance, ...]:
    """The instances of an inventory, in its order.

    :param text: YAML.
    :param source: the file's name, for errors.
    :raises consoled.errors.ConfigError: with the line of the first thing that is wrong.
    """
    document = compose(text, source)
    if document is None or document.is_null:
        raise ConfigError(f"{source}: this inventory {_EMPTY}")
    top = document.mapping("the inventory", ["instances"], [])["instances"]
    if top.is_null:
        top.fail(f"this inventory {_EMPTY}")
    return tuple(_instances(top))


def read_inventory(path: Path) -> tuple[Instance, ...]:
    """The instances of an inventory file; it blocks.

    :raises consoled.errors.ConfigError: the file cannot be read, or as for :func:`parse_inventory`.
    """
    return parse_inventory(read_text(path, "inventory"), str(path))


def _instances(top: Yaml) -> Iterator[Instance]:
    uuids: dict[str, int] = {}
    places: dict[str, int] = {}
    for node in top.items("instances"):
        fields = node.mapping(
            "this instance",
            ["uuid", "name", "host"],
            ["project_id", "addresses", "serial", "state", "tls"],
        )
        uuid = fields["uuid"].parsed("uuid", _uuid)
        if uuid in uuids:
            fields["uuid"].fail(
                f"uuid {uuid!r} is the one of the instance on line {uuids[uuid]}; each has its own"
            )
        uuids[uuid] = fields["uuid"].line
        yield Instance(
            uuid=uuid,
            name=fields["name"].text("name"),
            project_id=_project(fields.get("project_id")),
            host=fields["host"].text("host"),
            state=_state(fields.get("state")),
            consoles=tuple(_consoles(fields.get("serial"), places, _tls(fields.get("tls")))),
            addresses=tuple(_addresses(fields.get("addresses"))),
        )


def _consoles(node: Yaml | None, taken: dict[str, int], tls: bool) -> Iterator[Console]:
    """The consoles of one instance.

    :param taken: the lines of all places so far; added to.
    :param tls: whether they speak TLS.
    """
    for index, item in enumerate([] if node is None else node.items("serial")):
        if index >= MAX_CONSOLES:
            item.fail(f"an instance has at most {MAX_CONSOLES} serial consoles")
        host, port = item.parsed("serial console", _place)
        console = Console(index, host, port, tls=tls)
        if console.place in taken:
            item.fail(
                f"serial console {console.place!r} is already on line {taken[console.place]};"
                " a console belongs to one instance"
            )
        taken[console.place] = item.line
        yield console


def _addresses(node: Yaml | None) -> Iterator[str]:
    for index, item in enumerate([] if node is None else node.items("addresses")):
        if index >= MAX_ADDRESSES:
            item.fail(f"an instance has at most {MAX_ADDRESSES} addresses")
        yield item.parsed("address", values.ip_address)


def _project(node: Yaml | None) -> str | None:
    return None if node is None or node.is_null else node.text("project_id")


def _tls(node: Yaml | None) -> bool:
    return node is not None and node.parsed("tls", values.boolean)


def _state(node: Yaml | None) -> InstanceState:
    if node is None:
        return InstanceState.RUNNING
    word = node.parsed("state", values.choice(*(state.value for state in InstanceState)))
    return InstanceState(word)


def _uuid(value: str) -> str:
    value = value.lower()
    if not _UUID.fullmatch(value):
        raise ValueError(
            "is not a UUID; give one such as 2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
            " (`uuidgen` makes them)"
        )
    return value


def _place(value: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(value)
    if not match:
        raise ValueError('is not HOST:PORT; give one such as 127.0.0.1:7000 or "[::1]:7001"')
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    return values.host(match["host"]), port
