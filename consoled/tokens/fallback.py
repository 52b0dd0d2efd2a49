"""Two authorities for the time of a change: ``[workarounds] enable_consoleauth``.

A token that the tables do not have may be one of the old service's: then that one is asked
too, until the operator turns it off. New tokens go to the tables only.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred

from consoled.errors import TokenInvalid
from consoled.interfaces import TokenAuthority
from consoled.model import WRITER, Caller, Console, ConsoleAuthToken, Instance, IssuedToken


@define
class FallbackAuthority:
    """Implements :class:`consoled.interfaces.TokenAuthority`.

    :ivar primary: issues, and is asked first.
    :ivar legacy: is asked for what the first does not know; None when that is turned off.
        Setting it changes only what is asked from then on: no session ends by it.
    """

    primary: TokenAuthority
    legacy: TokenAuthority | None = None

    def issue(
        self,
        instance: Instance,
        console: Console,
        caller: Caller,
        access_url: str,
        rights: frozenset[str] = frozenset(),
        *,
        role: str = WRITER,
    ) -> Deferred[IssuedToken]:
        """A new token of the first."""
        return self.primary.issue(instance, console, caller, access_url, rights, role=role)

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """What the token opens.

        :raises consoled.errors.TokenInvalid: neither of them takes it.
        :raises consoled.errors.Unavailable: one that had to be asked is away.
        """
        if self.legacy is None:
            return self.primary.validate(clear)
        return Deferred.fromCoroutine(self._validate(clear))

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """As the first says; what both take opens again and again.

        :raises consoled.errors.TokenInvalid: it has been used before.
        """
        return self.primary.spend(token)

    async def _validate(self, clear: str) -> ConsoleAuthToken:
        try:
            return await self.primary.validate(clear)
        except TokenInvalid:
            if self.legacy is None:
                raise
        return await self.legacy.validate(clear)
