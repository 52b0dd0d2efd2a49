"""Authentication by Keystone: the token of ``X-Auth-Token``, and a service's beside it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from consoled.errors import Unauthorized
from consoled.interfaces import Worker
from consoled.model import Caller

USER = "X-Auth-Token"
SERVICE = "X-Service-Token"

MOST = 10_000
"""Callers that are remembered; the one that was not heard of for longest goes first."""


@frozen
class Identified:
    """Whose a token is.

    :ivar expires: seconds since the epoch by Keystone's clock; None where it does not tell.
    """

    caller: Caller
    expires: float | None


@define(eq=False)
class KeystoneIdentity:
    """Implements :class:`consoled.interfaces.Identity`.

    What Keystone says of a token is remembered for a while, as its middleware's users know
    it: a token that is revoked meanwhile opens until that is over. Refusals are not. Requests
    that come with one token at the same time ask Keystone once. No token is remembered, only
    its hash.

    :ivar validate: asks Keystone (:class:`consoled.auth.validating.TokenValidator`).
    :ivar worker: where that is done.
    :ivar remember: seconds, ``[keystone_authtoken] token_cache_time``; 0 asks each time.
    :ivar wall: the time of day, which an expiry is compared with.
    """

    validate: Callable[[str, str | None], Identified]
    worker: Worker
    clock: IReactorTime
    remember: float
    wall: Callable[[], float]
    _known: OrderedDict[bytes, tuple[float, Caller]] = field(
        factory=OrderedDict, init=False, repr=False
    )
    _asked: dict[bytes, list[Deferred[Caller]]] = field(factory=dict, init=False, repr=False)

    def authenticate(self, headers: Headers) -> Deferred[Caller]:
        """The caller to whom the token belongs. Whoever else the headers claim to be is not
        looked at.

        :raises consoled.errors.Unauthorized: no token, two, or one that Keystone refuses.
        :raises consoled.errors.Unavailable: Keystone does not answer.
        """
        try:
            token, service = _only(headers, USER), _only(headers, SERVICE)
        except Unauthorized as error:
            return fail(error)
        if token is None:
            return fail(Unauthorized(f"This request needs a token of Keystone's in {USER}."))
        key = hashlib.sha256(f"{token}\n{service or ''}".encode("utf-8", "replace")).digest()
        known = self._known.get(key)
        if known is not None and known[0] > self.clock.seconds():
            self._known.move_to_end(key)
            return succeed(evolve(known[1], token=token))
        waiting: Deferred[Caller] = Deferred()
        if key in self._asked:
            self._asked[key].append(waiting)
        else:
            self._asked[key] = [waiting]
            self.worker.run(self.validate, token, service).addBoth(self._answered, key, token)
        return waiting

    def _answered(self, outcome: Identified | Failure, key: bytes, token: str) -> None:
        if isinstance(outcome, Identified):
            self._note(key, outcome)
        for waiting in self._asked.pop(key):
            if waiting.called:
                continue  # Its client has gone.
            if isinstance(outcome, Identified):
                waiting.callback(evolve(outcome.caller, token=token))
            else:
                waiting.errback(outcome)

    def _note(self, key: bytes, found: Identified) -> None:
        left = self.remember
        if found.expires is not None:
            left = min(left, found.expires - self.wall())
        # One that a service vouches for, though it has expired, is asked about each time.
        if left <= 0:
            return
        self._known[key] = (self.clock.seconds() + left, found.caller)
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def _only(headers: Headers, name: str) -> str | None:
    """The header's one value.

    :raises consoled.errors.Unauthorized: it is there twice, or no token can look like that.
    """
    sent = headers.getRawHeaders(name.encode("ascii"), [])
    if len(sent) > 1:
        raise Unauthorized(f"This request has more than one {name} header; send one.")
    if not sent:
        return None
    try:
        return sent[0].strip().decode("ascii") or None
    except UnicodeDecodeError:
        raise Unauthorized(f"The token in the {name} header is not one of Keystone's.") from None
