"""Which console has which (host, port), and since which generation.

A generation grows each time a place is given to a console that did not have it, and is
kept for ever: a token of an older generation never opens what stands there now.

A console gets its lease row here, in the transaction that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, insert, null, select, update

from consoled.db.tables import console_leases, console_ports, port_generations
from consoled.model import SERIAL, Console

DISPLACED = 0
"""The generation of a console whose place went to another one."""

NO_PORT = 0
"""Stands for the port of places that have none, where generations are counted."""

_of_console = and_(
    console_ports.c.instance_uuid == bindparam("uuid"),
    console_ports.c.console_type == bindparam("type"),
    console_ports.c.port_index == bindparam("index"),
)
_at_place = and_(
    port_generations.c.host == bindparam("at_host"),
    port_generations.c.port == bindparam("at_port"),
)
_CURRENT = select(console_ports.c.host, console_ports.c.port, console_ports.c.generation).where(
    _of_console
)
_MOVE = update(console_ports).where(_of_console)
_DISPLACE = (
    update(console_ports)
    .where(
        console_ports.c.host == bindparam("at_host"),
        console_ports.c.port == bindparam("at_port"),
    )
    .values(port=null(), generation=DISPLACED)
)
_ADVANCE = (
    update(port_generations).where(_at_place).values(generation=port_generations.c.generation + 1)
)
_GENERATION = select(port_generations.c.generation).where(_at_place)
_OWNERS = select(
    console_ports.c.host,
    console_ports.c.port,
    console_ports.c.instance_uuid,
    console_ports.c.console_type,
    console_ports.c.port_index,
).where(
    console_ports.c.host.in_(bindparam("hosts", expanding=True)),
    console_ports.c.port.in_(bindparam("some", expanding=True)),
)


def claim(connection: Connection, instance_uuid: str, console: Console, port: int | None) -> int:
    """Records that the console is at (``console.host``, ``port``) now.

    A console that was recorded there loses the place, and its tokens with it.

    :param port: None for a place that has none, which nobody else can be at.
    :returns: the generation: the old one while the console stays, a new one otherwise.
    """
    key = {"uuid": instance_uuid, "type": console.type, "index": console.index}
    place = {"at_host": console.host, "at_port": port}
    found = connection.execute(_CURRENT, key).one_or_none()
    if (
        found is not None
        and found.generation != DISPLACED
        and (found.host, found.port) == (console.host, port)
    ):
        return int(found.generation)
    # First of all: on servers this takes the row lock that makes claims of a place queue.
    generation = _advance(connection, console.host, NO_PORT if port is None else port)
    if port is not None:
        connection.execute(_DISPLACE, place)
    new = {"host": console.host, "port": port, "generation": generation}
    if found is None:
        row = {
            "instance_uuid": instance_uuid,
            "console_type": console.type,
            "port_index": console.index,
        }
        connection.execute(insert(console_ports), {**row, "options": {}, **new})
        connection.execute(insert(console_leases), {**row, "epoch": 0})
    else:
        connection.execute(_MOVE, {**key, **new})
    return generation


def vacate(connection: Connection, places: Sequence[tuple[str, int, str, int]]) -> None:
    """Ends what was at places before their ports were given to serial consoles.

    Tokens for whatever was there open nothing any more. Nothing changes where the console is
    recorded there already.

    :param places: host, port, and the instance and index of the console that has it now.
    """
    around = {"hosts": list({place[0] for place in places}), "some": [p[1] for p in places]}
    owners = {
        (row.host, row.port): (row.instance_uuid, row.console_type, row.port_index)
        for row in connection.execute(_OWNERS, around)
    }
    for host, port, instance_uuid, index in places:
        own = (instance_uuid, SERIAL, index)
        if owners.get((host, port), own) != own:
            _advance(connection, host, port)
            connection.execute(_DISPLACE, {"at_host": host, "at_port": port})


def generation_of(connection: Connection, host: str, port: int) -> int:
    """How often the place was given to a console so far."""
    found = connection.scalar(_GENERATION, {"at_host": host, "at_port": port})
    return 0 if found is None else int(found)


def _advance(connection: Connection, host: str, port: int) -> int:
    place = {"at_host": host, "at_port": port}
    if connection.execute(_ADVANCE, place).rowcount == 0:
        connection.execute(insert(port_generations), {"host": host, "port": port, "generation": 1})
        return 1
    return generation_of(connection, host, port)
