"""Makes the cell database know a console that none of its own tokens led to.

A lease needs the console's row. Tokens of nova and of the retired consoleauth service are
kept elsewhere, so nobody has made one; a console that stays is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Select, and_, bindparam, or_, select
from twisted.internet.defer import Deferred

from consoled.db import instances, moving, ports
from consoled.db.direct import Query, key_names
from consoled.db.tables import console_ports
from consoled.db.tables import instances as table
from consoled.interfaces import Database
from consoled.model import Console, Instance

_COLUMNS = (
    *table.columns,
    console_ports.c.console_type,
    console_ports.c.port_index,
    console_ports.c.host.label("console_host"),
    console_ports.c.port,
    console_ports.c.generation,
)
_NAMES = tuple(column.name for column in _COLUMNS)
_KEY = (console_ports.c.instance_uuid, console_ports.c.console_type, console_ports.c.port_index)


def _look(size: int) -> Select[Any]:
    # No list of keys with three parts each: SQLite knows none.
    wanted = [
        and_(*(part == bindparam(name) for part, name in zip(_KEY, names, strict=True)))
        for names in (key_names(number, len(_KEY)) for number in range(size))
    ]
    return (
        select(*_COLUMNS)
        .join(console_ports, console_ports.c.instance_uuid == table.c.uuid)
        .where(or_(*wanted))
    )


_LOOK = Query(_look, len(_KEY))

Found = Mapping[str, Any]
Key = tuple[str, str, int]


@frozen
class ConsoleRegistrar:
    """Implements :class:`consoled.interfaces.Registrar`.

    :ivar driver: the word of ``[DEFAULT] driver``, kept with each instance.
    """

    database: Database
    driver: str

    def register(self, instance: Instance, console: Console) -> Deferred[int]:
        """Records the console at its place, where that is not known already.

        A console that was recorded there loses the place, and its tokens with it.

        :param instance: as its driver sees it at this moment.
        :returns: the generation of the place.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return Deferred.fromCoroutine(self._register(instance, console, console.port))

    async def _register(self, instance: Instance, console: Console, port: int | None) -> int:
        # First a look, which waits for no writer: most consoles are opened more than once.
        known = await self.database.read(look, instance, console, port, self.driver)
        if known is not None:
            return known
        return await self.database.run(record, instance, console, port, self.driver)


def record_all(
    connection: Connection, places: Sequence[tuple[Instance, Console, int | None]], driver: str
) -> list[int]:
    """As :func:`record` for each in turn; mostly one SELECT for all of them.

    :param places: instance, console and port (None: it has none) of each.
    """
    keys = {(instance.uuid, console.type, console.index): None for instance, console, _ in places}
    found = _found(connection, list(keys))
    generations = []
    for instance, console, port in places:
        row = found.get((instance.uuid, console.type, console.index))
        generation = _generation(row, instance, console, port, driver)
        if generation is None:
            # What is written for one may change what was read for another.
            return [record(connection, *place, driver) for place in places]
        generations.append(generation)
    return generations


def record(
    connection: Connection, instance: Instance, console: Console, port: int | None, driver: str
) -> int:
    """Makes the cell know the console at (``console.host``, ``port``); mostly one SELECT.

    :param driver: the word of ``[DEFAULT] driver``.
    :returns: the generation of the place.
    """
    known = look(connection, instance, console, port, driver)
    if known is not None:
        return known
    moving.settle(connection, instance, driver)
    return ports.claim(connection, instance.uuid, console, port)


def look(
    connection: Connection, instance: Instance, console: Console, port: int | None, driver: str
) -> int | None:
    """The generation of the place, if instance and console are recorded as they are now."""
    key = (instance.uuid, console.type, console.index)
    return _generation(_found(connection, [key]).get(key), instance, console, port, driver)


def _found(connection: Connection, keys: Sequence[Key]) -> dict[Key, Found]:
    """What is recorded of instances and consoles, by the keys of those that are known."""
    rows = [dict(zip(_NAMES, row, strict=True)) for row in _LOOK.rows(connection, keys)]
    return {(row["uuid"], row["console_type"], row["port_index"]): row for row in rows}


def _generation(
    found: Found | None, instance: Instance, console: Console, port: int | None, driver: str
) -> int | None:
    if found is None or found["generation"] == ports.DISPLACED:
        return None
    if (found["console_host"], found["port"]) != (console.host, port):
        return None
    wanted = instances.row(instance, driver)
    return int(found["generation"]) if wanted.items() <= found.items() else None
