"""The line: the hub of one open console.

One backend leg, held by one lease; a writer's seat, observers, and the last output in a ring.
The line is there from the first viewer that asks for the console to the last one that
leaves it, and outlives each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoleBusy
from consoled.interfaces import Driver
from consoled.leasing.values import ConsoleKey, Holder, Watcher
from consoled.model import ASKER, OBSERVER, SHELL, ConsoleAuthToken
from consoled.proxy.gate import InputThrottle, Valve
from consoled.proxy.leg import OpenConsole
from consoled.proxy.opening import Opener
from consoled.proxy.ring import Ring
from consoled.proxy.sharing import PORTION, REST, Sharing
from consoled.proxy.switching import Switch

log = Logger()

SCROLLBACK = 64 * 1024
"""Bytes of output that a line keeps for viewers that come later."""


class Member(Protocol):
    """What a line asks of a session."""

    @property
    def session_id(self) -> str:
        """Its name."""

    @property
    def holder(self) -> Holder:
        """Whose it is."""

    @property
    def writes(self) -> bool:
        """Whether it is a writer's, not an observer's."""

    @property
    def present(self) -> bool:
        """Whether its viewer is connected."""

    @property
    def attached(self) -> bool:
        """Whether its viewer sees the line."""

    def admit(self) -> Deferred[None]:
        """Uses its token up, where that is to be done.

        :raises consoled.errors.TokenInvalid: it has been used before.
        """

    def printed(self, data: bytes) -> None:
        """The guest's output."""

    def ended(self, code: int, reason: str) -> None:
        """The line is over for it."""

    def moved(self, text: str, *, certain: bool) -> None:
        """The guest goes on at another compute host, and so does the line.

        :param text: for the person.
        :param certain: whether all that was typed has reached the guest.
        """

    def company_changed(self) -> None:
        """Somebody has come or gone."""


@frozen
class Account:
    """What the cell is told of a line: who has it, and whether it yields to anybody."""

    session_id: str
    holder: Holder
    lingers: bool


def _nowhere(_line: Line) -> bool:
    return False


@define(eq=False)
class Line:
    """One console's line.

    No byte moves unless the lease is valid at that moment (design.md, invariant 1), and only
    the session in the writer's seat writes.

    :ivar token: what the first viewer came with; the console is opened by it.
    :ivar sharing: of all lines of the daemon.
    :ivar members: the sessions on the line, in the order of their coming.
    :ivar writer: the one in the writer's seat.
    :ivar over: whether it has ended, or will end in a moment.
    :ivar gone: fires when the socket is closed and the lease given back.
    :ivar unproven: whether input is held back until the guest has said something.
    :ivar after: the end of the console's line before, which has to come first.
    :ivar valve: holds the guest's output back; there from the opening on.
    :ivar asked: whether somebody has asked for the seat and waits.
    :ivar breaking: whether a BREAK is on its way to the guest.
    :ivar switch: finds the guest again where it goes on at another compute host.
    :ivar size: columns and rows of a shell's terminal, once they are known.
    :ivar force: whether it takes the console from somebody whom the cell knows nothing of.
    :ivar elsewhere: where there are several of the kind, as of shells: gives the line the key
        of the next one, as this one is taken; False where there are no more.
    """

    key: ConsoleKey
    token: ConsoleAuthToken
    opener: Opener
    driver: Driver
    clock: IReactorTime
    sharing: Sharing
    elsewhere: Callable[[Line], bool] = field(default=_nowhere)
    force: bool = False
    ring: Ring = field(factory=lambda: Ring(SCROLLBACK), init=False)
    throttle: InputThrottle = field(factory=InputThrottle, init=False)
    members: list[Member] = field(factory=list, init=False)
    writer: Member | None = field(default=None, init=False)
    over: bool = field(default=False, init=False)
    gone: Deferred[None] = field(factory=Deferred, init=False)
    unproven: bool = field(default=False, init=False)
    after: Deferred[None] | None = field(default=None, init=False)
    asked: bool = field(default=False, init=False)
    breaking: bool = field(default=False, init=False)
    size: tuple[int, int] | None = field(default=None, init=False)
    valve: Valve = field(init=False)
    _portion: int = field(default=0, init=False)
    _console: OpenConsole | None = field(default=None, init=False)
    _opening: Deferred[OpenConsole] | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _closing: bool = field(default=False, init=False)
    switch: Switch = field(init=False)
    _told: Account | None = field(default=None, init=False)
    _watchers: tuple[Watcher, ...] = field(default=(), init=False)

    @property
    def console(self) -> OpenConsole:
        """What it consists of; asked of an open line only."""
        assert self._console is not None
        return self._console

    @switch.default
    def _own_switch(self) -> Switch:
        return Switch(self)

    @property
    def is_open(self) -> bool:
        """Whether there is a console, and it is not about to close."""
        return self._console is not None and not self._closing

    def join(self, member: Member) -> None:
        """One more session."""
        self.members.append(member)

    def seat(self, member: Member) -> None:
        """A session on the line takes the writer's seat; who had it stays on the line."""
        self.writer = member
        self.changed()

    def leave(self, member: Member) -> None:
        """A session is over; the line ends with the last one."""
        if member not in self.members:
            return
        self.members.remove(member)
        if self.writer is member:
            self.writer = None
            self.throttle.turn_to(None)
        if self.members:
            self.changed()
        else:
            self.close()

    def changed(self) -> None:
        """Somebody came, went, or changed seats: the cell and everybody here are told."""
        self._account()
        for member in list(self.members):
            member.company_changed()

    def ready(self) -> Deferred[None]:
        """Fires when the console is open; the first who asks has it opened.

        :raises consoled.errors.ConsoledError: why it does not open.
        """
        if self._console is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        if self._opening is None:
            first = self.members[0]
            self._told = Account(first.session_id, first.holder, lingers=False)
            self._opening = Deferred.fromCoroutine(self._open(first))
            self._opening.addCallbacks(self._opened, self._refused)
        return waiting

    async def _open(self, first: Member) -> OpenConsole:
        if self.after is not None:
            await _end_of(self.after)
        while True:
            try:
                return await self.opener.open(
                    self.token, first.session_id, first.holder, first.admit, force=self.force
                )
            except ConsoleBusy:
                if not self.elsewhere(self):
                    raise

    def write(self, data: bytes) -> None:
        """The writer's input, to the guest."""
        console = self.console
        if console.lease.valid and not self._closing and not self.switch.moving:
            console.leg.write(data)
            self.switch.note_typed()
            self.sharing.typed(self)

    def resize(self, columns: int, rows: int) -> bool:
        """A shell's terminal has this size from now on; a serial port has none.

        :returns: whether that is news.
        """
        if self.key.console_type != SHELL or self.size == (columns, rows):
            return False
        self.size = (columns, rows)
        if self._console is not None and not self._closing:
            self._console.leg.resize(columns, rows)
        return True

    def close(self) -> Deferred[None]:
        """Closes the socket, then gives the lease back; fires after both."""
        if self._closing:
            return self.gone
        self.over = self._closing = True
        opening = self._opening
        if self._console is not None:
            self._close(self._console).addBoth(self._end)
        elif opening is None or opening.called:
            self._end()
        else:
            # A cancelled opening has given its lease back by the time it is over.
            opening.addBoth(self._end)
            opening.cancel()
        return self.gone

    def _close(self, console: OpenConsole) -> Deferred[None]:
        """The lease goes last: while a socket is open to the guest, nobody else dials it."""
        return self.switch.close().addCallback(lambda _: console.close(self.clock))

    def end_all(self, code: int, reason: str) -> None:
        """Ends every session on the line, and so the line."""
        self.over = True
        for member in list(self.members):
            member.ended(code, reason)

    def _end(self, _: object = None) -> None:
        if not self.gone.called:
            log.info(
                "console {index} of {instance_uuid} is closed and free",
                event="line_closed",
                instance_uuid=self.key.instance_uuid,
                index=self.key.index,
            )
            self.gone.callback(None)

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.remove(waiting)

    def _opened(self, console: OpenConsole) -> Deferred[None] | None:
        if self._closing:
            return console.close(self.clock)
        self._console = console
        self.unproven = console.unproven
        source: Any = console.leg.transport
        self.valve = Valve(source)
        if self.size is not None:
            console.leg.resize(*self.size)
        console.leg.start(self._printed, self.switch.lost, self.throttle)
        self._account()
        self._tell(lambda waiting: waiting.callback(None))
        return None

    def go_on(self, console: OpenConsole, kept: bytes) -> None:
        """The same line, with another backend leg: its guest is on another host.

        :param kept: what the guest has said there so far.
        """
        self._console = console
        # What the old leg's buffer held is of the past with it.
        self.throttle.free("console")
        console.leg.start(self._printed, self.switch.lost, self.throttle)
        source: Any = console.leg.transport
        self.valve.turn_to(source)
        if kept:
            self._printed(kept)

    def _refused(self, failure: Failure) -> None:
        self.over = True
        if failure.check(CancelledError):
            return
        self._tell(lambda waiting: waiting.errback(failure))
        self.close()

    def _tell(self, how: Callable[[Deferred[None]], None]) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            how(deferred)

    def _printed(self, data: bytes) -> None:
        if self.console.lease.valid:
            self.unproven = False
            self.ring.append(data)
            for member in tuple(self.members):
                member.printed(data)
            self._portion += len(data)
            if self._portion >= PORTION:
                self._rest()

    def _rest(self) -> None:
        """Makes room for the lines on which somebody types."""
        self._portion = 0
        if self.sharing.others_type(self):
            self.valve.hold("turn")
            self.clock.callLater(REST, self.valve.free, "turn")

    def ask(self) -> None:
        """The session that came last asks for the seat, and waits: so the cell is told."""
        self.asked = True
        self._account()

    def _account(self) -> None:
        """Tells the cell who has the line, where that has changed."""
        if self._console is None or self._closing or not self.members:
            return
        chief = self.writer or self.members[0]
        lingers = self.writer is None or not self.writer.present
        account = Account(chief.session_id, chief.holder, lingers)
        if account != self._told:
            self._told = account
            self._console.leases.note(
                self._console.lease, account.session_id, account.holder, account.lingers
            )
        watchers = tuple(
            Watcher(
                member.session_id,
                member.holder,
                not member.present,
                ASKER if member.writes else OBSERVER,
            )
            for member in self.members
            if not member.writes or (self.asked and member is not self.writer)
        )
        if watchers != self._watchers:
            self._watchers = watchers
            self._console.leases.watch(self._console.lease, watchers)


def _end_of(former: Deferred[None]) -> Deferred[None]:
    """Fires when ``former`` does; cancelling does not reach it."""
    ended: Deferred[None] = Deferred()

    def end(outcome: None) -> None:
        if not ended.called:
            ended.callback(None)

    former.addCallback(end)
    return ended
