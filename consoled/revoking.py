"""Tokens after their issue: what an operator sees of them, and how they are taken back.

It needs the cell database and nothing else: a token that has leaked can be taken back while
the hypervisors do not answer. So an instance's project is the one that it had when a token
was last issued for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.errors import BadRequest, Conflict, Forbidden, NotFound, NotInThisCell
from consoled.interfaces import Policy, TokenStore
from consoled.model import Caller, TokenRecord

log = Logger()

PREFIX_LENGTH = 12
"""Digits of a hash that name a token: as many as logs and answers have."""

_PREFIX = re.compile(rf"[0-9a-f]{{{PREFIX_LENGTH},64}}", re.ASCII)


def _release_nothing(_token_hash: str) -> Deferred[None]:
    return succeed(None)


@frozen
class TokenRegister:
    """What the REST API does with tokens that exist.

    :ivar store: where they are; None where the tokens are in the hands of another service
        (``[DEFAULT] console_tokens_backend``).
    :ivar release: forgets what was kept beside a token, by its hash.
    """

    policy: Policy
    store: TokenStore | None
    release: Callable[[str], Deferred[None]] = _release_nothing

    def show(self, caller: Caller, prefix: str) -> Deferred[TokenRecord]:
        """The token whose hash begins so.

        :raises consoled.errors.NotFound: there is none, or it is another project's, in the
            same words.
        :raises consoled.errors.Forbidden: it is the own project's, and policy says no.
        :raises consoled.errors.Conflict: there are several.
        :raises consoled.errors.BadRequest: the tokens are not kept here.
        :raises consoled.errors.Unavailable: policy or database are away.
        """
        return Deferred.fromCoroutine(self._find(self._kept(), caller, prefix, Rule.TOKENS_SHOW))

    def revoke(self, caller: Caller, prefix: str, request_id: str) -> Deferred[None]:
        """Takes back the token whose hash begins so. A session that it has opened goes on.

        :param request_id: for the audit line.
        :raises consoled.errors.ConsoledError: as of :meth:`show`.
        """
        return Deferred.fromCoroutine(self._revoke(self._kept(), caller, prefix, request_id))

    def _kept(self) -> TokenStore:
        if self.store is None:
            raise BadRequest(
                "The tokens of this cell are not in its own database, so they can neither be "
                "shown nor taken back here; each one ends when it expires."
            )
        return self.store

    async def _revoke(
        self, store: TokenStore, caller: Caller, prefix: str, request_id: str
    ) -> None:
        record = await self._find(store, caller, prefix, Rule.TOKENS_DELETE)
        token = record.token
        # First, so that a second try does both.
        await self.release(token.token_hash)
        if not await store.revoke(token):
            raise _absent(prefix)
        log.info(
            "Token {token_id} revoked by {user_id}",
            event="token_revoked",
            token_id=token.token_id,
            user_id=caller.user_id,
            project_id=caller.project_id,
            instance_uuid=token.instance_uuid,
            index=token.index,
            request_id=request_id,
        )

    async def _find(
        self, store: TokenStore, caller: Caller, prefix: str, rule: Rule
    ) -> TokenRecord:
        if not _PREFIX.fullmatch(prefix):
            raise NotFound(
                f"There is no such token; a token is named by the first {PREFIX_LENGTH} or more "
                "hex digits of its hash, never by itself."
            )
        known = await store.named(prefix)
        # Several that are hidden are none: only those that the caller may act on are counted.
        found = [r for r in known if await self.policy.allows(rule, caller, r.owner)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(
                f"{len(found)} tokens have hashes that begin with {prefix}; give more digits."
            )
        if any(r.owner is not None and r.owner == caller.project_id for r in known):
            raise Forbidden(
                f"Policy does not allow {rule} on this token; "
                "ask an administrator of the project for a role that does."
            )
        raise _absent(prefix)


def _absent(prefix: str) -> NotFound:
    return NotInThisCell(f"Token {prefix} could not be found.")
