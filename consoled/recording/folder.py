"""The folder of the recordings: one file a session, for the daemon's user only.

All calls block. A file that is being written is locked (``flock``): so daemons that share a
folder know of each other's, and a killed one's are known as ended.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from consoled.recording.reading import MAX_LINE
from consoled.recording.values import Facts, is_session_id

SUFFIX = ".cast"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


@frozen
class Found:
    """A file of the folder.

    :ivar modified: when it was written last, seconds since the epoch.
    """

    session_id: str
    size: int
    modified: int


@frozen
class RecordingFolder:
    """The files below one folder.

    :ivar path: ``state_path/recordings``.
    """

    path: Path

    def make(self) -> None:
        """Makes the folder where it is missing.

        :raises OSError: it cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, session_id: str) -> Path:
        """Where the recording of a session is.

        :raises ValueError: this is no session's id.
        """
        if not is_session_id(session_id):
            raise ValueError("not a session id")
        return self.path / f"{session_id}{SUFFIX}"

    def create(self, session_id: str) -> int:
        """A new file, locked; its descriptor.

        :raises OSError: it cannot be made, or is there already.
        """
        self.make()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        descriptor = os.open(self.place(session_id), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def open(self, session_id: str) -> int:
        """A descriptor to read from.

        :raises OSError: there is no such file, or it cannot be read.
        """
        return os.open(self.place(session_id), os.O_RDONLY | _FLAGS)

    def free(self) -> int:
        """Bytes that the daemon's user can still write.

        :raises OSError: that cannot be known.
        """
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize

    def scan(self) -> list[Found]:
        """All recordings, those that are being written included."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                session_id = entry.name.removesuffix(SUFFIX)
                named = entry.name.endswith(SUFFIX) and is_session_id(session_id)
                if named and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        now = entry.stat(follow_symlinks=False)
                        found.append(Found(session_id, now.st_size, int(now.st_mtime)))
        return found

    def is_open(self, session_id: str) -> bool:
        """Whether somebody is writing it.

        :raises OSError: there is no such file, or it cannot be read.
        """
        descriptor = self.open(session_id)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def facts(self, session_id: str) -> Facts | None:
        """What the file says it is about; None where it says nothing, or of another session.

        :raises OSError: it cannot be read.
        """
        with os.fdopen(self.open(session_id), "rb") as file:
            file.readline(MAX_LINE)
            facts = Facts.of_line(file.readline(MAX_LINE))
        return facts if facts is not None and facts.session_id == session_id else None

    def trim(self, session_id: str) -> int:
        """Takes away what a killed daemon left of a last line; the size that remains.

        :raises OSError: it cannot be written.
        """
        descriptor = os.open(self.place(session_id), os.O_RDWR | _FLAGS)
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size - MAX_LINE)
            tail = os.pread(descriptor, MAX_LINE, start)
            whole = start + tail.rfind(b"\n") + 1
            if whole < size:
                os.ftruncate(descriptor, whole)
            return whole
        finally:
            os.close(descriptor)

    def delete(self, session_id: str) -> None:
        """Deletes a file; one that is gone already is no error.

        :raises OSError: it cannot be deleted.
        """
        self.place(session_id).unlink(missing_ok=True)
