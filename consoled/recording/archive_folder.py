"""The folder of recordings as a place from which they go to the archive.

All calls block. A folder has an id, by which the rows of the cell database name it: so each
recording is sent from where its file is, whatever the host is called then. Of daemons that share
a folder one sends; when it ends, however it ends, the lock is free for another.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from attrs import define, field, frozen

from consoled.recording.folder import RecordingFolder

PIECE = 256 * 1024
"""Bytes of a file that are in memory at once."""

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class Stopped(Exception):
    """The daemon stops; what it was sending is not all there."""


class CutShort(Exception):
    """A file has become shorter while it was sent."""


@define(eq=False)
class ArchiveFolder:
    """One folder.

    :ivar folder: where the recordings are.
    """

    folder: RecordingFolder
    _id: str | None = field(default=None, init=False)
    _lock: int | None = field(default=None, init=False)

    def identity(self) -> str:
        """The folder's id, which stays with it; made where it has none.

        :raises OSError: the folder cannot be read or written.
        """
        if self._id is None:
            self._id = self._read() or self._make()
        return self._id

    def take(self) -> bool:
        """Whether this daemon is the one that sends; true from then on until :meth:`leave`.

        :raises OSError: the folder cannot be written.
        """
        if self._lock is not None:
            return True
        self.folder.make()
        path = self.folder.path / "archive.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def leave(self) -> None:
        """Lets another daemon send."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def opened(self, session_id: str, stopped: Event) -> Iterator[RecordingBody]:
        """The file of a recording that is over, to be sent.

        :param stopped: set when the daemon stops.
        :raises FileNotFoundError: there is none.
        :raises OSError: it cannot be read.
        """
        descriptor = self.folder.open(session_id)
        try:
            yield RecordingBody(descriptor, os.fstat(descriptor).st_size, stopped)
        finally:
            os.close(descriptor)

    def _read(self) -> str | None:
        try:
            return self._id_file.read_text().strip()
        except FileNotFoundError:
            return None

    def _make(self) -> str:
        """A new id; that of another daemon where one was quicker."""
        self.folder.make()
        made = str(uuid.uuid4())
        fresh = self._id_file.with_name(f"archive.{made}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{made}\n")
            try:
                os.link(fresh, self._id_file)
            except FileExistsError:
                return self._id_file.read_text().strip()
        finally:
            fresh.unlink()
        return made

    @property
    def _id_file(self) -> Path:
        return self.folder.path / "archive.id"


@frozen
class RecordingBody:
    """A file that is sent piece by piece, and from its beginning each time it is iterated.

    :ivar size: its bytes.
    :ivar stopped: when set, the next piece is an end.
    """

    descriptor: int
    size: int
    stopped: Event

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        """
        :raises Stopped: the daemon stops.
        :raises CutShort: the file has not as many bytes any more.
        """
        place = 0
        while place < self.size:
            if self.stopped.is_set():
                raise Stopped
            piece = os.pread(self.descriptor, min(PIECE, self.size - place), place)
            if not piece:
                raise CutShort
            yield piece
            place += len(piece)

    def digest(self, algorithm: str) -> str:
        """Its digest, in hex.

        :param algorithm: as :mod:`hashlib` names it.
        :raises ValueError: there is no such algorithm.
        """
        found = hashlib.new(algorithm, usedforsecurity=False)
        for piece in self:
            found.update(piece)
        return found.hexdigest()
