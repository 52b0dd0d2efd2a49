"""An archive for tests: a folder with recordings, a small Glance, and an uploader by hand."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from cells import outcome
from image_server import ImageServer, InlineCalls
from recordings import SESSION, Studio, facts
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from consoled.db import archives as rows
from consoled.db import recordings
from consoled.db.database import CellDatabase
from consoled.interfaces import Calls
from consoled.openstack.values import UserToken
from consoled.recording.archive_folder import ArchiveFolder
from consoled.recording.archive_sessions import operation_of
from consoled.recording.archive_uploader import ArchiveUploader
from consoled.recording.archive_values import Archived, ArchiveState
from consoled.workers import InlineWorker

MIA = UserToken("mia-token", "demo", "mia")
TEXT = b"to be or not to be, that is the question\r\n" * 5000


@define
class MemoryKeeper:
    """Keeps users' tokens in memory.

    :ivar kept: by operation, with the seconds.
    """

    kept: dict[str, tuple[UserToken, float]] = field(factory=dict)

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Keeps it."""
        self.kept[operation] = (user, seconds)
        return succeed(None)

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """What is kept."""
        found = self.kept.get(operation)
        return succeed(None if found is None else found[0])

    def forget(self, operation: str) -> Deferred[None]:
        """It is over."""
        self.kept.pop(operation, None)
        return succeed(None)


@define
class Archive:
    """A daemon's archive without the daemon.

    :ivar calls: asks the small Glance; another one where a test says so.
    """

    path: Path
    server: ImageServer
    database: CellDatabase
    calls: Calls = field(init=False)
    keeper: MemoryKeeper = field(factory=MemoryKeeper)
    clock: Clock = field(factory=Clock)
    studio: Studio = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.calls = InlineCalls(self.server)
        self.studio = Studio(self.path)

    @property
    def folder(self) -> ArchiveFolder:
        """The folder of recordings, as a daemon that has just started sees it."""
        return ArchiveFolder(self.studio.writer.folder)

    def uploader(self) -> ArchiveUploader:
        """One that has not looked yet."""
        return ArchiveUploader(
            self.database, self.calls, self.keeper, self.folder, InlineWorker(), self.clock
        )

    def record(self, name: str = SESSION, *, over: bool = True) -> bytes:
        """A recorded session that is to be archived; its file."""
        about = facts(name)
        recording, _ = self.studio.start(about=about)
        outcome(self.database.run(recordings.begin, about))
        outcome(self.keeper.keep(operation_of(name), MIA, 1000.0))
        identity = self.folder.identity()
        outcome(self.database.run(rows.add, name, identity, ArchiveState.PENDING))
        recording.output(TEXT)
        if over:
            recording.close()
        self.studio.run()
        if over:
            ending = self.studio.endings[-1]
            assert ending is not None
            outcome(self.database.run(recordings.end, about, ending))
        return self.studio.file(name).read_bytes()

    def left(self, image_id: str, name: str = SESSION) -> None:
        """What a daemon that was killed while it sent an image has left in the database."""
        outcome(self.database.run(rows.begin_upload, name, image_id))

    def state(self, name: str = SESSION) -> Archived:
        """What has become of it."""
        row = outcome(self.database.run(recordings.find, name))
        assert row is not None
        assert row.archived is not None
        return row.archived

    def one_round(self) -> None:
        """A daemon that starts, looks once, and stops."""
        uploader = self.uploader()
        uploader.start()
        outcome(uploader.stop())
