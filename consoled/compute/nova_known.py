"""A driver's instances, and those that only nova knows.

Where consoled stands in for nova-serialproxy it often runs on a controller, where no
driver sees the guests of the compute hosts. nova's cell database then says whether an
instance runs, and nova's newest token for it where its console is.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.db import nova_tables
from consoled.errors import NotFound
from consoled.interfaces import Database, Driver
from consoled.model import Instance


@frozen
class NovaKnownDriver:
    """Implements :class:`consoled.interfaces.Driver`: the other driver's word comes first.

    :ivar driver: sees its instances live.
    :ivar database: a nova cell database (``[nova] connection``).
    """

    driver: Driver
    database: Database

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""
        return self.driver.name

    def instances(self) -> Deferred[Sequence[Instance]]:
        """The other driver's: a list of everything in a cloud is nova's own to give.

        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """
        return self.driver.instances()

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One instance: live where the driver has it, otherwise as nova knows it.

        :raises consoled.errors.NotFound: neither has it.
        :raises consoled.errors.Unavailable: the hypervisor or nova's database is away.
        """
        return Deferred.fromCoroutine(self._instance(uuid))

    def start(self) -> None:
        """Starts the other driver."""
        self.driver.start()

    def stop(self) -> Deferred[None]:
        """Ends the other driver; the database is ended by its owner."""
        return self.driver.stop()

    def reload(self) -> Deferred[None]:
        """Reads the other driver's sources again.

        :raises consoled.errors.ConfigError: why the old ones stay.
        """
        return self.driver.reload()

    async def _instance(self, uuid: str) -> Instance:
        try:
            return await self.driver.instance(uuid)
        except NotFound:
            found = await self.database.read(nova_tables.find_instance, uuid)
            if found is None:
                raise
            return found
