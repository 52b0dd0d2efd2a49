"""Which domains are to be looked at: what several events say of one domain is one look. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

MOST = 20
"""More domains than these are looked at in one look at all, which costs less."""


@define(eq=False)
class Agenda:
    """What waits for a look."""

    _uuids: dict[str, None] = field(factory=dict, init=False)
    _all: bool = field(default=False, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._all and not self._uuids

    def note(self, uuid: str) -> None:
        """Something happened to that domain."""
        self._uuids[uuid] = None

    def note_all(self) -> None:
        """Anything may have happened."""
        self._all = True

    def put_back(self, looks: Iterable[str | None]) -> None:
        """Looks that came to nothing."""
        for look in looks:
            if look is None:
                self.note_all()
            else:
                self.note(look)

    def take(self) -> list[str | None]:
        """The looks to be had now, in the order of the events; None is one at all domains.

        Where nothing waits that is what remains to be done: events may have been missed.
        """
        uuids: list[str | None] = list(self._uuids)
        everything = self._all or not 0 < len(uuids) <= MOST
        self._uuids, self._all = {}, False
        return [None] if everything else uuids
