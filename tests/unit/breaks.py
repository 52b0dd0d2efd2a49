"""A driver's BREAK, in memory."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed


class FakeBreaks:
    """Sends BREAKs to nobody.

    :ivar sent: where they went: (instance, index).
    :ivar error: when set, each one fails with it.
    :ivar pending: when a list, the answers are put there, unfired.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.pending: list[Deferred[None]] | None = None

    def send_break(self, instance_uuid: str, index: int) -> Deferred[None]:
        """Remembers it."""
        if self.error is not None:
            return fail(self.error)
        self.sent.append((instance_uuid, index))
        if self.pending is None:
            return succeed(None)
        self.pending.append(Deferred())
        return self.pending[-1]
