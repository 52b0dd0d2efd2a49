"""The reception: which session a viewer that has arrived gets, or why none.

* Its own session by resume key: that one, wherever its last connection is now.
* A console that no session of this replica has: a new session.
* A session that waits for its viewer: the same user takes it up as it is; for anybody else
  it ends, its line is closed, and a new one is opened.
* A session with a viewer: busy; the same user may take it over.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import ConsoledError, Unavailable
from consoled.interfaces import Driver
from consoled.leasing.values import ConsoleKey
from consoled.model import ConsoleAuthToken
from consoled.proxy.book import Entry, SessionBook
from consoled.proxy.limits import SessionLimits
from consoled.proxy.opening import Opener
from consoled.proxy.presence import Busy, belongs, busy
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.session import Comeback, SessionCore, SessionInputs, Viewer, begin_session

log = Logger()

BUSY = 4409
YIELDED = 4410


@frozen
class Arrival:
    """What a viewer brings.

    :ivar outcome: its token, or why it has none that opens anything.
    :ivar resume: the key of a session that it had before.
    :ivar since: the offset of that session's output that it has seen, or None.
    :ivar takeover: whether its user wants the console from the own other window.
    :ivar facts: for the log: who and where from.
    """

    outcome: ConsoleAuthToken | ConsoledError
    resume: ResumeKey | None = None
    since: int | None = None
    takeover: bool = False
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

    :ivar max_sessions: sessions at once; a further one is refused with 1013.
    :ivar stall_timeout: seconds that a stalled viewer may hold the guest.
    :ivar linger: seconds that a session waits for its viewer to come back.
    :ivar wall: the time of day, seconds since the epoch, for people.
    """

    opener: Opener
    driver: Driver
    clock: Any
    sessions: SessionBook
    limits: SessionLimits
    max_sessions: int
    stall_timeout: float
    linger: float
    wall: Callable[[], float]

    def has(self, arrival: Arrival) -> bool:
        """Whether this replica has the session or console that the viewer wants."""
        if self._resumed(arrival) is not None:
            return True
        token = arrival.token
        return token is not None and self.sessions.at(console_key(token)) is not None

    def access_url(self, arrival: Arrival) -> str | None:
        """The URL that the viewer's right was handed out with; None where it has no right."""
        entry = self._resumed(arrival)
        if entry is not None:
            return entry.core.token.access_url
        return None if arrival.token is None else arrival.token.access_url

    def receive(self, viewer: Viewer, arrival: Arrival) -> SessionInputs | Farewell:
        """The session that the viewer has from now on."""
        entry = self._resumed(arrival)
        if entry is not None:
            entry.core.facts.update(arrival.facts)
            entry.session.returned(Comeback(viewer, arrival.since, None))
            return entry.session
        if isinstance(arrival.outcome, ConsoledError):
            return self._farewell(arrival.outcome.close_code, str(arrival.outcome), arrival)
        token = arrival.outcome
        entry = self.sessions.at(console_key(token))
        if entry is None:
            return self._begin(viewer, token, arrival)
        if entry.core.over:
            return self._begin(viewer, token, arrival, after=entry)
        return self._meet(viewer, token, arrival, entry)

    def _meet(
        self, viewer: Viewer, token: ConsoleAuthToken, arrival: Arrival, entry: Entry
    ) -> SessionInputs | Farewell:
        holder = entry.core.token
        same = token.token_hash == holder.token_hash
        own = same or belongs(token, holder.user_id, holder.project_id)
        waits = entry.core.waiting is not None
        if own and (waits or arrival.takeover):
            entry.core.facts.update(arrival.facts)
            entry.session.returned(Comeback(viewer, None, token))
            return entry.session
        if waits:
            entry.session.ended(YIELDED, "Another user asked for the console.")
            return self._begin(viewer, token, arrival, after=entry)
        found = busy(
            token,
            user_id=holder.user_id,
            project_id=holder.project_id,
            since=entry.core.opened_at,
            here=True,
            same_token=same,
        )
        return self._farewell(BUSY, found.text, arrival, found)

    def _resumed(self, arrival: Arrival) -> Entry | None:
        if arrival.resume is None:
            return None
        entry = self.sessions.find(arrival.resume.session_id)
        if entry is None or entry.core.over or not arrival.resume.opens(entry.core.resume):
            return None
        return entry

    def _begin(
        self,
        viewer: Viewer,
        token: ConsoleAuthToken,
        arrival: Arrival,
        after: Entry | None = None,
    ) -> SessionInputs | Farewell:
        if self.sessions.full(self.max_sessions):
            error = Unavailable("All console sessions are taken. Try again in a moment.")
            return self._farewell(error.close_code, str(error), arrival)
        core = SessionCore(
            session_id=str(uuid.uuid4()),
            token=token,
            viewer=viewer,
            opener=self.opener,
            driver=self.driver,
            clock=self.clock,
            stall_timeout=self.stall_timeout,
            linger=self.linger,
            limits=self.limits,
            facts=dict(arrival.facts),
            opened_at=int(self.wall()),
        )
        session = begin_session(core, None if after is None else _ended(after))
        self.sessions.add(Entry(console_key(token), core, session))
        return session

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


def _ended(entry: Entry) -> Deferred[None]:
    """Fires when that session's line is closed; cancelling does not reach it."""
    ended: Deferred[None] = Deferred()
    entry.core.gone.addCallback(lambda _: None if ended.called else ended.callback(None))
    return ended
