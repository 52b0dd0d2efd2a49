"""Starts recordings, and notes in the cell database that they have begun and ended."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from consoled.db import recordings as rows
from consoled.errors import ConsoledError
from consoled.interfaces import Database
from consoled.model import Console, ConsoleAuthToken, Instance
from consoled.recording.archive_sessions import NoArchive, SessionArchive
from consoled.recording.values import Ending, Facts
from consoled.recording.writer import Listener, Recording, RecordingWriter, Silent

log = Logger()

STOP_PATIENCE = 5.0
"""Seconds that a stopping daemon waits for a disk that does not take what is left."""


class SessionRecording(Protocol):
    """What a session does with its recording. Each call is a queue entry and never waits."""

    def output(self, data: bytes) -> None:
        """What the guest printed; best called after the viewer was sent it."""

    def input(self, data: bytes) -> None:
        """What the viewer typed."""

    def marker(self, text: str) -> None:
        """Something that happened."""

    def resize(self, cols: int, rows: int) -> None:
        """The terminal's new size."""

    def close(self) -> None:
        """The session's end."""


class SessionRecorder(Protocol):
    """Records sessions."""

    def start(
        self,
        session_id: str,
        token: ConsoleAuthToken,
        instance: Instance,
        console: Console,
        listener: Listener,
    ) -> SessionRecording:
        """The recording of a session that is open now."""


class NoRecording:
    """The recording of a session that is not recorded."""

    def output(self, data: bytes) -> None:
        """Nothing."""

    def input(self, data: bytes) -> None:
        """Nothing."""

    def marker(self, text: str) -> None:
        """Nothing."""

    def resize(self, cols: int, rows: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class NoRecorder:
    """Records nothing: ``[serial_console] record`` is off."""

    def start(
        self,
        session_id: str,
        token: ConsoleAuthToken,
        instance: Instance,
        console: Console,
        listener: Listener,
    ) -> SessionRecording:
        """Nothing."""
        return NoRecording()


@define(eq=False)
class Recorder:
    """Implements :class:`SessionRecorder`.

    :ivar strict: whether a session ends that cannot be recorded.
    :ivar host: this host's name, for people.
    :ivar wall: seconds since the epoch.
    :ivar patience: seconds that a strict recording may hold the guest back.
    :ivar archive: hears of recordings that it may have to keep elsewhere.
    """

    writer: RecordingWriter
    database: Database
    strict: bool
    host: str
    clock: IReactorTime
    wall: Callable[[], float]
    patience: float = 15.0
    archive: SessionArchive = field(factory=NoArchive)
    _notes: set[Deferred[Any]] = field(factory=set, init=False)

    def start(
        self,
        session_id: str,
        token: ConsoleAuthToken,
        instance: Instance,
        console: Console,
        listener: Listener | None = None,
    ) -> Recording:
        """The recording of a session that is open now.

        :param listener: told where something cannot be recorded.
        """
        facts = Facts(
            session_id=session_id,
            instance_uuid=instance.uuid,
            instance_name=instance.name[:255],
            project_id=instance.project_id,
            user_id=token.user_id,
            console_index=console.index,
            host=self.host[:255],
            started=int(self.wall()),
            console_type=console.type,
        )
        begun = self._noting(self._begin(facts, token))

        def finished(ending: Ending | None) -> None:
            # After the other note: a row is updated, not made twice.
            begun.addCallback(lambda _: self._noting(self._end(facts, ending)))

        watch = _Watch(facts, listener or Silent(), self.clock, self.patience)
        recording = Recording(facts, self.strict, watch, finished, self.writer)
        watch.recording = recording
        recording.marker(f"attach {token.user_id or 'somebody'}")
        return recording

    def stop(self) -> Deferred[None]:
        """Fires when everything is written and noted, or the disk took too long."""
        written: Deferred[None] = Deferred()
        self.writer.stop(lambda: None if written.called else written.callback(None))
        written.addTimeout(STOP_PATIENCE, self.clock)
        written.addErrback(lambda _: log.error("the disk takes no more of the recordings"))
        return written.addCallback(lambda _: Deferred.fromCoroutine(self._noted()))

    async def _noted(self) -> None:
        while self._notes:
            await self._notes.pop()

    async def _begin(self, facts: Facts, token: ConsoleAuthToken) -> None:
        await self._try_to_note("begun", rows.begin, facts)
        await self.archive.begun(facts, token)

    async def _end(self, facts: Facts, ending: Ending | None) -> None:
        if ending is None:
            await self._try_to_note("ended", rows.forget, facts.session_id)
        else:
            log.info(
                "session {session_id}: recorded {bytes} bytes",
                event="recording_ended",
                session_id=facts.session_id,
                instance_uuid=facts.instance_uuid,
                index=facts.console_index,
                user_id=facts.user_id,
                project_id=facts.project_id,
                bytes=ending.size,
            )
            await self._try_to_note("ended", rows.end, facts, ending)
        await self.archive.ended(facts.session_id, kept=ending is not None)

    def _noting(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        noted = Deferred.fromCoroutine(work)
        self._notes.add(noted)
        return noted.addCallback(lambda _: self._notes.discard(noted))

    async def _try_to_note(self, what: str, fn: Callable[..., object], *args: object) -> None:
        try:
            await self.database.run(fn, *args)
        except ConsoledError as error:
            # The keeper finds the file, and notes it then.
            log.warn("that a recording has {what} is noted later: {cause}", what=what, cause=error)
        except Exception:
            log.failure("that a recording has {what} cannot be noted now", what=what)


@define(eq=False)
class _Watch:
    """A listener before the session's: it logs, and loses patience with the disk."""

    facts: Facts
    listener: Listener
    clock: IReactorTime
    patience: float
    recording: Recording | None = None
    _waiting: IDelayedCall | None = None

    def recording_failed(self, reason: str) -> None:
        self._log("recording_failed", reason)
        self.listener.recording_failed(reason)

    def recording_suffers(self, reason: str) -> None:
        self._log("recording_suffers", reason)
        self.listener.recording_suffers(reason)

    def recording_lags(self, lags: bool) -> None:
        if lags:
            self._waiting = self.clock.callLater(self.patience, self._give_up)
        elif self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self.listener.recording_lags(lags)

    def _give_up(self) -> None:
        if self.recording is not None:
            self.recording.fail("This session must be recorded, and the disk takes no more of it.")

    def _log(self, event: str, reason: str) -> None:
        log.error(
            "session {session_id}: {reason}",
            event=event,
            reason=reason,
            session_id=self.facts.session_id,
            instance_uuid=self.facts.instance_uuid,
            index=self.facts.console_index,
            user_id=self.facts.user_id,
            project_id=self.facts.project_id,
        )
