"""Keeps the recordings of this host within their age and size, and their rows true.

A round looks at the folder: whatever is there and is written by nobody. A recording whose
daemon was killed is trimmed to its last whole line and noted as incomplete; one without a row
gets it from what the file says; one that is too old, or more than the folder may hold, is
deleted, the oldest first.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.db import recordings as rows
from consoled.errors import ConsoledError
from consoled.interfaces import Database, Worker
from consoled.recording.folder import Found, RecordingFolder
from consoled.recording.values import Facts, RecordingRow, RecordingState

_DAY = 86_400
_BATCH = 200


@frozen
class Kept:
    """An ended recording of this host."""

    session_id: str
    ended: int
    size: int


def superfluous(
    kept: Iterable[Kept], now: int, keep_days: float, keep_bytes: int, others: int = 0
) -> list[str]:
    """The recordings that are not kept, the oldest first.

    :param now: seconds since the epoch, in the database's time.
    :param keep_days: days after its end that a recording is kept; 0 is without end.
    :param keep_bytes: bytes of all recordings of a host; 0 is without bound.
    :param others: bytes of those that are not over.
    """
    gone = []
    total = others + sum(one.size for one in kept)
    for one in sorted(kept, key=lambda one: (one.ended, one.session_id)):
        too_old = keep_days > 0 and one.ended + keep_days * _DAY <= now
        if too_old or (keep_bytes > 0 and total > keep_bytes):
            gone.append(one.session_id)
            total -= one.size
    return gone


@define(eq=False)
class RecordingKeeper(Service):
    """The loop.

    :ivar worker: where files are looked at and deleted.
    :ivar interval: seconds between rounds; the first comes at the start.
    """

    database: Database
    folder: RecordingFolder
    worker: Worker
    clock: IReactorTime
    keep_days: float
    keep_bytes: int
    interval: float = 600.0
    _log: Logger = field(factory=Logger, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[LoopingCall] | None = field(default=None, init=False)

    def startService(self) -> None:
        """Begins the first round."""
        super().startService()
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._loop.clock = self.clock
        self._ended = self._loop.start(self.interval)

    def stopService(self) -> Deferred[LoopingCall] | None:
        """Ends the loop; the Deferred fires when no round runs any more."""
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        return self._ended

    async def _round(self) -> None:
        """One round; an exception that left it would end the loop for good."""
        try:
            await self._keep()
        except ConsoledError as error:
            self._log.warn("recordings are looked at in the next round: {cause}", cause=str(error))
        except OSError as error:
            self._log.error(
                "{path}: the recordings cannot be looked at: {reason}",
                path=str(self.folder.path),
                reason=error.strerror,
            )
        except Exception:
            self._log.failure("looking at the recordings failed; the next round tries again")

    async def _keep(self) -> None:
        found = await self.worker.run(self.folder.scan)
        kept: list[Kept] = []
        others = 0
        for start in range(0, len(found), _BATCH):
            if not self.running:
                return
            batch = found[start : start + _BATCH]
            known = await self.database.read(rows.among, [one.session_id for one in batch])
            states = {row.facts.session_id: row for row in known}
            for one in batch:
                settled = await self._settle(one, states.get(one.session_id))
                if settled is None:
                    others += one.size
                else:
                    kept.append(settled)
        if self.keep_days or self.keep_bytes:
            now = await self.database.read(rows.now)
            for name in superfluous(kept, now, self.keep_days, self.keep_bytes, others):
                if not self.running:
                    return
                await self._delete(name)

    async def _settle(self, found: Found, row: RecordingRow | None) -> Kept | None:
        """The recording as it is kept, its row made true; None where it is not over."""
        name = found.session_id
        if row is not None and row.state is not RecordingState.RECORDING:
            return Kept(name, row.ended or found.modified, found.size)
        with suppress(FileNotFoundError):
            facts, size = await self.worker.run(self._look, name, row)
            if facts is not None:
                await self.database.run(rows.adopt, facts, size, found.modified)
                self._log.info(
                    "noted the recording {session_id}, which its daemon did not end",
                    event="recording_adopted",
                    session_id=name,
                )
                return Kept(name, found.modified, size)
        return None

    def _look(self, name: str, row: RecordingRow | None) -> tuple[Facts | None, int]:
        if self.folder.is_open(name):
            return None, 0
        size = self.folder.trim(name)
        return (row.facts if row is not None else self.folder.facts(name)), size

    async def _delete(self, name: str) -> None:
        # The file first: a row without a file is told; a file without a row comes back.
        await self.worker.run(self.folder.delete, name)
        await self.database.run(rows.forget, name)
        self._log.info(
            "deleted the recording {session_id}: it is over its age, or the folder its size",
            event="recording_expired",
            session_id=name,
        )
