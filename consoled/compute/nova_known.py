"""A driver's instances, and those that only nova knows.

Where consoled stands in for nova-serialproxy it often runs on a controller, where no
driver sees the guests of the compute hosts. nova's cell database then says whether an
instance runs, and nova's newest token for it where its console is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from consoled.db import nova_tables
from consoled.errors import NotFound
from consoled.interfaces import BreakControl, ConsoleDriver, Database
from consoled.model import Instance

T = TypeVar("T")


@frozen
class NovaKnownDriver:
    """Implements :class:`consoled.interfaces.ConsoleDriver`: the other's word comes first.

    :ivar driver: sees its instances live.
    :ivar database: a nova cell database (``[nova] connection``).
    """

    driver: ConsoleDriver
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

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Closes the port's client where the other driver sees the instance.

        :returns: False where it does not, or cannot.
        """
        return self.driver.free_port(instance_uuid, index).addErrback(_unseen, False)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """The consoles that have a client now; none where the other driver sees no instance."""
        none: frozenset[int] = frozenset()
        return self.driver.held_ports(instance_uuid).addErrback(_unseen, none)

    @property
    def breaks(self) -> BreakControl | None:
        """The other driver's: of an instance that only nova knows it says that it has none."""
        return self.driver.breaks

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


def _unseen(failure: Failure, answer: T) -> T:
    """The answer for an instance that only nova knows."""
    failure.trap(NotFound)
    return answer
