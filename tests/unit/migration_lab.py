"""Compute hosts and an engine for migrations, both in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.defer import Deferred, fail, succeed

from consoled.compute.migration.migrator import Site
from consoled.compute.migration.values import Leaving, Order, Progress
from consoled.errors import SocketPortRangeExhausted, Unavailable

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
XML = f"""<domain><name>web-1</name><uuid>{UUID}</uuid><devices>
<serial type='tcp'><source mode='bind' host='192.0.2.1' service='10000'/><target port='0'/></serial>
<serial type='tcp'><source mode='bind' host='192.0.2.1' service='10001'/><target port='1'/></serial>
<graphics type='vnc' passwd='hunter2'/></devices></domain>"""
PTY = "<domain><devices><serial type='pty'><target port='0'/></serial></devices></domain>"
WEB = Leaving(UUID, "web-1", active=True, live=XML, kept=XML)


@define(eq=False)
class FakeEngine:
    """Implements :class:`consoled.compute.migration.migrator.Engine`.

    :ivar found: the domain, or None.
    :ivar orders: the migrations that were asked for.
    :ivar running: the end of the latest one, for the test to decide.
    :ivar foreign: how far one is that somebody else drives.
    :ivar aborted: the domains whose migration was to end.
    """

    found: Leaving | None = WEB
    away: bool = False
    orders: list[Order] = Factory(list)
    running: Deferred[None] = Factory(Deferred)
    report: Callable[[Progress], None] = lambda progress: None
    foreign: Progress | None = None
    aborted: list[tuple[str, str]] = Factory(list)
    can_abort: bool = True

    def look(self, uri: str, name: str) -> Deferred[Leaving | None]:
        """The domain."""
        return fail(Unavailable("away")) if self.away else succeed(self.found)

    def run(self, order: Order, report: Callable[[Progress], None]) -> Deferred[None]:
        """Goes on until the test ends it."""
        self.orders.append(order)
        self.running, self.report = Deferred(), report
        return self.running

    def progress(self, uri: str, uuid: str) -> Deferred[Progress | None]:
        """That of somebody else's."""
        return fail(Unavailable("away")) if self.away else succeed(self.foreign)

    def abort(self, uri: str, uuid: str) -> Deferred[bool]:
        """Remembers it."""
        self.aborted.append((uri, uuid))
        return succeed(self.can_abort)


@define(eq=False)
class FakePorts:
    """The ports of a host.

    :ivar given: those that are reserved.
    """

    first: int
    full: bool = False
    given: list[int] = Factory(list)

    def allocate(self, instance_uuid: str, indexes: Sequence[int]) -> Deferred[list[int]]:
        """The next ones."""
        if self.full:
            return fail(SocketPortRangeExhausted("no port is left"))
        new = [self.first + index for index in indexes]
        self.given += new
        return succeed(new)

    def give_back(self, instance_uuid: str, unused: Sequence[int]) -> Deferred[list[int]]:
        """Forgets them."""
        self.given = [port for port in self.given if port not in unused]
        return succeed(list(unused))


@define(eq=False)
class FakeSite:
    """A compute host.

    :ivar looked: the domains that were looked at again.
    """

    name: str
    ports: FakePorts
    looked: list[str] = Factory(list)
    away: bool = False

    def site(self, **changes: Any) -> Site:
        """As a migration sees it."""
        made = Site(
            name=self.name,
            uri=f"qemu+tls://{self.name}/system",
            peer_uri=f"qemu+ssh://{self.name}/system",
            inbound_address=None,
            address=f"{self.name}.example.org",
            ports=self.ports,
            noted=(self._look,),
        )
        return evolve(made, **changes)

    def _look(self, uuid: str) -> Deferred[None]:
        self.looked.append(uuid)
        return fail(Unavailable("away")) if self.away else succeed(None)
