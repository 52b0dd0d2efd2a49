"""The driver of a libvirt host."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.libvirt.client import ClientError, DomainRecord, LibvirtClient
from consoled.compute.libvirt.xml import DomainFacts, DomainXMLError, parse_domain
from consoled.errors import NotFound, Unavailable
from consoled.interfaces import Worker
from consoled.model import Instance, InstanceState

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

# virDomainState. One that is shutting down keeps its ports for a moment only.
_STATES = {
    0: InstanceState.RUNNING,  # no state: the hypervisor does not tell
    1: InstanceState.RUNNING,
    2: InstanceState.RUNNING,  # blocked on a resource
    3: InstanceState.PAUSED,
    7: InstanceState.PAUSED,  # suspended by the guest's power management
}


class OwnWorker(Worker, Protocol):
    """A worker that is the driver's alone."""

    def start(self) -> None:
        """Starts its thread."""

    def stop(self) -> None:
        """Ends its thread without waiting for a stuck call."""


@define
class LibvirtDriver:
    """Implements :class:`consoled.interfaces.Driver` over one libvirt URI.

    :ivar uri: ``[libvirt] uri``.
    :ivar host: the name of the compute host, or None for libvirt's own word.
    :ivar proxyclient_address: where ports that listen on every address are reached.
    :ivar default_project: the project of domains without nova metadata, or None.
    :ivar worker: one thread (:class:`consoled.compute.libvirt.thread.DaemonThread`).
    :ivar timeout: seconds for an answer; while an overdue call is still stuck in the
        thread, everybody else is told so at once.
    """

    uri: str
    host: str | None
    proxyclient_address: str
    default_project: str | None
    worker: OwnWorker
    clock: IReactorTime
    timeout: float = 5.0
    client: LibvirtClient = field()
    _log: Logger = field(factory=Logger, init=False)
    _overdue: int = field(default=0, init=False)
    _away: bool = field(default=False, init=False)
    _noted: dict[str, tuple[str, ...]] = field(factory=dict, init=False)

    @client.default
    def _client(self) -> LibvirtClient:
        return LibvirtClient(self.uri)

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""
        return "libvirt"

    def start(self) -> None:
        """Starts the thread; the connection is opened with the first question."""
        self.worker.start()

    def stop(self) -> Deferred[None]:
        """Closes the connection and ends the thread; a stuck call is left behind."""
        closed: Deferred[None] = self._ask(self.client.close)
        # It does not matter any more whether libvirt answers.
        return closed.addErrback(lambda _: None).addBoth(lambda _: self.worker.stop())

    def reload(self) -> Deferred[None]:
        """Nothing to read again: every answer is live."""
        return succeed(None)

    def instances(self) -> Deferred[Sequence[Instance]]:
        """All domains, in the order of their names.

        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        return self._ask(self._read_all)

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One domain as it is now.

        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.Unavailable: libvirt does not answer.
        """
        if not _UUID.fullmatch(uuid):
            return fail(NotFound("There is no such instance: its id is not a UUID."))
        return self._ask(lambda: self._read_one(uuid))

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
            metadata={"domain": facts.domain},
        )

    def _note(self, facts: DomainFacts) -> None:
        """Says what cannot be used, once until it changes."""
        if facts.notes != self._noted.get(facts.uuid, ()):
            self._noted[facts.uuid] = facts.notes
            for note in facts.notes:
                self._log.warn("{domain}: {note}", domain=facts.domain, note=note)

    def _ask(self, question: Callable[[], T]) -> Deferred[T]:
        if self._overdue:
            return fail(_no_answer())
        answer: Deferred[T] = Deferred()
        timer = self.clock.callLater(self.timeout, self._give_up, answer)

        def done(outcome: T | Failure) -> None:
            if timer.active():
                timer.cancel()
            else:
                self._overdue -= 1
            judged = self._judged(outcome)
            if not answer.called:
                answer.callback(judged)

        self.worker.run(question).addBoth(done)
        return answer

    def _give_up(self, answer: Deferred[T]) -> None:
        self._overdue += 1
        self._note_away(f"no answer within {self.timeout:g} s")
        if not answer.called:
            answer.errback(_no_answer())

    def _judged(self, outcome: T | Failure) -> T | Failure:
        if isinstance(outcome, Failure) and outcome.check(ClientError):
            self._note_away(outcome.getErrorMessage())
            return Failure(_no_answer())
        if self._away and not self._overdue:
            self._away = False
            self._log.info("libvirt at {uri} answers again", uri=self.uri)
        return outcome

    def _note_away(self, cause: str) -> None:
        if not self._away:
            self._away = True
            self._log.error("libvirt at {uri} is away: {cause}", uri=self.uri, cause=cause)


def _no_answer() -> Unavailable:
    return Unavailable("The hypervisor does not answer now; try again in a moment.")
