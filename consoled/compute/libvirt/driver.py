"""The driver of a libvirt host."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from consoled.compute.libvirt.asking import Asker, OwnWorker
from consoled.compute.libvirt.client import DomainRecord, DomainXMLs, LibvirtClient
from consoled.compute.libvirt.ports import GuestPorts, Lane
from consoled.compute.libvirt.xml import (
    DomainFacts,
    DomainXMLError,
    named_ports,
    parse_domain,
)
from consoled.compute.reconciling import DomainPorts, HostPorts
from consoled.errors import NotFound
from consoled.interfaces import BreakControl
from consoled.model import Instance, InstanceState

MONITOR_TIMEOUT = 2.0
"""Seconds for an answer of a guest's monitor: somebody waits for a console meanwhile."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

# virDomainState. One that is shutting down keeps its ports for a moment only.
_STATES = {
    0: InstanceState.RUNNING,  # no state: the hypervisor does not tell
    1: InstanceState.RUNNING,
    2: InstanceState.RUNNING,  # blocked on a resource
    3: InstanceState.PAUSED,
    7: InstanceState.PAUSED,  # suspended by the guest's power management
}


@define
class LibvirtDriver:
    """Implements :class:`consoled.interfaces.Driver` and ``PortControl`` over one libvirt URI.

    :ivar uri: ``[libvirt] uri``.
    :ivar host: the name of the compute host, or None for libvirt's own word.
    :ivar proxyclient_address: where ports that listen on every address are reached.
    :ivar default_project: the project of domains without nova metadata, or None.
    :ivar worker: one thread (:class:`consoled.compute.libvirt.thread.DaemonThread`).
    :ivar timeout: seconds for an answer; while an overdue call is still stuck in the
        thread, everybody else is told so at once.
    :ivar monitors: threads for questions to the guests' own monitors; none: nothing is
        known of the ports' clients, and none is closed.
    """

    uri: str
    host: str | None
    proxyclient_address: str
    default_project: str | None
    worker: OwnWorker
    clock: IReactorTime
    timeout: float = 5.0
    monitors: Sequence[OwnWorker] = ()
    client: LibvirtClient = field()
    _asker: Asker = field(init=False)
    _ports: GuestPorts = field(init=False)
    _log: Logger = field(factory=Logger, init=False)
    _noted: dict[str, tuple[str, ...]] = field(factory=dict, init=False)

    @client.default
    def _client(self) -> LibvirtClient:
        return LibvirtClient(self.uri)

    @_asker.default
    def _own_asker(self) -> Asker:
        return Asker(f"libvirt at {self.uri}", self.worker, self.clock, self.timeout)

    @_ports.default
    def _own_ports(self) -> GuestPorts:
        what = f"the monitor of a guest at {self.uri}"
        return GuestPorts(
            [
                Lane(Asker(what, worker, self.clock, MONITOR_TIMEOUT), LibvirtClient(self.uri))
                for worker in self.monitors
            ]
        )

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""
        return "libvirt"

    def start(self) -> None:
        """Starts the threads; a connection is opened with the first question."""
        self.worker.start()
        self._ports.start()

    def stop(self) -> Deferred[None]:
        """Closes the connections and ends the threads; a stuck call is left behind."""
        closed: Deferred[None] = self._asker.ask(self.client.close)
        # It does not matter any more whether libvirt answers.
        closed.addErrback(lambda _: None).addBoth(lambda _: self.worker.stop())
        ends = DeferredList([closed, self._ports.stop()])
        return ends.addCallback(lambda _: None)

    def reload(self) -> Deferred[None]:
        """Nothing to read again: every answer is live."""
        return succeed(None)

    def instances(self) -> Deferred[Sequence[Instance]]:
        """All domains, in the order of their names.

        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        return self._asker.ask(self._read_all)

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One domain as it is now.

        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        if not _UUID.fullmatch(uuid):
            return fail(NotFound("There is no such instance: its id is not a UUID."))
        return self._asker.ask(lambda: self._read_one(uuid))

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Closes whatever client QEMU has on that port (:class:`GuestPorts`).

        It never fails.

        :returns: False where QEMU cannot, is too old, or the domain does not run.
        """
        return self._ports.free_port(instance_uuid, index)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """The indexes of the ports that have a client now, by QEMU's own word.

        It never fails: what is not known is not in it.
        """
        return self._ports.held_ports(instance_uuid)

    @property
    def breaks(self) -> BreakControl | None:
        """Sends BREAK by QEMU's monitor; None where there are no threads for it."""
        return self._ports if self.monitors else None

    def compute_host(self) -> Deferred[str]:
        """The compute host's name: that of its instances, and of its ports.

        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        return self._asker.ask(self._host)

    def gone(self, uuids: Sequence[str]) -> Deferred[tuple[str, ...]]:
        """Those of which libvirt knows no domain; one whose XML cannot be read is not gone.

        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        return self._asker.ask(lambda: tuple(u for u in uuids if self.client.domain(u) is None))

    def ports_named(self, uuid: str | None = None) -> Deferred[HostPorts]:
        """The TCP ports that domains name, running or not.

        :param uuid: of this domain only.
        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        return self._asker.ask(
            lambda: HostPorts(
                self._host(), tuple(self._named(one) for one in self.client.domain_xmls(uuid))
            )
        )

    def _named(self, one: DomainXMLs) -> DomainPorts:
        try:
            ports = [
                named
                for xml in one.xmls
                for named in named_ports(xml, proxyclient_address=self.proxyclient_address)
            ]
        except DomainXMLError as error:
            self._log.error("a domain's XML cannot be read: {cause}", cause=str(error))
            return DomainPorts(one.uuid, one.name, one.active, None)
        return DomainPorts(one.uuid, one.name, one.active, tuple(dict.fromkeys(ports)))

    def _read_all(self) -> Sequence[Instance]:
        host = self._host()
        found = [self._instance(record, host) for record in self.client.domains()]
        instances = [instance for instance in found if instance is not None]
        self._noted = {
            instance.uuid: self._noted[instance.uuid]
            for instance in instances
            if instance.uuid in self._noted
        }
        return sorted(instances, key=lambda instance: (instance.name, instance.uuid))

    def _read_one(self, uuid: str) -> Instance:
        record = self.client.domain(uuid)
        instance = None if record is None else self._instance(record, self._host())
        if instance is None:
            raise NotFound(f"Instance {uuid} could not be found.")
        return instance

    def _host(self) -> str:
        if self.host is None:
            self.host = self.client.hostname()
        return self.host

    def _instance(self, record: DomainRecord, host: str) -> Instance | None:
        try:
            facts = parse_domain(
                record.xml,
                proxyclient_address=self.proxyclient_address,
                default_project=self.default_project,
                compute_host=host,
            )
        except DomainXMLError as error:
            self._log.error("a domain's XML cannot be read: {cause}", cause=str(error))
            return None
        self._note(facts)
        state = _STATES.get(record.state, InstanceState.STOPPED)
        live = facts.active and state.live
        return Instance(
            uuid=facts.uuid,
            name=facts.name,
            project_id=facts.project_id,
            host=host,
            state=state if live else InstanceState.STOPPED,
            consoles=facts.consoles if live else (),
            metadata={"domain": facts.domain, **facts.nova},
        )

    def _note(self, facts: DomainFacts) -> None:
        """Says what cannot be used, once until it changes."""
        if facts.notes != self._noted.get(facts.uuid, ()):
            self._noted[facts.uuid] = facts.notes
            for note in facts.notes:
                self._log.warn("{domain}: {note}", domain=facts.domain, note=note)
