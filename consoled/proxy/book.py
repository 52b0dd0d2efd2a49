"""The lines and sessions of this replica, and the connections that belong to them."""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed

from consoled.leasing.values import ConsoleKey
from consoled.model import SHELL
from consoled.proxy.core import SessionCore
from consoled.proxy.line import Line
from consoled.shells import MOST


@define
class SessionBook:
    """Every line until it is closed, every session until it has ended, every connection."""

    _lines: dict[ConsoleKey, Line] = field(factory=dict, init=False)
    _ending: set[Line] = field(factory=set, init=False)
    _sessions: dict[str, SessionCore] = field(factory=dict, init=False)
    _connections: int = field(default=0, init=False)
    _emptied: list[Deferred[None]] = field(factory=list, init=False)

    def __len__(self) -> int:
        return max(len(self._sessions), len(self._lines) + len(self._ending), self._connections)

    def full(self, most: int) -> bool:
        """Whether one more session would be over ``most``; its connection has begun already.

        Sessions that wait for their viewer count: each has its line, its socket, its lease.
        """
        return len(self._sessions) >= most or self._connections > most

    def longest_away(self, but: Line) -> SessionCore | None:
        """The session that has waited longest for its viewer, of those on other lines.

        :param but: the line on which nobody has to make room.
        """
        waiting = (
            (core.waiting.getTime(), core)
            for core in self._sessions.values()
            if core.waiting is not None and core.line is not but
        )
        return min(waiting, key=lambda one: one[0], default=(0.0, None))[1]

    def add_line(self, line: Line) -> None:
        """A line begins; it leaves by itself when it is gone."""
        former = self._lines.get(line.key)
        if former is not None:
            self._ending.add(former)
        self._lines[line.key] = line
        line.gone.addCallback(lambda _: self._remove_line(line))

    def add(self, core: SessionCore) -> None:
        """A session begins; it leaves by itself when it is gone."""
        self._sessions[core.session_id] = core
        core.gone.addCallback(lambda _: self._remove(core))

    def all(self) -> list[SessionCore]:
        """Every session."""
        return list(self._sessions.values())

    def find(self, session_id: str) -> SessionCore | None:
        """The session of that id."""
        return self._sessions.get(session_id)

    def line(self, key: ConsoleKey) -> Line | None:
        """The latest line of that console."""
        return self._lines.get(key)

    def open_lines(self, instance_uuid: str | None = None) -> list[Line]:
        """The lines whose console is open.

        :param instance_uuid: of that instance only.
        """
        return [
            line
            for line in self._lines.values()
            if line.is_open and instance_uuid in (None, line.key.instance_uuid)
        ]

    def shell(self, token_hash: str) -> Line | None:
        """The line of the shell that was opened with that token, unless it has ended."""
        return next(
            (
                line
                for line in self._lines.values()
                if line.key.console_type == SHELL
                and line.token.token_hash == token_hash
                and not line.over
            ),
            None,
        )

    def free_key(self, first: ConsoleKey) -> ConsoleKey | None:
        """The first key from that one on under which there is no line; None where all have one."""
        keys = (evolve(first, index=index) for index in range(first.index, MOST))
        return next((key for key in keys if key not in self._lines), None)

    def move(self, line: Line) -> bool:
        """The line, which is not open yet, goes on under the next free key.

        :returns: False where there is none.
        """
        key = self.free_key(evolve(line.key, index=line.key.index + 1))
        if key is None:
            return False
        if self._lines.get(line.key) is line:
            del self._lines[line.key]
        line.key, line.token = key, evolve(line.token, index=key.index)
        self._lines[key] = line
        return True

    def connected(self) -> None:
        """A viewer's connection has begun."""
        self._connections += 1

    def disconnected(self) -> None:
        """A viewer's connection is gone."""
        self._connections -= 1
        self._maybe_emptied()

    def end(self, session_id: str, code: int, reason: str) -> None:
        """Ends one session, if it is here."""
        core = self._sessions.get(session_id)
        if core is not None:
            core.ended(code, reason)

    def lose(self, key: ConsoleKey, code: int, reason: str) -> None:
        """Ends everything on one console, if it is here."""
        line = self._lines.get(key)
        if line is not None:
            line.end_all(code, reason)

    def end_all(self, code: int, reason: str) -> Deferred[None]:
        """Ends every session; fires when the last line is closed and the last viewer gone."""
        for core in list(self._sessions.values()):
            core.ended(code, reason)
        if not len(self):
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def _remove(self, core: SessionCore) -> None:
        self._sessions.pop(core.session_id, None)
        self._maybe_emptied()

    def _remove_line(self, line: Line) -> None:
        self._ending.discard(line)
        if self._lines.get(line.key) is line:
            del self._lines[line.key]
        self._maybe_emptied()

    def _maybe_emptied(self) -> None:
        if not len(self):
            waiting, self._emptied = self._emptied, []
            for deferred in waiting:
                deferred.callback(None)
