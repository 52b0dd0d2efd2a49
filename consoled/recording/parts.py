"""The parts that record, and keep what was recorded, put together from the settings."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from consoled.interfaces import Database, Policy
from consoled.openstack.console_tokens import ConsoleTokens
from consoled.openstack.parts import OpenStackParts
from consoled.recording.archive_parts import ArchiveParts
from consoled.recording.files import Elsewhere, RecordingFiles
from consoled.recording.folder import RecordingFolder
from consoled.recording.keeper import RecordingKeeper
from consoled.recording.keyfile import read_key
from consoled.recording.recorder import NoRecorder, Recorder, SessionRecorder
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.recording.writer import RecordingWriter, Rules
from consoled.service import Part
from consoled.settings import Settings
from consoled.workers import ThreadWorker


@frozen
class RecordingParts:
    """What the composition needs of recordings.

    :ivar recorder: for the sessions; it records nothing where that is switched off.
    :ivar parts: to be started after the database, and so stopped before it.
    """

    recorder: SessionRecorder
    store: RecordingStore
    replays: ReplayLinks
    parts: Sequence[Part]

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        database: Database,
        policy: Policy,
        key: bytes | None,
        *,
        borrow: Callable[[RecordingFiles], Elsewhere] | None = None,
        openstack: OpenStackParts | None = None,
        console_tokens: ConsoleTokens | None = None,
    ) -> RecordingParts:
        """All of them; nothing is started, and no folder made.

        Recordings of other times are listed and kept also where none are made any more.

        :param key: as of :func:`recording_key`.
        :param borrow: makes what asks other hosts for files.
        :param openstack: asks Glance, and keeps users' tokens; None where there is none.
        :param console_tokens: has users' tokens by their console token, or None.
        """
        group = settings.recording
        folder = RecordingFolder(settings.default.state_path / "recordings")
        worker = ThreadWorker(reactor, "recordings", 1)
        host = socket.gethostname()
        keeper = RecordingKeeper(
            database, folder, worker, reactor, group.keep_days, group.keep_bytes
        )
        parts = [
            Part(worker.start, worker.stop),
            Part(keeper.startService, keeper.stopService),
        ]
        archive = ArchiveParts.of(
            settings,
            reactor,
            database=database,
            folder=folder,
            worker=worker,
            openstack=openstack,
            tokens=console_tokens,
        )
        recorder: SessionRecorder = NoRecorder()
        if settings.serial_console.record:
            writer = RecordingWriter(
                folder,
                Rules(group.input, group.headroom, key),
                to_reactor=reactor.callFromThread,
                seconds=reactor.seconds,
            )
            active = Recorder(
                writer,
                database,
                group.mode == "strict",
                host,
                clock=reactor,
                wall=time.time,
                archive=archive.sessions,
            )
            parts.append(Part(writer.start, active.stop))
            recorder = active
        parts += archive.parts
        elsewhere = None if borrow is None else borrow(RecordingFiles(folder, worker))
        store = RecordingStore(database, policy, folder, worker, host, elsewhere)
        console, tokens = settings.serial_console, settings.consoleauth
        replays = ReplayLinks(
            database,
            store,
            tokens.token_ttl,
            tokens.single_use,
            console.enabled,
            console.base_url,
        )
        return cls(recorder, store, replays, parts)


def recording_key(settings: Settings) -> bytes | None:
    """The key of the recordings' chains, read from its file; None where there is none.

    :raises consoled.errors.ConfigError: it cannot be used.
    """
    path = settings.recording.key_file
    return read_key(path) if settings.serial_console.record and path is not None else None
