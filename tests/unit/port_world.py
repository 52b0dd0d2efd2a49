"""A compute host for tests: domains that name ports, a database, what is taken by others."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define, evolve, field
from cells import memory_database
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.port_range import PortRange, parse
from consoled.compute.ports import PortAllocator
from consoled.compute.reconciling import DomainPorts, HostPorts, NamedPort
from consoled.db import port_rows
from consoled.db.database import CellDatabase
from consoled.errors import Unavailable
from consoled.workers import InlineWorker

HOST = "rack1"
ADDRESS = "192.0.2.7"


def uuid(name: str) -> str:
    """The uuid of the domain of that name."""
    return f"2f9e1b6e-3c43-4f6e-9b0a-{ord(name):012d}"


@define(eq=False)
class Hypervisor:
    """Implements :class:`consoled.interfaces.PortNaming`.

    :ivar domains: by name.
    :ivar away: whether it does not answer.
    :ivar asked: the questions so far.
    :ivar answer: how it answers, once the answer is known.
    """

    domains: dict[str, DomainPorts] = Factory(dict)
    away: bool = False
    asked: list[str | None] = Factory(list)
    answer: Callable[[HostPorts], Deferred[HostPorts]] = succeed

    def define(self, name: str, *ports: int, active: bool = True) -> None:
        """Makes a domain name these ports, and no others."""
        named = tuple(NamedPort(index, ADDRESS, port) for index, port in enumerate(ports))
        self.domains[name] = DomainPorts(uuid(name), name, active, named)

    def hide(self, name: str) -> None:
        """Makes a domain's XML unreadable."""
        self.domains[name] = evolve(self.domains[name], ports=None)

    def compute_host(self) -> Deferred[str]:
        """Its name."""
        return fail(Unavailable("It is away.")) if self.away else succeed(HOST)

    def ports_named(self, uuid: str | None = None) -> Deferred[HostPorts]:
        """What the domains name now."""
        self.asked.append(uuid)
        if self.away:
            return fail(Unavailable("It is away."))
        found = (one for one in self.domains.values() if uuid in (None, one.uuid))
        return self.answer(HostPorts(HOST, tuple(found)))


@define(eq=False)
class World:
    """An allocator with everything around it.

    :ivar taken: ports on which others listen.
    :ivar tested: the ports that were tested so far.
    """

    ports: PortRange = field(default="10000:10010", converter=parse)
    database: CellDatabase = Factory(memory_database)
    hypervisor: Hypervisor = Factory(Hypervisor)
    clock: Clock = Factory(Clock)
    taken: set[int] = Factory(set)
    tested: list[int] = Factory(list)
    keeper: PortKeeper = field(init=False)
    allocator: PortAllocator = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A daemon that starts again knows what is in the database, and nothing else."""
        self.keeper = PortKeeper(self.hypervisor, self.database, self.ports)
        self.allocator = PortAllocator(
            database=self.database,
            settled=self.keeper.settled,
            address=ADDRESS,
            ports=self.ports,
            worker=InlineWorker(),
            is_free=self.is_free,
            foreign=ForeignPorts(self.clock.seconds),
        )

    def is_free(self, port: int) -> bool:
        """The test of a port."""
        self.tested.append(port)
        return port not in self.taken

    def books(self) -> dict[int, tuple[str, int, bool]]:
        """port -> uuid, index, whether an XML was seen to name it."""
        found: list[dict[int, tuple[str, int, bool]]] = []
        rows = self.database.read(port_rows.rows, HOST)
        rows.addCallback(
            lambda rows: {row.port: (row.instance_uuid, row.index, row.named) for row in rows}
        ).addCallback(found.append)
        return found[0]
