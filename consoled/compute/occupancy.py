"""Which consoles are in the hands of somebody whom this cell knows nothing of.

QEMU says that a port has a client, and no lease of the cell accounts for it: an operator
with a terminal program, a proxy of another service.

The two books are never read at the same moment, so one look can be wrong: a session that
ends between the two readings has its client in the one and no lease in the other, and QEMU
needs a moment to see that a client hung up. What matters is the order. A session takes its
lease before it dials, so a reading of the leases after QEMU's answer knows each client
that is there to stay. A client without a lease is asked about once more, and is
an outsider when it is one in both looks.
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.db.claimed import claimed_ports
from consoled.interfaces import Database, PortControl
from consoled.model import SERIAL, Instance


@frozen
class Occupancy:
    """Finds consoles that outsiders hold.

    :ivar ports: knows the clients of the guests' ports.
    :ivar database: the cell's; it has the leases.
    """

    ports: PortControl
    database: Database

    def held_elsewhere(self, instance: Instance) -> Deferred[frozenset[int]]:
        """The indexes of the instance's serial consoles that outsiders hold.

        Where nobody can be asked, there are none.

        :raises consoled.errors.Unavailable: the database is away.
        """
        return Deferred.fromCoroutine(self._held_elsewhere(instance))

    async def _held_elsewhere(self, instance: Instance) -> frozenset[int]:
        usable = frozenset(console.index for console in instance.consoles if console.type == SERIAL)
        if not usable or not instance.state.live:
            return frozenset()
        suspects = usable & await self._look(instance.uuid)
        return suspects and suspects & await self._look(instance.uuid)

    async def _look(self, uuid: str) -> frozenset[int]:
        held = await self.ports.held_ports(uuid)
        return held and held - await self.database.read(claimed_ports, uuid)
