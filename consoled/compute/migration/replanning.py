"""The serial ports of a domain's next start, planned again at the end of its migration.

A live migration may take hours, and the guest keeps its hardware meanwhile. What it has at its
next start, on its new host, is planned when it has come there: a domain that follows its image
(:mod:`consoled.compute.libvirt.serial_record`) gets the ports that the image asks for by then.
The image is asked about on behalf of whoever wanted the migration, with a token that has
expired long ago as a rule. It is kept for that, encrypted, until the migration is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.compute.image_source import ImageQuestion, Said
from consoled.compute.libvirt.configuring import Change
from consoled.compute.libvirt.serial_devices import follows_image
from consoled.compute.libvirt.xml import DomainXMLError
from consoled.compute.migration.values import Leaving
from consoled.errors import ConsoledError, TokenRefused
from consoled.openstack.values import UserToken

LONGEST = 48 * 3600.0
"""Seconds that a token is kept at most: as long as Keystone lets services use an expired one
(``[token] allow_expired_window``, two days by default)."""


class Keeper(Protocol):
    """Keeps tokens (:class:`consoled.openstack.keeping.TokenKeeper`)."""

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Keeps one for an operation."""

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """That of an operation."""

    def forget(self, operation: str) -> Deferred[None]:
        """The operation has ended."""

    def forget_all(self, prefix: str) -> Deferred[None]:
        """All operations have ended whose names begin so."""


class Images(Protocol):
    """Knows images (:class:`consoled.openstack.images.ImageProperties`)."""

    def asking(self, user: UserToken | None) -> ImageQuestion | None:
        """What asks on behalf of that user; None for nobody."""


class Planner(Protocol):
    """Plans a domain's ports (:class:`consoled.compute.libvirt.configuring.DomainConfigurator`)."""

    def replan(self, domain: str, ask: ImageQuestion) -> Deferred[Change | None]:
        """Gives it those that its image asks for by now, if it follows that."""


@frozen
class Replanning:
    """What plans ports again, for one daemon.

    :ivar owner: this daemon's name, the same after a restart, and no other daemon's.
    """

    images: Images
    keeper: Keeper
    owner: str
    _log: Logger = field(factory=Logger, init=False, repr=False)

    def start(self) -> Deferred[None]:
        """Forgets the tokens of earlier migrations: after a restart nobody sees those through,
        and libvirt goes on alone."""
        forgotten = self.keeper.forget_all(f"migration:{self.owner}:")
        return forgotten.addErrback(self._left, "earlier migrations")

    def of(self, user: UserToken | None, planner: Callable[[], Planner]) -> Replan | None:
        """For one migration; None where nobody can be asked on anybody's behalf.

        :param planner: of the destination's domains.
        """
        return None if user is None else Replan(self, planner, user)

    def _left(self, failure: Failure, what: str) -> None:
        failure.trap(ConsoledError)
        self._log.warn(
            "the users' tokens kept for {what} are deleted when their time is over: {cause}",
            what=what,
            cause=failure.getErrorMessage(),
        )


@define(eq=False)
class Replan:
    """Plans the ports of one domain again. Implements
    :class:`consoled.compute.migration.migrator.Afterwards`."""

    replanning: Replanning
    planner: Callable[[], Planner]
    _user: UserToken | None = field(repr=False)
    _kept: bool = field(default=False, init=False)

    def begin(self, found: Leaving) -> Deferred[bool]:
        """Keeps the user's token, if it will be needed.

        :returns: whether it is; the domain follows its image then.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return Deferred.fromCoroutine(self._begin(found))

    def replan(self, uuid: str) -> Deferred[Change | None]:
        """The domain is on its new host.

        :raises consoled.errors.TokenRefused: the user's token does not count any more.
        :raises consoled.errors.ConsoledError: the ports are as they were; the text says why.
        """
        return self.planner().replan(uuid, lambda *what: Deferred.fromCoroutine(self._ask(*what)))

    def end(self, uuid: str) -> Deferred[None]:
        """Forgets the token, whatever has become of the migration."""
        if not self._kept:
            return succeed(None)
        forgotten = self.replanning.keeper.forget(self._operation(uuid))
        return forgotten.addErrback(self.replanning._left, f"the migration of {uuid}")

    async def _begin(self, found: Leaving) -> bool:
        # From now on it is kept encrypted, or not at all.
        user, self._user = self._user, None
        if user is None:
            return False
        try:
            follows = found.kept is not None and follows_image(found.kept)
        except DomainXMLError:
            follows = False
        if follows:
            self._kept = True
            await self.replanning.keeper.keep(self._operation(found.uuid), user, LONGEST)
        return follows

    async def _ask(self, uuid: str, image_id: str | None) -> Said:
        user = await self.replanning.keeper.find(self._operation(uuid))
        ask = self.replanning.images.asking(user)
        if ask is None:
            raise TokenRefused(
                "The token of the user who wanted the migration is not kept any more."
            )
        return await ask(uuid, image_id)

    def _operation(self, uuid: str) -> str:
        return f"migration:{self.replanning.owner}:{uuid}"
