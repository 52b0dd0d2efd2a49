"""The sessions of this replica, and the connections that belong to them."""

from __future__ import annotations

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed

from consoled.leasing.values import ConsoleKey
from consoled.proxy.session import SessionCore, SessionInputs


@frozen
class Entry:
    """One session."""

    key: ConsoleKey
    core: SessionCore
    session: SessionInputs


@define
class SessionBook:
    """Every session until its line is closed, and every connection until it is gone."""

    _by_id: dict[str, Entry] = field(factory=dict, init=False)
    _by_console: dict[ConsoleKey, Entry] = field(factory=dict, init=False)
    _connections: int = field(default=0, init=False)
    _emptied: list[Deferred[None]] = field(factory=list, init=False)

    def __len__(self) -> int:
        return max(len(self._by_id), self._connections)

    def full(self, most: int) -> bool:
        """Whether one more session would be over ``most``; its connection has begun already."""
        return len(self._by_id) >= most or self._connections > most

    def add(self, entry: Entry) -> None:
        """A session begins; it leaves by itself when it is gone."""
        self._by_id[entry.core.session_id] = entry
        self._by_console[entry.key] = entry
        entry.core.gone.addCallback(lambda _: self._remove(entry))

    def find(self, session_id: str) -> Entry | None:
        """The session of that id."""
        return self._by_id.get(session_id)

    def at(self, key: ConsoleKey) -> Entry | None:
        """The latest session of that console."""
        return self._by_console.get(key)

    def connected(self) -> None:
        """A viewer's connection has begun."""
        self._connections += 1

    def disconnected(self) -> None:
        """A viewer's connection is gone."""
        self._connections -= 1
        self._maybe_emptied()

    def end(self, session_id: str, code: int, reason: str) -> None:
        """Ends one session, if it is here."""
        entry = self._by_id.get(session_id)
        if entry is not None:
            entry.session.ended(code, reason)

    def end_all(self, code: int, reason: str) -> Deferred[None]:
        """Ends every session; fires when the last line is closed and the last viewer gone."""
        for entry in list(self._by_id.values()):
            entry.session.ended(code, reason)
        if not len(self):
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def _remove(self, entry: Entry) -> None:
        self._by_id.pop(entry.core.session_id, None)
        if self._by_console.get(entry.key) is entry:
            del self._by_console[entry.key]
        self._maybe_emptied()

    def _maybe_emptied(self) -> None:
        if not len(self):
            waiting, self._emptied = self._emptied, []
            for deferred in waiting:
                deferred.callback(None)
