"""The scrollback ring: the last output of a line, by its offset."""

from __future__ import annotations

from attrs import define, field, frozen

SLACK = 16 * 1024
"""Bytes over the limit that may stand, so that small pieces are not cut off one by one."""


@frozen
class Backlog:
    """What a viewer has missed.

    :ivar data: the output from ``offset`` to now.
    :ivar offset: the count of the line's output bytes before ``data``.
    :ivar lost: how many bytes between what was asked for and ``offset`` are gone.
    """

    data: bytes
    offset: int
    lost: int = 0


@define
class Ring:
    """Keeps the end of a stream of bytes; grows only as output comes.

    :ivar limit: bytes that are kept.
    :ivar end: the count of all bytes so far.
    """

    limit: int
    end: int = field(default=0, init=False)
    _kept: bytes | bytearray = field(default=b"", init=False)

    def append(self, data: bytes) -> None:
        """More output."""
        self.end += len(data)
        if len(data) >= self.limit:
            self._kept = data[-self.limit :]
            return
        kept = self._kept
        if isinstance(kept, bytes):
            # Made when it is needed: most of a flood needs none, nor does a silent console.
            kept = self._kept = bytearray(kept)
        kept += data
        if len(kept) > self.limit + SLACK:
            del kept[: len(kept) - self.limit]

    def clear(self) -> None:
        """Keeps nothing of what there was; the count goes on."""
        self._kept = b""

    def since(self, offset: int | None) -> Backlog:
        """What came after ``offset``; None, and an offset that never was, ask for all there is."""
        kept = bytes(self._kept[-self.limit :]) if self._kept else b""
        start = self.end - len(kept)
        if offset is None or offset > self.end:
            return Backlog(kept, start)
        if offset < start:
            return Backlog(kept, start, lost=start - offset)
        return Backlog(kept[offset - start :], offset)
