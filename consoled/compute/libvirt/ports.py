"""Who has a guest's serial ports, by QEMU's own word; throwing them off; BREAK.

Of a pty it is libvirt that knows who has it: a console is opened for a moment to see.

QEMU's monitor is asked through libvirt. A QEMU that hangs, or a guest in the middle of a
migration, keeps such a call for half a minute or for good. So these calls have connections
and threads of their own. Whatever fails of the first two only means that nothing is known;
whoever sends a BREAK is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import TypeVar
from zlib import crc32

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.libvirt import qmp
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.xml import DomainXMLError, serial_chardevs, serial_ptys
from consoled.errors import Conflict, Unavailable

T = TypeVar("T")

Question = Callable[[LibvirtClient, Callable[[], bool]], T]
"""Asked in a lane's thread; the second argument says whether nobody waits for it any more."""

QUIET = 2
"""Answers in a row that must find a port empty.

QEMU takes the next client out of its listen queue a turn of its loop after it dropped one,
and between two answers is at least one turn."""

LOOKS = 12
"""Answers after which a port that fills up again and again is left alone."""


@frozen(eq=False)
class Lane:
    """One thread and its own connection.

    :ivar client: used in that thread only.
    """

    asker: Asker
    client: LibvirtClient

    def end(self) -> Deferred[None]:
        """Closes the connection and ends the thread; a stuck call is left behind."""
        closed: Deferred[None] = self.asker.ask(self.client.close)
        # It does not matter any more whether libvirt answers.
        return closed.addErrback(lambda _: None).addBoth(lambda _: self.asker.worker.stop())


@define(eq=False)
class GuestPorts:
    """Implements :class:`consoled.interfaces.PortControl` and ``BreakControl`` over QEMU.

    :ivar lanes: a guest has always the same one, so one that hangs costs the others of its
        lane their answers, and nobody else. Without lanes nothing is known of any guest.
    """

    lanes: Sequence[Lane]
    _log: Logger = field(factory=Logger, init=False)
    _refused: str = field(default="", init=False)

    def start(self) -> None:
        """Starts the threads; the connections are opened with the first questions."""
        for lane in self.lanes:
            lane.asker.worker.start()

    def stop(self) -> Deferred[None]:
        """Closes the connections and ends the threads; a stuck call is left behind."""
        ends = DeferredList([lane.end() for lane in self.lanes])
        return ends.addCallback(lambda _: None)

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Closes whatever client the guest's port has, and those that wait behind it.

        It never fails.

        :returns: whether the port was seen empty after that.
        """

        def free(client: LibvirtClient, given_up: Callable[[], bool]) -> bool:
            return _free(client, instance_uuid, index, given_up)

        return self._ask(instance_uuid, free, False)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """The indexes of the ports that have a client now, as far as QEMU tells.

        It never fails.
        """
        nothing: frozenset[int] = frozenset()
        return self._ask(instance_uuid, lambda client, _: _held(client, instance_uuid), nothing)

    def send_break(self, instance_uuid: str, index: int) -> Deferred[None]:
        """Gives the guest's port a BREAK; asked of a driver that has lanes only.

        :raises consoled.errors.Conflict: there is no such port now, or QEMU refuses.
        :raises consoled.errors.Unavailable: QEMU does not answer in time.
        """
        lane, over, begun = self._lane(instance_uuid), Event(), Event()

        def send() -> None:
            _break(lane.client, instance_uuid, index, over, begun)

        def failed(failure: Failure) -> Failure:
            if failure.check(qmp.MonitorRefused, DomainXMLError):
                self._log.warn("no BREAK: {cause}", cause=failure.getErrorMessage())
                raise Conflict(
                    f"The hypervisor refused to send a BREAK to serial port {index} of instance "
                    f"{instance_uuid}; the log of consoled says why."
                )
            if failure.check(Unavailable) and begun.is_set():
                raise Unavailable(
                    "QEMU did not answer in time: the guest may have got the BREAK, or get it "
                    "later. Look at its console before you send another one."
                )
            return failure

        def ended(outcome: Failure | None) -> Failure | None:
            over.set()
            return outcome

        return lane.asker.ask(send).addBoth(ended).addErrback(failed)

    def _lane(self, uuid: str) -> Lane:
        return self.lanes[crc32(uuid.lower().encode()) % len(self.lanes)]

    def _ask(self, uuid: str, question: Question[T], unknown: T) -> Deferred[T]:
        if not self.lanes:
            return succeed(unknown)
        lane = self._lane(uuid)
        over = Event()

        def ended(outcome: T | Failure) -> T | Failure:
            over.set()
            return outcome

        def failed(failure: Failure) -> T:
            if failure.check(CancelledError):
                failure.raiseException()
            if failure.check(qmp.MonitorRefused, DomainXMLError):
                self._note(failure.getErrorMessage())
            elif not failure.check(Unavailable):
                self._log.failure("asking the monitor of {uuid}", failure, uuid=uuid)
            return unknown

        answer = lane.asker.ask(lambda: question(lane.client, over.is_set))
        return answer.addBoth(ended).addErrback(failed)

    def _note(self, cause: str) -> None:
        """Says why a monitor does not help, once until it is something else."""
        if cause != self._refused:
            self._refused = cause
            self._log.warn("who holds a guest's serial ports is not known: {cause}", cause=cause)


def _held(client: LibvirtClient, uuid: str) -> frozenset[int]:
    xml = _living(client, uuid)
    ptys = serial_ptys(xml)
    held = frozenset(index for index, alias in ptys.items() if client.pty_held(uuid, alias))
    return held | _connected(client, uuid, serial_chardevs(xml, "tcp"))


def _connected(client: LibvirtClient, uuid: str, chardevs: Mapping[int, str]) -> frozenset[int]:
    if not chardevs:
        return frozenset()
    connected = qmp.connected(_asked(client, uuid, qmp.QUERY_CHARDEV))
    return frozenset(index for index, chardev in chardevs.items() if chardev in connected)


def _free(client: LibvirtClient, uuid: str, index: int, given_up: Callable[[], bool]) -> bool:
    xml = _living(client, uuid)
    alias = serial_ptys(xml).get(index)
    if alias is not None:
        return not given_up() and client.throw_off_pty(uuid, alias)
    chardev = serial_chardevs(xml).get(index)
    if chardev is None:
        return False
    quiet = 0
    for _ in range(LOOKS):
        if chardev in qmp.connected(_asked(client, uuid, qmp.QUERY_CHARDEV)):
            quiet = 0
            # The answer may have come late: by now the port's client may be our own.
            if given_up():
                return False
            _asked(client, uuid, qmp.yank(chardev))
        else:
            quiet += 1
        if quiet == QUIET:
            return True
    return False


def _break(client: LibvirtClient, uuid: str, index: int, over: Event, begun: Event) -> None:
    chardev = serial_chardevs(_living(client, uuid)).get(index)
    if chardev is None:
        raise Conflict(
            f"Instance {uuid} has no serial port {index} that takes a BREAK now: it does not run, "
            "or not on this hypervisor."
        )
    # Nobody waits for it any more: a BREAK out of the blue is worse than none.
    if not over.is_set():
        begun.set()
        _asked(client, uuid, qmp.send_break(chardev))


def _living(client: LibvirtClient, uuid: str) -> str:
    """The XML of a domain; that of nothing where it is gone."""
    record = client.domain(uuid)
    return "<domain/>" if record is None else record.xml


def _asked(client: LibvirtClient, uuid: str, command: str) -> object:
    return qmp.returned(client.monitor(uuid, command))
