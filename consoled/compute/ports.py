"""Gives out the TCP ports of a compute host for serial consoles (specification: the module
that tests for free ports and allocates them, persistently).

A port is reserved in the cell database first and tested then, so that two allocators never
test the same one at the same time and take each other for a stranger. What fails the test is
given back and remembered, and the next one is reserved. A port that a domain's XML names is
never tested: the domain itself may listen there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_range import PortRange
from consoled.compute.port_tests import PortTest
from consoled.db import port_rows
from consoled.db.port_rows import Order, Reserved
from consoled.errors import ConsoledError, SocketPortRangeExhausted
from consoled.interfaces import Database, Worker


@define(eq=False)
class PortAllocator:
    """The ports of one compute host.

    :ivar settled: the compute host's name, once its domains' ports are in the database
        (:meth:`consoled.compute.port_keeper.PortKeeper.settled`).
    :ivar address: where its ports are dialled.
    :ivar ports: ``[serial_console] port_range``.
    :ivar worker: where ports are tested.
    :ivar is_free: the test (:mod:`consoled.compute.port_tests`).
    """

    database: Database
    settled: Callable[[], Deferred[str]]
    address: str
    ports: PortRange
    worker: Worker
    is_free: PortTest
    foreign: ForeignPorts
    _log: Logger = field(factory=Logger, init=False)

    def allocate(self, instance_uuid: str, indexes: Sequence[int]) -> Deferred[list[int]]:
        """A port for each of an instance's serial ports: the one that it has, or a new one.

        Whoever asks writes them into the domain's XML within ten minutes and has that noted
        (:meth:`consoled.compute.port_keeper.PortKeeper.reconcile`), or gives them back.

        :param indexes: of the serial ports, each once.
        :returns: their ports, in that order.
        :raises consoled.errors.SocketPortRangeExhausted: too few are free.
        :raises consoled.errors.Unavailable: the database or the compute host is away.
        """
        return Deferred.fromCoroutine(self._allocate(instance_uuid, tuple(indexes)))

    def next_after(self, instance_uuid: str, index: int, port: int) -> Deferred[int]:
        """Another port for a serial port whose own one was found taken at the domain's start.

        The caller tries it once: whoever loses twice has another problem.

        :param port: the one that libvirt could not bind; it is not given out for a while.
        :raises consoled.errors.ConsoledError: as of :meth:`allocate`.
        """
        self.foreign.note(port)
        return Deferred.fromCoroutine(self._next_after(instance_uuid, index, port))

    def give_back(self, instance_uuid: str, unused: Sequence[int]) -> Deferred[list[int]]:
        """Ends reservations: what was to come about did not, and no XML names them.

        A port that an XML was seen to name stays; it comes back when the domain is gone or its
        XML has changed (:meth:`consoled.compute.port_keeper.PortKeeper.reconcile`).

        :returns: the ports that came back.
        :raises consoled.errors.Unavailable: the database or the compute host is away; a
            reservation then ends by itself.
        """
        return Deferred.fromCoroutine(self._give_back(instance_uuid, frozenset(unused)))

    async def _next_after(self, instance_uuid: str, index: int, port: int) -> int:
        [found] = await self._allocate(instance_uuid, (index,), frozenset({port}))
        return found

    async def _give_back(self, instance_uuid: str, unused: frozenset[int]) -> list[int]:
        host = await self.settled()
        return await self.database.run(port_rows.give_back, host, instance_uuid, unused)

    async def _allocate(
        self, instance_uuid: str, indexes: tuple[int, ...], unusable: frozenset[int] = frozenset()
    ) -> list[int]:
        host = await self.settled()
        order = Order(host, self.address, instance_uuid, indexes, self.ports)
        order = evolve(order, refused=unusable, drop=unusable)
        fresh: frozenset[int] = frozenset()
        good: frozenset[int] = frozenset()
        try:
            while True:
                found = await self._reserve(order, self.foreign.now())
                fresh = (fresh - order.drop) | {one.port for one in found if one.fresh}
                bad: frozenset[int] = frozenset()
                for one in found:
                    if one.named or one.port in good or await self._test(one.port):
                        good |= {one.port}
                    else:
                        bad |= {one.port}
                if not bad:
                    return [one.port for one in found]
                order = evolve(order, refused=order.refused | bad, drop=bad & fresh)
        except BaseException:
            self._forget(host, instance_uuid, fresh)
            raise

    async def _reserve(self, order: Order, shunned: frozenset[int]) -> list[Reserved]:
        """The next ports; those that were found taken before only if no others are left."""
        try:
            return await self.database.run(port_rows.reserve, evolve(order, avoid=shunned))
        except SocketPortRangeExhausted:
            if not shunned <= order.refused:
                return await self._reserve(order, order.refused)
            self._log.error(
                "compute host {host}: no port of {ports} is free for {instance_uuid}; "
                "others listen on {foreign} of them",
                event="port_range_exhausted",
                host=order.host,
                ports=self.ports,
                instance_uuid=order.instance_uuid,
                foreign=sum(port in self.ports for port in order.refused),
            )
            raise

    async def _test(self, port: int) -> bool:
        if await self.worker.run(self.is_free, port):
            return True
        self.foreign.note(port)
        self._log.info(
            "port {port} is taken by somebody else, so the next one is tried",
            event="port_taken",
            port=port,
        )
        return False

    def _forget(self, host: str, instance_uuid: str, fresh: frozenset[int]) -> None:
        """Gives back what was reserved for nothing; if that fails, it expires by itself."""
        if fresh:
            given = self.database.run(port_rows.give_back, host, instance_uuid, fresh)
            given.addErrback(lambda failure: failure.trap(ConsoledError))
