"""Makes the cell database know a console that none of its own tokens led to.

A lease needs the console's row. Tokens of nova and of the retired consoleauth service are
kept elsewhere, so nobody has made one; a console that stays is written once.
"""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, bindparam, select
from twisted.internet.defer import Deferred, fail

from consoled.db import instances, ports
from consoled.db.tables import console_ports
from consoled.db.tables import instances as table
from consoled.errors import Conflict
from consoled.interfaces import Database
from consoled.model import Console, Instance

_LOOK = (
    select(
        table,
        console_ports.c.host.label("console_host"),
        console_ports.c.port,
        console_ports.c.generation,
    )
    .join(console_ports, console_ports.c.instance_uuid == table.c.uuid)
    .where(
        table.c.uuid == bindparam("uuid"),
        console_ports.c.console_type == bindparam("type"),
        console_ports.c.port_index == bindparam("index"),
    )
)


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
        :raises consoled.errors.Conflict: the console has no port now.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if console.port is None:
            return fail(Conflict(f"Console {console.index} of {instance.name} has no port now."))
        return Deferred.fromCoroutine(self._register(instance, console, console.port))

    async def _register(self, instance: Instance, console: Console, port: int) -> int:
        # First a look, which waits for no writer: most consoles are opened more than once.
        known = await self.database.read(look, instance, console, port, self.driver)
        if known is not None:
            return known
        return await self.database.run(record, instance, console, port, self.driver)


def record(
    connection: Connection, instance: Instance, console: Console, port: int, driver: str
) -> int:
    """Makes the cell know the console at (``console.host``, ``port``); mostly one SELECT.

    :param driver: the word of ``[DEFAULT] driver``.
    :returns: the generation of the place.
    """
    known = look(connection, instance, console, port, driver)
    if known is not None:
        return known
    instances.upsert(connection, instance, driver)
    return ports.claim(connection, instance.uuid, console, port)


def look(
    connection: Connection, instance: Instance, console: Console, port: int, driver: str
) -> int | None:
    """The generation of the place, if instance and console are recorded as they are now."""
    key = {"uuid": instance.uuid, "type": console.type, "index": console.index}
    found = connection.execute(_LOOK, key).mappings().one_or_none()
    if found is None:
        return None
    row = dict(found)
    generation = row.pop("generation")
    place = (row.pop("console_host"), row.pop("port"))
    if place != (console.host, port) or row != instances.row(instance, driver):
        return None
    return int(generation)
