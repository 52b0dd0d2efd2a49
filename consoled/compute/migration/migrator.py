"""Sees migrations through: ports on the destination, the move, and the books afterwards.

The hypervisor moves the guest; here its serial ports get places on the destination before
that, and whichever side has lost the guest gets its ports back. When it has come, the ports
of its next start may be planned again. Reservations that nobody comes to use end by
themselves, so a daemon that is killed meanwhile leaks none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from consoled.compute.libvirt.configuring import Change
from consoled.compute.libvirt.xml import DomainXMLError
from consoled.compute.migration.destination import listening_indexes, relocated
from consoled.compute.migration.values import (
    Leaving,
    Migration,
    MigrationEnded,
    Moved,
    Order,
    Progress,
    State,
)
from consoled.errors import BadRequest, Conflict, ConsoledError, InstanceNotRunning, NotFound

_ENDS = {
    State.COMPLETED: ("migration_completed", "{name} runs on {destination} now, and left {source}"),
    State.CANCELLED: (
        "migration_cancelled",
        "{name} stays on {source}: its migration to {destination} was cancelled",
    ),
    State.FAILED: (
        "migration_failed",
        "{name} did not migrate from {source} to {destination}: {error}",
    ),
}

REMEMBERED = 100
"""Migrations that are over and can still be asked for; the oldest go first."""


class PortSource(Protocol):
    """Gives out ports of a host (:class:`consoled.compute.ports.PortAllocator`)."""

    def allocate(self, instance_uuid: str, indexes: Sequence[int]) -> Deferred[list[int]]:
        """A port for each of an instance's serial ports, reserved for a while.

        :raises consoled.errors.SocketPortRangeExhausted: too few are free.
        """

    def give_back(self, instance_uuid: str, unused: Sequence[int]) -> Deferred[list[int]]:
        """Ends reservations; a port that an XML was seen to name stays."""


@frozen(eq=False)
class Site:
    """A compute host, as far as a migration needs it.

    :ivar uri: how it is asked.
    :ivar peer_uri: how other hosts' libvirt reaches it.
    :ivar inbound_address: where it takes the memory of guests, or None for libvirt's choice.
    :ivar address: where its serial ports listen.
    :ivar noted: what looks at one domain of it again: its row first, then its ports.
    """

    name: str
    uri: str
    peer_uri: str
    inbound_address: str | None
    address: str
    ports: PortSource
    noted: Sequence[Callable[[str], Deferred[Any]]]


class Afterwards(Protocol):
    """What is done for a domain when it has come (:mod:`consoled.compute.migration.replanning`)."""

    def begin(self, found: Leaving) -> Deferred[bool]:
        """It is about to leave.

        :returns: whether there will be anything to do; else nothing further is asked.
        :raises consoled.errors.ConsoledError: why it cannot leave now.
        """

    def replan(self, uuid: str) -> Deferred[Change | None]:
        """Plans the ports of its next start; it has come.

        :raises consoled.errors.ConsoledError: why they are as they were.
        """

    def end(self, uuid: str) -> Deferred[None]:
        """The migration is over, whatever has become of it."""


class Engine(Protocol):
    """What moves guests (:mod:`consoled.compute.migration.engine`)."""

    def look(self, uri: str, name: str) -> Deferred[Leaving | None]:
        """A domain that is to migrate, or None where there is none.

        :param name: the domain's, or its uuid.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """

    def run(self, order: Order, report: Callable[[Progress], None]) -> Deferred[None]:
        """Fires when the guest runs on the destination.

        :param report: told now and then how far it is.
        :raises consoled.compute.migration.values.MigrationEnded: it runs where it was.
        """

    def progress(self, uri: str, uuid: str) -> Deferred[Progress | None]:
        """How far a domain's migration is, whoever began it; None where there is none.

        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """

    def abort(self, uri: str, uuid: str) -> Deferred[bool]:
        """Asks for the end of a domain's migration, whoever began it.

        :returns: False where there is none, or it is past that.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """


@define(eq=False)
class _Job:
    """A migration under way."""

    migration: Migration
    order: Order
    afterwards: Afterwards | None


@define(eq=False)
class Migrator:
    """Migrates domains, each once at a time.

    :ivar told: hears of each migration whenever something about it has changed.
    :ivar tls: whether guests' memory goes over TLS.
    """

    engine: Engine
    told: Callable[[Migration], None] = lambda migration: None
    tls: bool = False
    _jobs: dict[str, _Job] = field(factory=dict, init=False)
    _starting: set[str] = field(factory=set, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def find(self, uuid: str, name: str, source: Site | None) -> Deferred[Migration]:
        """The domain's latest migration, under way or over.

        One that somebody else drives is known while it is under way.

        :param name: the domain's, for people.
        :param source: where it is, as far as that is one of the hosts.
        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """
        return Deferred.fromCoroutine(self._find(uuid, name, source))

    def start(
        self,
        domain: str,
        source: Site,
        destination: Site,
        facts: Mapping[str, Any] | None = None,
        afterwards: Afterwards | None = None,
    ) -> Deferred[Migration]:
        """Begins a migration; fires when libvirt has been asked for it.

        :param domain: its uuid, or libvirt's name of it.
        :param facts: for the log: who wants it.
        :param afterwards: what is done when the domain has come there.
        :raises consoled.errors.NotFound: there is no such domain.
        :raises consoled.errors.BadRequest: it is there already, or no port is left.
        :raises consoled.errors.Conflict: it does not run, or migrates already.
        :raises consoled.errors.Unavailable: a hypervisor or the database does not answer.
        """
        return Deferred.fromCoroutine(
            self._start(domain, source, destination, dict(facts or {}), afterwards)
        )

    def cancel(self, uuid: str, name: str, source: Site | None) -> Deferred[Migration]:
        """Asks for the end of a migration; it may have succeeded when libvirt hears of that.

        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.Conflict: it is over, or past that.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """
        return Deferred.fromCoroutine(self._cancel(uuid, name, source))

    async def _start(
        self,
        domain: str,
        source: Site,
        destination: Site,
        facts: dict[str, Any],
        afterwards: Afterwards | None,
    ) -> Migration:
        if source.name == destination.name:
            raise BadRequest(f"The domain is on {destination.name} already.")
        found = await self._movable(domain, source)
        uuid = found.uuid
        running = self._jobs.get(uuid)
        if uuid in self._starting or (running is not None and not running.migration.state.over):
            raise _busy(found)
        self._starting.add(uuid)
        try:
            job = await self._prepared(found, source, destination, afterwards)
        except BaseException:
            # The one who asked may have gone meanwhile, too.
            if afterwards is not None:
                await afterwards.end(uuid)
            raise
        finally:
            self._starting.remove(uuid)
        self._keep(job)
        self._log.info(
            "{name} migrates from {source} to {destination}, its serial ports to {ports}",
            event="migration_started",
            instance_uuid=uuid,
            name=found.name,
            source=source.name,
            destination=destination.name,
            ports=", ".join(str(moved.port) for moved in job.migration.ports) or "none",
            **facts,
        )
        self.told(job.migration)
        running_on = Deferred.fromCoroutine(self._see_through(job, source, destination))
        running_on.addErrback(
            lambda failure: self._log.failure(
                "the migration of {instance_uuid} is not seen through", failure, instance_uuid=uuid
            )
        )
        return job.migration

    async def _movable(self, domain: str, source: Site) -> Leaving:
        found = await self.engine.look(source.uri, domain)
        if found is None:
            raise NotFound(f"There is no domain {domain} on {source.name}.")
        if not found.active:
            raise InstanceNotRunning(
                f"{found.name} does not run, and only a running domain migrates. Start it first."
            )
        if found.busy:
            raise _busy(found)
        return found

    async def _prepared(
        self, found: Leaving, source: Site, destination: Site, afterwards: Afterwards | None
    ) -> _Job:
        xmls = [xml for xml in (found.live, found.kept) if xml is not None]
        try:
            indexes = sorted({index for xml in xmls for index in listening_indexes(xml)})
        except DomainXMLError as error:
            raise Conflict(f"The XML of {found.name} cannot be read: {error}.") from None
        if afterwards is not None and not await afterwards.begin(found):
            afterwards = None
        # A domain without TCP ports (its consoles are pty, say) needs none there.
        given = await destination.ports.allocate(found.uuid, indexes) if indexes else []
        places = {
            index: (destination.address, port) for index, port in zip(indexes, given, strict=True)
        }
        order = Order(
            uuid=found.uuid,
            name=found.name,
            source_uri=source.uri,
            peer_uri=destination.peer_uri,
            inbound_address=destination.inbound_address,
            xml=relocated(found.live, places),
            kept_xml=None if found.kept is None else relocated(found.kept, places),
            tls=self.tls,
        )
        ports = tuple(map(Moved, indexes, given))
        migration = Migration(found.uuid, found.name, source.name, destination.name, ports)
        return _Job(migration, order, afterwards)

    async def _see_through(self, job: _Job, source: Site, destination: Site) -> None:
        def report(progress: Progress) -> None:
            self._change(job, progress=progress)

        state, error, known = State.COMPLETED, None, True
        warnings: tuple[str, ...] = ()
        try:
            await self.engine.run(job.order, report)
        except MigrationEnded as ended:
            state = State.CANCELLED if ended.cancelled else State.FAILED
            error = None if ended.cancelled else str(ended)
        except (ConsoledError, CancelledError) as lost:
            state, known = State.FAILED, False
            error = f"{str(lost) or 'Nobody waits for it.'} It may go on without consoled."
        except Exception:
            self._log.failure("the migration of {name}", name=job.order.name)
            state, known = State.FAILED, False
            error = "Something went wrong inside consoled; its log says what."
        try:
            looked = await self._look_again(job, source, destination)
            if known and looked and state is not State.COMPLETED:
                unused = [moved.port for moved in job.migration.ports]
                await destination.ports.give_back(job.order.uuid, unused)
            if state is State.COMPLETED and job.afterwards is not None:
                warnings = await self._replanned(job, job.afterwards)
        except ConsoledError:
            pass  # A reservation ends by itself.
        finally:
            if job.afterwards is not None:
                await job.afterwards.end(job.order.uuid)
            self._change(job, state=state, error=error, warnings=warnings)
            self._tell_end(job.migration)

    async def _replanned(self, job: _Job, afterwards: Afterwards) -> tuple[str, ...]:
        """What is to be known of the ports of the domain's next start."""
        name, uuid = job.order.name, job.order.uuid
        try:
            change = await afterwards.replan(uuid)
        except ConsoledError as error:
            self._log.warn(
                "the serial ports of {name} are as they were at its next start, too: {cause}",
                event="serial_ports_not_replanned",
                instance_uuid=uuid,
                name=name,
                cause=str(error),
            )
            return (f"Its serial ports are as they were at its next start, too: {error}",)
        except Exception:
            self._log.failure("planning the serial ports of {name} again", name=name)
            return ("Its serial ports could not be planned again; consoled's log says why.",)
        if change is None or not change.changed:
            return () if change is None else change.warnings
        ports = ", ".join(str(port.port) for port in change.ports)
        self._log.info(
            "the serial ports of {name} are {ports} from its next start on, as its image asks for",
            event="serial_ports_replanned",
            instance_uuid=uuid,
            name=name,
            ports=ports,
        )
        said = f"It has {len(change.ports)} serial ports from its next start on, as its image says."
        return (said, *change.warnings)

    async def _look_again(self, job: _Job, source: Site, destination: Site) -> bool:
        """The row goes where the guest is; ports that no XML names any more come back.

        What fails here is made good by the next round of each host.
        """
        well = True
        for look in (*destination.noted, *source.noted):
            try:
                await look(job.order.uuid)
            except ConsoledError as error:
                well = False
                self._log.warn(
                    "after the migration of {name}: {cause}", name=job.order.name, cause=str(error)
                )
        return well

    async def _find(self, uuid: str, name: str, source: Site | None) -> Migration:
        job = self._jobs.get(uuid)
        if job is not None and not job.migration.state.over:
            return job.migration
        progress = None if source is None else await self.engine.progress(source.uri, uuid)
        if progress is not None and source is not None:
            return Migration(uuid, name, source.name, None, progress=progress)
        if job is None:
            raise NotFound(f"{name} does not migrate, and consoled knows of no time when it did.")
        return job.migration

    async def _cancel(self, uuid: str, name: str, source: Site | None) -> Migration:
        found = await self._find(uuid, name, source)
        if found.state.over:
            raise Conflict(f"The migration of {name} is over: {found.state.value}.")
        if source is None or not await self.engine.abort(source.uri, uuid):
            raise Conflict(f"The migration of {name} cannot be cancelled at this moment.")
        return found

    def _keep(self, job: _Job) -> None:
        uuid = job.migration.uuid
        self._jobs.pop(uuid, None)
        self._jobs[uuid] = job
        over = [uuid for uuid, one in self._jobs.items() if one.migration.state.over]
        for old in over[: max(0, len(over) - REMEMBERED)]:
            del self._jobs[old]

    def _change(self, job: _Job, **changes: Any) -> None:
        job.migration = evolve(job.migration, **changes)
        self.told(job.migration)

    def _tell_end(self, migration: Migration) -> None:
        event, words = _ENDS[migration.state]
        tell = self._log.warn if migration.state is State.FAILED else self._log.info
        tell(
            words,
            event=event,
            instance_uuid=migration.uuid,
            name=migration.name,
            source=migration.source,
            destination=migration.destination,
            error=migration.error,
            elapsed_s=migration.progress.elapsed,
        )


def _busy(found: Leaving) -> Conflict:
    return Conflict(f"{found.name} migrates already. Wait for the end of that, or cancel it.")
