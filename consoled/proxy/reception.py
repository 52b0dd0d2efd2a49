"""The reception: which session a viewer that has arrived gets, or why none.

* Its own session by resume key: that one, wherever its last connection is now.
* An observer: a place on the console's line, which is opened if there is none.
* A writer, and nobody in the writer's seat: that one.
* A writer's session that waits for its viewer: the same user takes it up as it is; for
  anybody else it ends, and what it has shown is not shown to them.
* A shell: one of their own, which nobody else meets; its token finds it again.
* A writer's session with a viewer: busy. The same user may take it over; others may ask for
  the seat and get it after :data:`GRACE` seconds, or at once, as policy lets them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import ConsoledError, Unavailable
from consoled.interfaces import BreakControl, Driver, TokenAuthority
from consoled.leasing.values import ConsoleKey
from consoled.model import SHELL, ConsoleAuthToken
from consoled.proxy.book import SessionBook
from consoled.proxy.core import SessionCore
from consoled.proxy.limits import SessionLimits
from consoled.proxy.line import Line
from consoled.proxy.opening import Opener
from consoled.proxy.presence import FORCE, TAKE, Busy, belongs, busy
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.session import begin_session
from consoled.proxy.sharing import Sharing
from consoled.proxy.viewing import Comeback, SessionInputs, Viewer
from consoled.recording.recorder import NoRecorder, SessionRecorder
from consoled.shells import MOST

log = Logger()

ENDED = 1000
BUSY = 4409
YIELDED = 4410
ALL_TAKEN = (
    f"This instance has {MOST} shells open, as many as there may be. Try again when one has ended."
)
GRACE = 10.0
"""Seconds from a request for the writer's seat to the change."""


@frozen
class Arrival:
    """What a viewer brings.

    :ivar outcome: its token, or why it has none that opens anything.
    :ivar resume: the key of a session that it had before.
    :ivar since: the offset of that session's output that it has seen, or None.
    :ivar takeover: whether its user wants the console from whoever has it.
    :ivar force: whether at once, from another user too.
    :ivar spent: whether the token has been used up for this very arrival.
    :ivar facts: for the log: who and where from.
    """

    outcome: ConsoleAuthToken | ConsoledError
    resume: ResumeKey | None = None
    since: int | None = None
    takeover: bool = False
    force: bool = False
    spent: bool = False
    facts: dict[str, object] = field(factory=dict)

    @property
    def token(self) -> ConsoleAuthToken | None:
        """Its token, if that opens anything."""
        return self.outcome if isinstance(self.outcome, ConsoleAuthToken) else None


@frozen
class Farewell:
    """A handshake that is completed only to say why not.

    A browser cannot see an HTTP status there (design.md, invariant 6).
    """

    code: int
    reason: str
    busy: Busy | None = None


@define
class Reception:
    """Gives sessions to viewers.

    :ivar authority: where a token is used up.
    :ivar max_sessions: sessions at once; a further one is refused with 1013.
    :ivar stall_timeout: seconds that a stalled viewer may hold the guest.
    :ivar linger: seconds that a session waits for its viewer to come back.
    :ivar recorder: records writers' sessions.
    :ivar breaks: sends a BREAK to a console, where the driver can.
    :ivar paste_rate: bytes of input a second that go to a guest; 0 is without limit.
    :ivar wall: the time of day, seconds since the epoch, for people.
    """

    opener: Opener
    driver: Driver
    authority: TokenAuthority
    clock: Any
    sessions: SessionBook
    limits: SessionLimits
    max_sessions: int
    stall_timeout: float
    linger: float
    wall: Callable[[], float]
    recorder: SessionRecorder = field(factory=NoRecorder)
    breaks: BreakControl | None = None
    paste_rate: float = 0.0
    sharing: Sharing = field(init=False)

    @sharing.default
    def _of_all_lines(self) -> Sharing:
        return Sharing(self.clock.seconds)

    def has(self, arrival: Arrival) -> bool:
        """Whether this replica has the session or console that the viewer wants."""
        if self._resumed(arrival) is not None:
            return True
        token = arrival.token
        return token is not None and self._known(token) is not None

    def access_url(self, arrival: Arrival) -> str | None:
        """The URL that the viewer's right was handed out with; None where it has no right."""
        core = self._resumed(arrival)
        if core is not None:
            return core.token.access_url
        return None if arrival.token is None else arrival.token.access_url

    def adopts(self, arrival: Arrival) -> bool:
        """Whether the viewer's token would take up a session that is there already.

        Such a token has to be spent first: afterwards it would be too late to refuse it.
        """
        token = arrival.token
        if token is None or arrival.spent or self._resumed(arrival) is not None:
            return False
        return self._own(token, arrival) is not None

    def receive(self, viewer: Viewer, arrival: Arrival) -> SessionInputs | Farewell:
        """The session that the viewer has from now on."""
        core = self._resumed(arrival)
        if core is not None:
            return self._return(core, viewer, arrival, None)
        if isinstance(arrival.outcome, ConsoledError):
            return self._farewell(arrival.outcome.close_code, str(arrival.outcome), arrival)
        token = arrival.outcome
        line = self._line(token)
        if line is None:
            return self._begin_anew(viewer, token, arrival)
        if token.observes or line.writer is None:
            return self._begin(viewer, token, arrival, line)
        own = self._own(token, arrival)
        if own is not None:
            return self._return(own, viewer, arrival, token)
        return self._meet(viewer, token, arrival, line)

    def _meet(
        self, viewer: Viewer, token: ConsoleAuthToken, arrival: Arrival, line: Line
    ) -> SessionInputs | Farewell:
        """A writer, and another one in the seat."""
        holder = self._writer(line)
        if not holder.present:
            return self._displace(
                viewer, token, arrival, line, "Another user asked for the console."
            )
        name = token.user_id or "Another user"
        if arrival.force and FORCE in token.rights:
            return self._displace(viewer, token, arrival, line, f"{name} took the console over.")
        if arrival.takeover and TAKE in token.rights and not line.asked:
            return self._ask(viewer, token, arrival, line)
        found = busy(
            token,
            user_id=holder.token.user_id,
            project_id=holder.token.project_id,
            since=holder.began,
            here=True,
            same_token=token.token_hash == holder.token.token_hash,
        )
        return self._farewell(BUSY, found.text, arrival, found)

    def _displace(
        self,
        viewer: Viewer,
        token: ConsoleAuthToken,
        arrival: Arrival,
        line: Line,
        reason: str,
    ) -> SessionInputs | Farewell:
        """The seat for the newcomer, at once; what was shown before is not shown to them."""
        former = self._writer(line)
        line.ring.clear()
        begun = self._begin(viewer, token, arrival, line, leaves=1)
        if not isinstance(begun, Farewell):
            former.ended(YIELDED, reason)
        return begun

    def _ask(
        self, viewer: Viewer, token: ConsoleAuthToken, arrival: Arrival, line: Line
    ) -> SessionInputs | Farewell:
        """The holder hears of it, and has a while to finish."""
        holder = self._writer(line)
        after: Deferred[None] = Deferred()
        begun = self._begin(viewer, token, arrival, line, after)
        if isinstance(begun, Farewell):
            return begun
        name = token.user_id or "Another user"
        asker = line.members[-1]
        line.ask()
        timer = self.clock.callLater(GRACE, holder.ended, YIELDED, f"{name} took the console over.")

        def settled() -> None:
            line.asked = False
            if timer.active():
                timer.cancel()

        def freed(_: None) -> None:
            settled()
            if not after.called:
                after.callback(None)

        def gave_up(_: None) -> None:
            if not holder.over and line.asked:
                settled()
                holder.inputs.asked(None, 0)

        holder.gone.addCallback(freed)
        assert isinstance(asker, SessionCore)
        asker.gone.addCallback(gave_up)
        viewer.show_wait(holder.token.user_id, GRACE)
        holder.inputs.asked(name, GRACE)
        asker.audit("takeover_asked", "asks for the console", holder=holder.session_id)
        return begun

    def _resumed(self, arrival: Arrival) -> SessionCore | None:
        if arrival.resume is None:
            return None
        core = self.sessions.find(arrival.resume.session_id)
        if core is None or core.over or core.line.over:
            return None
        return core if arrival.resume.opens(core.resume) else None

    def _own(self, token: ConsoleAuthToken, arrival: Arrival) -> SessionCore | None:
        """The session of the same user that this viewer takes up."""
        line = self._line(token)
        if line is None or line.writer is None or token.observes:
            return None
        holder = self._writer(line)
        same = token.token_hash == holder.token.token_hash
        if not same and not belongs(token, holder.token.user_id, holder.token.project_id):
            return None
        return holder if arrival.takeover or not holder.present else None

    def _line(self, token: ConsoleAuthToken) -> Line | None:
        line = self._known(token)
        return None if line is None or line.over else line

    def _known(self, token: ConsoleAuthToken) -> Line | None:
        """The line of the token's console; a shell is nobody's but who opened it."""
        if token.console_type == SHELL:
            return self.sessions.shell(token.token_hash)
        return self.sessions.line(console_key(token))

    def _writer(self, line: Line) -> SessionCore:
        assert isinstance(line.writer, SessionCore)
        return line.writer

    def _return(
        self,
        core: SessionCore,
        viewer: Viewer,
        arrival: Arrival,
        token: ConsoleAuthToken | None,
    ) -> SessionInputs:
        core.facts.update(arrival.facts)
        since = arrival.since if token is None else None
        core.inputs.returned(Comeback(viewer, since, token))
        return core.inputs

    def _begin_anew(
        self, viewer: Viewer, token: ConsoleAuthToken, arrival: Arrival
    ) -> SessionInputs | Farewell:
        """A session on a new line: the console's, or that of a shell of its own."""
        if token.console_type != SHELL:
            line = self._new_line(token)
            line.force = arrival.force and FORCE in token.rights
            return self._begin(viewer, token, arrival, line)
        key = self.sessions.free_key(console_key(token))
        if key is None:
            error = Unavailable(ALL_TAKEN)
            return self._farewell(error.close_code, str(error), arrival)
        line = self._new_line(evolve(token, index=key.index))
        line.elsewhere = self._move
        return self._begin(viewer, token, arrival, line)

    def _move(self, line: Line) -> bool:
        """A shell whose key another replica has goes on under the next one."""
        if not self.sessions.move(line):
            raise Unavailable(ALL_TAKEN)
        return True

    def _new_line(self, token: ConsoleAuthToken) -> Line:
        """A line that opens when the one before is gone."""
        return Line(console_key(token), token, self.opener, self.driver, self.clock, self.sharing)

    def _begin(
        self,
        viewer: Viewer,
        token: ConsoleAuthToken,
        arrival: Arrival,
        line: Line,
        after: Deferred[None] | None = None,
        *,
        leaves: int = 0,
    ) -> SessionInputs | Farewell:
        if not self._has_room(line, leaves):
            error = Unavailable("All console sessions are taken. Try again in a moment.")
            return self._farewell(error.close_code, str(error), arrival)
        if not line.members:
            former = self.sessions.line(line.key)
            line.after = None if former is None else former.gone
            self.sessions.add_line(line)
        core = SessionCore(
            session_id=str(uuid.uuid4()),
            token=token,
            writes=not token.observes,
            viewer=viewer,
            line=line,
            authority=self.authority,
            clock=self.clock,
            stall_timeout=self.stall_timeout,
            linger=self.linger,
            limits=self.limits,
            began=int(self.wall()),
            spent=arrival.spent,
            facts=dict(arrival.facts),
            recorder=self.recorder,
            # A shell has no port that takes a BREAK, and a network that slows a paste down.
            breaks=None if token.console_type == SHELL else self.breaks,
            paste_rate=0.0 if token.console_type == SHELL else self.paste_rate,
        )
        self.sessions.add(core)
        return begin_session(core, after)

    def _has_room(self, line: Line, leaves: int) -> bool:
        """Whether one more session is within the limit, if need be in the place of another.

        Whoever is there goes before a session whose viewer may come back: the one that has
        waited longest for its viewer ends (docs/decisions/0022).

        :param leaves: how many sessions on that line end with the beginning of this one.
        """
        if not self.sessions.full(self.max_sessions + leaves):
            return True
        away = self.sessions.longest_away(but=line)
        if away is None:
            return False
        away.audit("session_yielded", "gives its place to a newcomer: the daemon is full")
        away.ended(ENDED, "The daemon was full, and the viewer was away.")
        return not self.sessions.full(self.max_sessions + leaves)

    def _farewell(
        self, code: int, reason: str, arrival: Arrival, found: Busy | None = None
    ) -> Farewell:
        log.info(
            "WebSocket refused with {close_code}: {reason}",
            event="session_refused",
            close_code=code,
            reason=reason,
            **arrival.facts,
        )
        return Farewell(code, reason, found)


def console_key(token: ConsoleAuthToken) -> ConsoleKey:
    """The console that a token is for."""
    return ConsoleKey(token.instance_uuid, token.index, token.console_type)
