"""Counts the checks of tokens, whichever backend does them."""

from __future__ import annotations

from typing import TypeVar

from attrs import frozen
from prometheus_client import Counter
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from consoled.errors import ConsoledError, Unavailable
from consoled.interfaces import TokenAuthority
from consoled.metrics.instruments import CANCELLED, FAILED, INVALID, UNAVAILABLE, VALID
from consoled.model import WRITER, Caller, Console, ConsoleAuthToken, Instance, IssuedToken

T = TypeVar("T")


@frozen
class CountedAuthority:
    """Implements :class:`consoled.interfaces.TokenAuthority` around another one.

    :ivar validations: by result.
    """

    authority: TokenAuthority
    validations: Counter

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
        """As the other one."""
        return self.authority.issue(instance, console, caller, access_url, rights, role=role)

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """As the other one, and counted."""
        return self.authority.validate(clear).addBoth(self._count)

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """As the other one."""
        return self.authority.spend(token)

    def _count(self, outcome: T) -> T:
        self.validations.labels(_result(outcome)).inc()
        return outcome


def _result(outcome: object) -> str:
    if not isinstance(outcome, Failure):
        return VALID
    if outcome.check(CancelledError):
        return CANCELLED
    if outcome.check(Unavailable):
        return UNAVAILABLE
    # Whatever else the hierarchy says of a token is about the token or what it is for.
    return INVALID if outcome.check(ConsoledError) else FAILED
