"""What becomes of a line whose port closes: its guest is on another host, or it is the end.

Also the other way round: a guest that comes up on another host is expected there
(:mod:`consoled.proxy.moving`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoledError
from consoled.model import SERIAL, SHELL, Instance, InstanceState
from consoled.proxy.hangup import PORT_CLOSED, why_hung_up
from consoled.proxy.leg import OpenConsole
from consoled.proxy.moving import (
    MOVED,
    MOVING,
    RECENT,
    SOURCE_PATIENCE,
    UNCERTAIN,
    Ahead,
    went_to,
)

if TYPE_CHECKING:
    from consoled.proxy.line import Line

log = Logger()


@define(eq=False)
class Switch:
    """The part of a line that finds its guest again.

    :ivar moving: whether the port has closed, and the guest is looked for on other hosts; input
        waits meanwhile, and so does whoever comes.
    """

    line: Line
    moving: bool = field(default=False, init=False)
    _typed: float = field(default=-RECENT, init=False)
    _ahead: Ahead | None = field(default=None, init=False)
    _lookout: Deferred[None] | None = field(default=None, init=False)

    @property
    def _follows(self) -> bool:
        """A shell's connection goes to the guest itself, and moves with it."""
        return self.line.opener.follows and self.line.key.console_type == SERIAL

    def note_typed(self) -> None:
        """Input went to the port."""
        self._typed = self.line.clock.seconds()

    def expect(self, instance: Instance) -> None:
        """The guest comes up on another compute host, or runs there: its port is dialled ahead.

        :param instance: as that host sees it; asked of an open line only.
        """
        if not self._follows or self.moving:
            return
        line, ahead = self.line, self._ahead
        console = instance.console(line.key.index)
        if console is not None and (ahead is None or ahead.over):
            dial = Deferred.fromCoroutine(
                line.opener.ahead(instance, console, line.token, line.console.user)
            )
            self._ahead = Ahead(instance, console, dial)
        if instance.state is InstanceState.RUNNING:
            # The old host's guest takes nothing any more.
            line.throttle.hold(MOVING)
            line.clock.callLater(SOURCE_PATIENCE, self._doubt, line.console)

    def lost(self) -> None:
        """The port has closed."""
        if self._follows:
            self.moving = True
            self.line.throttle.hold(MOVING)
        else:
            # It ends for certain: nobody comes to it while the reason is looked for.
            self.line.over = True
        self._lookout = Deferred.fromCoroutine(self._look())
        self._lookout.addErrback(self._failed)

    def close(self) -> Deferred[None]:
        """The line ends: nothing is looked for; fires when no socket of this is open."""
        lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.cancel()
        ahead, self._ahead = self._ahead, None
        return succeed(None) if ahead is None else ahead.close(self.line.clock)

    def _doubt(self, former: OpenConsole) -> None:
        """The guest runs elsewhere, and its old port says nothing of that."""
        if self._is_with(former):
            Deferred.fromCoroutine(self._give_up(former)).addErrback(self._failed)

    async def _give_up(self, former: OpenConsole) -> None:
        instance = await went_to(self.line.driver, former, self.line.clock)
        if not self._is_with(former):
            return
        if instance is None:
            self.line.throttle.free(MOVING)
        else:
            transport: Any = former.leg.transport
            transport.abortConnection()

    def _is_with(self, console: OpenConsole) -> bool:
        return self.line.is_open and not self.moving and self.line.console is console

    async def _look(self) -> None:
        line, former = self.line, self.line.console
        if self.moving:
            instance = await went_to(line.driver, former, line.clock)
            if instance is not None:
                await self._follow(former, instance)
                return
            line.over = True
        ended = former.leg.ending if line.key.console_type == SHELL else PORT_CLOSED
        uuid, fault = line.key.instance_uuid, former.leg.fault
        self._end(*await why_hung_up(line.driver, uuid, line.clock, fault, ended))

    async def _follow(self, former: OpenConsole, instance: Instance) -> None:
        line, ahead, leg = self.line, self._ahead, None
        if ahead is not None and ahead.leads_to(instance, ahead.console):
            leg = await ahead.leg
        elif ahead is not None:
            await ahead.close(line.clock)
        try:
            console = await line.opener.follow(former, instance, line.token, leg)
        except ConsoledError as error:
            self._end(error.close_code, str(error))
            return
        kept = b"" if leg is None or ahead is None else ahead.kept()
        recently = line.clock.seconds() - self._typed < RECENT
        certain = not recently and not line.throttle.holds("console")
        self._lookout = self._ahead = None
        self.moving = False
        line.go_on(console, kept)
        for member in list(line.members):
            member.moved(MOVED if certain else UNCERTAIN, certain=certain)
        line.throttle.free(MOVING)

    def _end(self, code: int, reason: str) -> None:
        # What follows ends the line, which has nothing of this to give up any more.
        self._lookout = None
        self.line.end_all(code, reason)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            key = self.line.key
            log.failure(
                "console {index} of {instance_uuid}: its port closed",
                failure,
                instance_uuid=key.instance_uuid,
                index=key.index,
            )
            self._end(ConsoledError.close_code, PORT_CLOSED)
