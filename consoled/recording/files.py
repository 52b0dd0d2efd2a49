"""The files of recordings, opened and deleted in a worker: this host's, and other hosts'."""

from __future__ import annotations

import os
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.interfaces import Worker
from consoled.recording.folder import RecordingFolder


@frozen
class Content:
    """A recording's file, open for reading.

    :ivar descriptor: whoever gets it closes it.
    :ivar size: its bytes now; it may grow while the session goes on.
    """

    descriptor: int
    size: int


@frozen
class RecordingFiles:
    """Those of this host.

    :ivar worker: one thread, so that what is asked later is done later.
    """

    folder: RecordingFolder
    worker: Worker

    def open(self, session_id: str) -> Deferred[Content]:
        """The file of one recording.

        :raises FileNotFoundError: this host has it not.
        """
        return self.worker.run(self._open, session_id)

    def delete(self, session_id: str) -> Deferred[bool]:
        """Deletes the file of one recording.

        :returns: False while its session goes on.
        :raises FileNotFoundError: this host has it not.
        """
        return self.worker.run(self._delete, session_id)

    def close(self, content: Content) -> None:
        """Closes a file unread."""
        self.worker.run(os.close, content.descriptor)

    def _open(self, session_id: str) -> Content:
        descriptor = self.folder.open(session_id)
        return Content(descriptor, os.fstat(descriptor).st_size)

    def _delete(self, session_id: str) -> bool:
        if self.folder.is_open(session_id):
            return False
        self.folder.delete(session_id)
        return True


class Elsewhere(Protocol):
    """The files of the cell's other hosts."""

    def fetch(self, session_id: str) -> Deferred[Content | None]:
        """A copy of a recording's file; None where nobody who answers has it.

        :raises consoled.errors.Conflict: it is too large for that.
        :raises consoled.errors.Unavailable: it could not be brought here, or the database is
            away.
        """

    def delete(self, session_id: str) -> Deferred[bool | None]:
        """Deletes a recording's file where it is.

        :returns: False while its session goes on, None where nobody who answers has it.
        :raises consoled.errors.Unavailable: the database is away.
        """
