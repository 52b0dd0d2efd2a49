"""Makes the cell database know a console that none of its own tokens led to.

A lease needs the console's row. Tokens of nova and of the retired consoleauth service are
kept elsewhere, so nobody has made one; a console that stays is written once.
"""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, fail

from consoled.db import instances, ports
from consoled.errors import Conflict
from consoled.interfaces import Database
from consoled.model import Console, Instance


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
        known = await self.database.read(self._known, instance, console, port)
        if known is not None:
            return known
        return await self.database.run(self._record, instance, console, port)

    def _known(
        self, connection: Connection, instance: Instance, console: Console, port: int
    ) -> int | None:
        if not instances.known(connection, instance, self.driver):
            return None
        return ports.known(connection, instance.uuid, console, port)

    def _record(
        self, connection: Connection, instance: Instance, console: Console, port: int
    ) -> int:
        instances.upsert(connection, instance, self.driver)
        return ports.claim(connection, instance.uuid, console, port)
