"""The sessions of this replica that are open now."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from consoled.proxy.session import SessionInputs


@define
class SessionBook:
    """Every session from its socket's opening to its socket's end."""

    _open: dict[str, SessionInputs] = field(factory=dict, init=False)
    _emptied: list[Deferred[None]] = field(factory=list, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, session_id: str, session: SessionInputs) -> None:
        """A socket has opened."""
        self._open[session_id] = session

    def remove(self, session_id: str) -> None:
        """A socket is gone."""
        self._open.pop(session_id, None)
        if not self._open:
            waiting, self._emptied = self._emptied, []
            for deferred in waiting:
                deferred.callback(None)

    def end(self, session_id: str, code: int, reason: str) -> None:
        """Ends one session, if it is here."""
        session = self._open.get(session_id)
        if session is not None:
            session.ended(code, reason)

    def end_all(self, code: int, reason: str) -> Deferred[None]:
        """Ends every session; fires when the last socket is gone."""
        for session in list(self._open.values()):
            session.ended(code, reason)
        if not self._open:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied
