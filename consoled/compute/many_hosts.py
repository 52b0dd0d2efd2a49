"""A driver over several compute hosts: each answers for itself, and none waits for another.

A host that is away, or hangs, is left out of a listing (its own driver says so, once). One
instance is looked for on the host that its row names, then on all others at the same time:
the row may be older than a migration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NoReturn, TypeVar

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.following import foremost
from consoled.errors import Conflict, ConsoledError, NotFound, Unavailable
from consoled.interfaces import BreakControl, ConsoleDriver
from consoled.model import Instance, InstanceState

T = TypeVar("T")

log = Logger()


@define(eq=False)
class ManyHosts:
    """Implements :class:`consoled.interfaces.ConsoleDriver`, and ``BreakControl``.

    :ivar drivers: of each host, by its name.
    :ivar homes: of these instances, the hosts that their rows name.
    """

    drivers: Mapping[str, ConsoleDriver]
    homes: Callable[[Sequence[str]], Deferred[Mapping[str, str]]]

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""
        return next(iter(self.drivers.values())).name

    @property
    def breaks(self) -> BreakControl | None:
        """Sends BREAK where a host can."""
        return self if any(driver.breaks for driver in self.drivers.values()) else None

    def start(self) -> None:
        """Starts the drivers of all hosts."""
        for driver in self.drivers.values():
            driver.start()

    def stop(self) -> Deferred[None]:
        """Ends them at the same time."""
        ends = DeferredList([driver.stop() for driver in self.drivers.values()])
        return ends.addCallback(lambda _: None)

    def reload(self) -> Deferred[None]:
        """Has all of them read their sources again."""
        again = DeferredList([driver.reload() for driver in self.drivers.values()])
        return again.addCallback(lambda _: None)

    def instances(self) -> Deferred[Sequence[Instance]]:
        """The instances of all hosts that answer, each once, in the order of their names.

        :raises consoled.errors.Unavailable: none answers.
        """
        return Deferred.fromCoroutine(self._instances())

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One instance as it is now, where it runs or else where its row has it.

        :raises consoled.errors.NotFound: no host has it.
        :raises consoled.errors.Unavailable: those that answer do not run it, and one that may
            does not answer.
        """
        return Deferred.fromCoroutine(self._instance(uuid))

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Closes the port's client on the instance's host.

        :returns: False where it cannot, or the host is not known now.
        """
        return Deferred.fromCoroutine(self._free_port(instance_uuid, index))

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """The consoles that have a client now; none where the host is not known now."""
        return Deferred.fromCoroutine(self._held_ports(instance_uuid))

    def send_break(self, instance_uuid: str, index: int) -> Deferred[None]:
        """Gives the guest's port a BREAK.

        :raises consoled.errors.Conflict: there is no such port now, or the hypervisor refuses.
        :raises consoled.errors.Unavailable: the hypervisor does not answer in time.
        """
        return Deferred.fromCoroutine(self._send_break(instance_uuid, index))

    async def _instances(self) -> Sequence[Instance]:
        answers = await _answers([driver.instances() for driver in self.drivers.values()])
        heard = [answer for answer in answers if not isinstance(answer, Failure)]
        if not heard:
            _raise(answers)
        found: dict[str, list[Instance]] = {}
        for instance in chain.from_iterable(heard):
            found.setdefault(instance.uuid, []).append(instance)
        twice = [uuid for uuid, those in found.items() if len(those) > 1]
        homes = await self._homes(twice) if twice else {}
        chosen = [foremost(those, homes.get(uuid)) for uuid, those in found.items()]
        return sorted(chosen, key=lambda instance: (instance.name, instance.uuid))

    async def _instance(self, uuid: str) -> Instance:
        uuid = uuid.lower()
        home = (await self._homes([uuid])).get(uuid)
        here = [driver for name, driver in self.drivers.items() if name == home]
        others = [driver for name, driver in self.drivers.items() if name != home]
        at_home = await _answers([driver.instance(uuid) for driver in here])
        if any(map(_runs, at_home)):
            others = []
        elsewhere = await _answers([driver.instance(uuid) for driver in others], _runs)
        found = [one for one in at_home + elsewhere if isinstance(one, Instance)]
        # A copy that does not run says little while the host that should have it is silent.
        silent = any(isinstance(one, Failure) and not one.check(NotFound) for one in at_home)
        if not found or (silent and not any(map(_runs, found))):
            _raise(at_home + elsewhere)
        return foremost(found, home)

    async def _homes(self, uuids: Sequence[str]) -> Mapping[str, str]:
        try:
            return await self.homes(uuids)
        except Unavailable:
            return {}  # The hosts themselves know it, too.

    async def _at(self, uuid: str) -> ConsoleDriver:
        return self.drivers[(await self._instance(uuid)).host]

    async def _free_port(self, uuid: str, index: int) -> bool:
        try:
            return await (await self._at(uuid)).free_port(uuid, index)
        except ConsoledError:
            return False

    async def _held_ports(self, uuid: str) -> frozenset[int]:
        try:
            return await (await self._at(uuid)).held_ports(uuid)
        except ConsoledError:
            return frozenset()

    async def _send_break(self, uuid: str, index: int) -> None:
        try:
            breaks = (await self._at(uuid)).breaks
        except NotFound:
            breaks = None
        if breaks is None:
            raise Conflict(f"Instance {uuid} has no serial port {index} that takes a BREAK now.")
        await breaks.send_break(uuid, index)


def _answers(
    asked: Sequence[Deferred[T]], enough: Callable[[T | Failure], bool] = lambda _: False
) -> Deferred[list[T | Failure]]:
    """The answers of all, or those until one is enough; the rest is given up.

    Cancelling it gives up all of them.
    """
    heard: list[T | Failure] = []

    def give_up() -> None:
        for one in asked:
            one.cancel()

    def hear(answer: T | Failure) -> None:
        heard.append(answer)
        if isinstance(answer, Failure) and not answer.check(ConsoledError, CancelledError):
            log.failure("asking a compute host failed; the others serve", answer)
        if not done.called and (len(heard) == len(asked) or enough(answer)):
            done.callback(list(heard))
            give_up()

    done: Deferred[list[T | Failure]] = Deferred(lambda _: give_up())
    for one in asked:
        one.addBoth(hear)
    return done if asked else succeed([])


def _runs(answer: Instance | Failure) -> bool:
    return isinstance(answer, Instance) and answer.state is InstanceState.RUNNING


def _raise(answers: Sequence[T | Failure]) -> NoReturn:
    """The worst of what went wrong: an error of ours, then silence, then absence."""
    failures = [one for one in answers if isinstance(one, Failure)]
    failures.sort(key=lambda one: one.check(NotFound, Unavailable) is not None)
    failures.sort(key=lambda one: one.check(NotFound) is not None)
    failures[0].raiseException()
