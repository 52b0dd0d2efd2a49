"""Ends sessions whose users have lost their right to them meanwhile (faults.md T5).

A token was judged when it was issued, and a session may last for days after that. So now and
then Keystone is asked what each user may do now, and policy judges it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.errors import ConsoledError
from consoled.interfaces import Policy
from consoled.model import SHELL, Caller, ConsoleAuthToken
from consoled.proxy.core import SessionCore

NOT_ALLOWED = 4403
REASON = "You are not allowed to use this console any more."

Roles = Callable[[str, str | None], Deferred[frozenset[str]]]
"""The roles that a user has in a project now.

:raises consoled.errors.Unavailable: nobody can tell.
"""


def rule_of(token: ConsoleAuthToken) -> Rule:
    """What the token's user has to be allowed."""
    if token.console_type == SHELL:
        return Rule.SHELLS_CREATE
    return Rule.TOKENS_OBSERVE if token.observes else Rule.TOKENS_CREATE


@define(eq=False)
class Rechecker:
    """The loop.

    :ivar sessions: all that there are now.
    :ivar interval: seconds between two looks at a session, ``[proxy] recheck_interval``; 0 never
        looks.
    """

    sessions: Callable[[], Iterable[SessionCore]]
    roles: Roles
    policy: Policy
    clock: IReactorTime
    interval: float
    _log: Logger = field(factory=Logger, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[LoopingCall] | None = field(default=None, init=False)
    _round: Deferred[None] | None = field(default=None, init=False)

    def start(self) -> None:
        """Begins; the first look is an interval away."""
        if self.interval:
            self._loop = LoopingCall(self._look)
            self._loop.clock = self.clock
            self._ended = self._loop.start(self.interval, now=False)

    def stop(self) -> Deferred[LoopingCall] | None:
        """Ends it; fires when no look is under way."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._round is not None:
            self._round.cancel()
        return self._ended

    def _look(self) -> Deferred[None]:
        self._round = Deferred.fromCoroutine(self._all())
        return self._round

    async def _all(self) -> None:
        """Looks at every session, user by user; no error leaves it, which would end the loop."""
        of_user: dict[tuple[str, str | None], list[SessionCore]] = {}
        for core in self.sessions():
            # A token of another service's may have no user.
            if core.token.user_id is not None and core.line.is_open:
                user = core.token.user_id, core.token.project_id
                of_user.setdefault(user, []).append(core)
        try:
            for (user_id, project_id), cores in of_user.items():
                caller = Caller(user_id, project_id, await self.roles(user_id, project_id))
                for core in cores:
                    await self._judge(core, caller)
        except CancelledError:
            pass
        except ConsoledError as error:
            self._log.warn(
                "whether users still have their rights is not known, sessions go on: {cause}",
                event="recheck_failed",
                cause=error,
            )
        except Exception:
            self._log.failure("looking at users' rights failed, sessions go on")

    async def _judge(self, core: SessionCore, caller: Caller) -> None:
        rule = rule_of(core.token)
        project = core.line.console.instance.project_id
        if core.over or await self.policy.allows(rule, caller, project) or core.over:
            return
        self._log.info(
            "session {session_id} ends: policy does not allow {rule} to {user_id} any more",
            event="right_lost",
            session_id=core.session_id,
            rule=rule,
            user_id=caller.user_id,
            project_id=caller.project_id,
            instance_uuid=core.token.instance_uuid,
        )
        core.ended(NOT_ALLOWED, REASON)
