"""Asks OpenStack's services on a user's behalf, after the user's token has expired, too
(specification: use service token for long running tasks).

A call carries the user's token and, with ``[service_user] send_service_user_token``, one of
consoled's own user, for whose sake Keystone's middleware passes over the end of the user's.
Where a service is, says the catalog of consoled's own user: Keystone would not answer an expired
token alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from json import JSONDecodeError
from typing import Any, Protocol, TypeVar

from attrs import define, field
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.service_token import ServiceTokenAuthWrapper
from keystoneauth1.token_endpoint import Token
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ServiceAbsent, Unavailable
from consoled.openstack.outcomes import Outcome, name_of, outcome_of
from consoled.openstack.retrying import RetryRule
from consoled.openstack.service_user import LoginFailed, OneCall, ServiceUser
from consoled.openstack.values import UserToken

T = TypeVar("T")

_TROUBLES = ClientException, JSONDecodeError, LoginFailed

STOPPING = "consoled is stopping, and asks no other service any more."

STOP_PATIENCE = 2.0
"""Seconds that a stop waits for threads in which a service is asked."""

_LEFT_OUT = {
    "image": "properties of images and the archive of recordings",
    "block-storage": "properties of volumes that instances boot from",
    "network": "the addresses that Neutron knows",
}


class Failed(Exception):
    """In a worker: a question failed.

    :ivar outcome: what that means.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.error))
        self.outcome = outcome


class Threads(Protocol):
    """What questions wait in; :class:`consoled.workers.ThreadWorker`."""

    def run(self, fn: Callable[[], T], /) -> Deferred[T]:
        """The result of ``fn`` from a thread."""

    def start(self) -> None:
        """Starts the threads."""

    def stop(self) -> Deferred[None] | None:
        """Ends them when they have nothing to do."""


@define(eq=False)
class ServiceCalls:
    """Implements :class:`consoled.interfaces.Calls`.

    :ivar own: consoled's own user.
    :ivar vouch: whether its token goes beside a user's.
    :ivar short: threads of questions that are repeated.
    :ivar long: threads of those that are not, and may take hours.
    :ivar jitter: gives a random number, 0 <= number < 1.
    """

    own: ServiceUser
    vouch: bool
    short: Threads
    long: Threads
    clock: IReactorTime
    rule: RetryRule = field(factory=RetryRule)
    jitter: Callable[[], float] = random.random
    _waited_for: set[Deferred[Any]] = field(factory=set, init=False)
    _absent: set[str] = field(factory=set, init=False)
    _stopped: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def start(self) -> None:
        """Starts the threads; called after twistd's fork."""
        self.short.start()
        self.long.start()

    def stop(self) -> Deferred[None]:
        """Gives up what is asked now, and ends the threads.

        One that waits for a service is left to itself after :data:`STOP_PATIENCE`: it ends with
        the process.
        """
        self._stopped = True
        for waiting in list(self._waited_for):
            waiting.cancel()
        ended: Deferred[None] = Deferred()
        stopping = [threads.stop() or succeed(None) for threads in (self.short, self.long)]

        def look(_: object) -> None:
            if all(one.called for one in stopping) and not ended.called:
                deadline.cancel()
                ended.callback(None)

        deadline = self.clock.callLater(STOP_PATIENCE, ended.callback, None)
        for one in stopping:
            one.addBoth(look)
        return ended

    def ask(
        self,
        service: str,
        user: UserToken | None,
        fn: Callable[[Adapter], T],
        *,
        repeat: bool = True,
    ) -> Deferred[T]:
        """As :meth:`consoled.interfaces.Calls.ask` says. Cancelling ends waits and repetitions;
        what runs in a thread runs on."""
        rule = self.rule if repeat else RetryRule(most=0)
        threads = self.short if repeat else self.long
        return Deferred.fromCoroutine(
            self._ask(service, threads, rule, lambda: self._once(service, user, fn, repeat))
        )

    def has(self, service: str) -> Deferred[bool]:
        """As :meth:`consoled.interfaces.Calls.has` says."""
        return Deferred.fromCoroutine(self._has(service))

    def service_token(self) -> Deferred[str | None]:
        """The token of consoled's own user, for requests that others hand on for us.

        :returns: None while Keystone does not give one.
        """

        def none(failure: Failure) -> None:
            failure.trap(LoginFailed)

        return self.short.run(self.own.token).addErrback(none)

    async def _has(self, service: str) -> bool:
        try:
            await self._ask(service, self.short, self.rule, lambda: self._url(service, None))
        except ServiceAbsent:
            return False
        return True

    async def _ask(
        self, service: str, threads: Threads, rule: RetryRule, once: Callable[[], T]
    ) -> T:
        begun, done = self.clock.seconds(), 0
        while True:
            try:
                answer = await self._unless_stopped(lambda: threads.run(once))
            except Failed as failed:
                outcome = failed.outcome
                passed = self.clock.seconds() - begun
                wait = None
                if outcome.passing:
                    wait = rule.wait(done, passed, outcome.told, self.jitter())
                if wait is None:
                    self._note(service, outcome)
                    raise outcome.error from None
                self._log.info(
                    "{error} Asked again in {wait:.1f} s.",
                    event="service_asked_again",
                    error=outcome.error,
                    wait=wait,
                )
                await self._unless_stopped(partial(deferLater, self.clock, wait))
                done += 1
            else:
                self._absent.discard(service)
                return answer

    async def _unless_stopped(self, begin: Callable[[], Deferred[T]]) -> T:
        if self._stopped:
            raise Unavailable(STOPPING)
        waited_for = begin()
        self._waited_for.add(waited_for)
        try:
            return await waited_for
        except CancelledError:
            if self._stopped:
                raise Unavailable(STOPPING) from None
            raise
        finally:
            self._waited_for.discard(waited_for)

    def _note(self, service: str, outcome: Outcome) -> None:
        if isinstance(outcome.error, ServiceAbsent) and service not in self._absent:
            self._absent.add(service)
            self._log.warn(
                "{error} Left out without it: {lacking}.",
                event="service_absent",
                error=outcome.error,
                lacking=_LEFT_OUT.get(service, "whatever needs it"),
            )

    def _once(
        self, service: str, user: UserToken | None, fn: Callable[[Adapter], T], repeat: bool
    ) -> T:
        """In a thread: one try, and a second one at once where our token was refused.

        Of a request that may be sent twice keystoneauth has made that second try already.
        """
        if self._stopped:
            raise Failed(Outcome(Unavailable(STOPPING)))
        own = OneCall(self.own)
        try:
            return fn(self._adapter(service, user, own))
        except _TROUBLES as error:
            outcome = outcome_of(service, user, error)
            if not (outcome.token and own.invalidate() and repeat):
                raise Failed(outcome) from None
        try:
            return fn(self._adapter(service, user, own))
        except _TROUBLES as error:
            raise Failed(outcome_of(service, user, error)) from None

    def _adapter(self, service: str, user: UserToken | None, own: OneCall) -> Adapter:
        url = self._url(service, user)
        auth: BaseAuthPlugin = own
        if user is not None:
            auth = Token(url, user.value)
            if self.vouch:
                auth = ServiceTokenAuthWrapper(user_auth=auth, service_auth=own)
        return Adapter(self.own.session, auth=auth, endpoint_override=url)

    def _url(self, service: str, user: UserToken | None) -> str:
        try:
            url = (
                self.own.own_url(service)
                if user is None
                else self.own.url(service, user.project_id)
            )
        except LoginFailed as error:
            raise Failed(outcome_of(service, user, error)) from None
        if url is None:
            text = f"Keystone's catalog has no endpoint of {name_of(service)}."
            raise Failed(Outcome(ServiceAbsent(text)))
        return url
