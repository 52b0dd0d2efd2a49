"""The user's own token, from the issue of a console URL to the sessions that it opens.

Whoever asks for a URL shows a token of Keystone's; whoever opens it shows the console token
only. What a session does with its user's rights (addresses that Neutron knows, a recording that
goes to Glance) needs the first one again. So it is kept beside the console token for as long as
that opens anything, encrypted, and only where somebody will ask for it.

A use that lasts longer takes what it finds here for itself when its session begins: into memory
where it ends with the process, else to the keeper under the name of its own operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.errors import ConsoledError
from consoled.model import Caller, ConsoleAuthToken
from consoled.openstack.values import UserToken

log = Logger()

SLACK = 60.0
"""Seconds that it is kept beyond the life of the console token: a session may just open."""

Use = Callable[[ConsoleAuthToken], bool]
"""Whether what a new console token opens will ask for its user's own token."""


class Keeper(Protocol):
    """What is asked of :class:`consoled.openstack.keeping.TokenKeeper`."""

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Keeps it for an operation, that long at most."""

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """What is kept for an operation."""

    def forget(self, operation: str) -> Deferred[None]:
        """The operation is over."""


@define(eq=False)
class ConsoleTokens:
    """Users' tokens by the hash of the console token that was issued for them.

    :ivar keeper: None keeps nothing: users have no tokens of Keystone's here.
    :ivar life: seconds that a console token lives, ``[consoleauth] token_ttl``.
    :ivar uses: nothing is kept of a console token that none of them will ask for.
    """

    keeper: Keeper | None
    life: float
    uses: list[Use] = field(factory=list)

    def keep_for(self, token: ConsoleAuthToken, caller: Caller) -> Deferred[None]:
        """Keeps the caller's own token beside the console token that was just issued to them.

        Where that fails the console opens all the same, without its user's rights; the log
        says so.

        :param caller: one without a token of Keystone's has nothing to keep.
        """
        user = UserToken.of(caller)
        keeper = self.keeper
        if keeper is None or user is None or not any(use(token) for use in self.uses):
            return succeed(None)
        return Deferred.fromCoroutine(self._keep(keeper, token, user))

    def find(self, token_hash: str) -> Deferred[UserToken | None]:
        """The token of the user to whom the console token was issued, expired perhaps.

        :param token_hash: of the console token.
        :returns: None where none was kept, or it cannot be read; the log says why then.
        """
        if self.keeper is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._find(self.keeper, token_hash))

    def release(self, token_hash: str) -> Deferred[None]:
        """The console token opens nothing any more: it was taken back.

        :param token_hash: of the console token.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if self.keeper is None:
            return succeed(None)
        return self.keeper.forget(operation_of(token_hash))

    async def _keep(self, keeper: Keeper, token: ConsoleAuthToken, user: UserToken) -> None:
        try:
            await keeper.keep(operation_of(token.token_hash), user, self.life + SLACK)
        except ConsoledError as error:
            log.warn(
                "the user's own token is not kept for console token {token_id}, whose sessions "
                "do without their user's rights: {cause}",
                event="user_token_not_kept",
                token_id=token.token_id,
                cause=error,
            )

    async def _find(self, keeper: Keeper, token_hash: str) -> UserToken | None:
        try:
            return await keeper.find(operation_of(token_hash))
        except ConsoledError as error:
            log.warn(
                "what was kept of the user's own token for console token {token_id} cannot be "
                "read, and its session does without its user's rights: {cause}",
                event="user_token_not_found",
                token_id=token_hash[:12],
                cause=error,
            )
            return None


def operation_of(token_hash: str) -> str:
    """The name under which the keeper has it."""
    return f"console:{token_hash}"
