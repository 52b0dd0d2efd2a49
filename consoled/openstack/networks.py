"""Neutron, asked for instances on somebody's behalf, within the time that a dial has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from consoled.errors import ServiceRefused, Unavailable
from consoled.interfaces import Calls
from consoled.model import Instance
from consoled.openstack import neutron
from consoled.openstack.addresses import BadAnswer, Interfaces, Port
from consoled.openstack.values import UserToken
from consoled.reaching.behalf import Behalf

T = TypeVar("T")

SHARE = 0.4
"""Of ``[proxy] connect_timeout``, for an answer: the hypervisor and the dial come after it."""

REST = 15.0
"""Seconds after a failure in which Neutron is asked only where nobody else knows."""


def asker(instance: Instance, behalf: Behalf) -> UserToken | None:
    """With whose rights Neutron is asked for an instance; None is consoled's own.

    The user's in the user's project, as Neutron shows nobody more. What belongs to another
    project was policy's decision before: an operator at a tenant's console, or a proxy node of
    the operator's on the way to it.
    """
    user = behalf.user
    return user if user is not None and user.project_id == instance.project_id else None


@define(eq=False)
class Networks:
    """What Neutron knows of instances.

    Nothing is remembered but that Neutron is away: an address may be another one a moment later.

    :ivar timeout: seconds for an answer: somebody waits for a connection meanwhile.
    """

    calls: Calls
    clock: IReactorTime
    timeout: float
    _log: Logger = field(factory=Logger, init=False)
    _rests_until: float = field(default=0.0, init=False)
    _away: bool = field(default=False, init=False)

    @property
    def rests(self) -> bool:
        """Whether it has failed a moment ago, so that others should be asked first."""
        return self._away and self.clock.seconds() < self._rests_until

    def interfaces(self, instance: Instance, behalf: Behalf) -> Deferred[Interfaces]:
        """The instance's ports, as Neutron has them now.

        None of an instance that is nobody's: who made a port for it could not be told.

        :raises consoled.errors.ServiceAbsent: there is no Neutron.
        :raises consoled.errors.TokenRefused: it does not take the user's token.
        :raises consoled.errors.Unavailable: it does not answer in time.
        :raises consoled.errors.ConsoledError: it refuses.
        """
        return Deferred.fromCoroutine(self._interfaces(instance, behalf))

    def router(self, instance: Instance, behalf: Behalf, port: Port) -> Deferred[str]:
        """The id of the router by which the network of the instance's port is left, or empty.

        :raises consoled.errors.ConsoledError: as of :meth:`interfaces`.
        """
        user = asker(instance, behalf)
        return Deferred.fromCoroutine(self._ask(user, partial(neutron.router, port=port)))

    async def _interfaces(self, instance: Instance, behalf: Behalf) -> Interfaces:
        owner = instance.project_id
        if owner is None:
            return Interfaces()
        device = partial(neutron.interfaces, device_id=instance.uuid)
        found = await self._ask(asker(instance, behalf), device)
        return found.of_project(owner)

    async def _ask(self, user: UserToken | None, fn: Callable[[Any], T]) -> T:
        asked = self.calls.ask(neutron.SERVICE, user, fn)
        try:
            found: T = await asked.addTimeout(self.timeout, self.clock, _late)
        except Unavailable as error:
            self._failed(error)
            raise
        except BadAnswer as error:
            raise ServiceRefused(f"Neutron does not answer as Neutron does: {error}.") from error
        self._answered()
        return found

    def _failed(self, error: Unavailable) -> None:
        self._rests_until = self.clock.seconds() + REST
        if not self._away:
            self._away = True
            self._log.warn(
                "Neutron is away; instances' addresses are what the inventory and the hypervisors "
                "say: {cause}",
                event="neutron_away",
                cause=error,
            )

    def _answered(self) -> None:
        if self._away:
            self._away = False
            self._log.info("Neutron answers again", event="neutron_back")


def _late(_outcome: object, timeout: float) -> NoReturn:
    try:
        raise TimedOut(timeout)
    except TimedOut as error:
        raise Unavailable(f"Neutron did not answer within {timeout:g} s.") from error
