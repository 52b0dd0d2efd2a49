"""The archive, put together where ``[recording] archive`` has one."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen

from consoled.interfaces import Database, Worker
from consoled.openstack.console_tokens import ConsoleTokens
from consoled.openstack.parts import OpenStackParts
from consoled.recording.archive_folder import ArchiveFolder
from consoled.recording.archive_sessions import ArchivedSessions, NoArchive, SessionArchive
from consoled.recording.folder import RecordingFolder
from consoled.service import Part
from consoled.settings import Settings


@frozen
class ArchiveParts:
    """What the recorder tells of its recordings, and what uploads them.

    :ivar parts: to be started after what asks Glance, and so stopped before it.
    """

    sessions: SessionArchive
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        *,
        database: Database,
        folder: RecordingFolder,
        worker: Worker,
        openstack: OpenStackParts | None,
        tokens: ConsoleTokens | None,
    ) -> Self:
        """For these settings; nothing is started.

        Recordings of a time when they were archived are so also where none are made any more.
        """
        group = settings.recording
        keeper = None if openstack is None else openstack.keeper
        calls = None if openstack is None else openstack.calls
        if group.archive != "glance" or calls is None or keeper is None or tokens is None:
            return cls(NoArchive())
        # What it loads takes a while, and few need it.
        from consoled.recording.archive_uploader import ArchiveUploader

        place = ArchiveFolder(folder)
        uploader = ArchiveUploader(database, calls, keeper, place, worker, reactor)
        sessions = ArchivedSessions(
            database, tokens, keeper, place, worker, group.archive_window, uploader.wake
        )
        if settings.serial_console.record:
            tokens.uses.append(lambda token: not token.observes)
        return cls(sessions, (Part(uploader.start, uploader.stop),))
