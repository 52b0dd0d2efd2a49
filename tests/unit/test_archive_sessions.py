"""From a console URL to a recording that is to be archived: the user's token, and the rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from archives import MIA, MemoryKeeper
from attrs import evolve
from cells import instance, memory_database, outcome
from recordings import SESSION, START, TOKEN, Studio, facts
from twisted.internet.task import Clock

from consoled.db import recordings, tables
from consoled.db.database import CellDatabase
from consoled.errors import ConfigError
from consoled.model import OBSERVER, Caller
from consoled.openstack.console_tokens import ConsoleTokens
from consoled.openstack.parts import OpenStackParts
from consoled.options import load
from consoled.recording.archive_folder import ArchiveFolder
from consoled.recording.archive_parts import ArchiveParts
from consoled.recording.archive_sessions import (
    NOBODY,
    ArchivedSessions,
    NoArchive,
    SessionArchive,
    operation_of,
)
from consoled.recording.archive_values import Archived, ArchiveState
from consoled.recording.folder import RecordingFolder
from consoled.recording.recorder import Recorder
from consoled.settings import Recording, SerialConsole, Settings
from consoled.workers import InlineWorker


@pytest.fixture(scope="module")
def shared() -> CellDatabase:
    return memory_database()


@pytest.fixture
def database(shared: CellDatabase) -> CellDatabase:
    with shared.engine.begin() as connection:
        for table in (tables.recordings, tables.recording_archives):
            connection.execute(table.delete())
    return shared


def archived(database: CellDatabase) -> Archived | None:
    """What has become of the recording."""
    row = outcome(database.run(recordings.find, SESSION))
    assert row is not None
    return row.archived


def sessions(
    database: CellDatabase, keeper: MemoryKeeper, path: Path, woken: list[int]
) -> ArchivedSessions:
    """What hears of recordings in that folder."""
    return ArchivedSessions(
        database,
        ConsoleTokens(keeper, 600, [lambda token: not token.observes]),
        keeper,
        ArchiveFolder(RecordingFolder(path / "recordings")),
        InlineWorker(),
        172_800.0,
        lambda: woken.append(1),
    )


def record(database: CellDatabase, archive: SessionArchive, path: Path) -> None:
    """A session from its beginning to its end."""
    studio = Studio(path)
    recorder = Recorder(
        studio.writer, database, True, "node1", Clock(), lambda: START, archive=archive
    )
    recording = recorder.start(SESSION, TOKEN, instance(), instance().consoles[0])
    recording.output(b"hello")
    recording.close()
    studio.run()
    outcome(recorder.stop())


def test_a_session_keeps_its_user_s_token(database: CellDatabase, tmp_path: Path) -> None:
    """The token that came with the request for a URL is the upload's when the session ends."""
    keeper, woken = MemoryKeeper(), list[int]()
    archive = sessions(database, keeper, tmp_path, woken)
    caller = Caller("mia", "demo", token="mia-token")
    outcome(archive.tokens.keep_for(TOKEN, caller))
    record(database, archive, tmp_path)
    assert keeper.kept[operation_of(SESSION)] == (MIA, 172_800.0)
    assert archived(database) == Archived(ArchiveState.PENDING)
    assert woken == [1]


def test_a_session_without_a_token(database: CellDatabase, tmp_path: Path) -> None:
    """Its recording is not archived, and the list says why; it is deleted with that."""
    keeper = MemoryKeeper()
    record(database, sessions(database, keeper, tmp_path, []), tmp_path)
    assert archived(database) == Archived(ArchiveState.FAILED, None, NOBODY)
    assert keeper.kept == {}
    outcome(database.run(recordings.forget, SESSION))
    outcome(database.run(recordings.begin, facts()))
    assert archived(database) is None


def test_a_recording_that_came_to_nothing(database: CellDatabase, tmp_path: Path) -> None:
    """Nothing is archived of it, and no token kept."""
    keeper, woken = MemoryKeeper(), list[int]()
    archive = sessions(database, keeper, tmp_path, woken)
    outcome(archive.tokens.keep_for(TOKEN, Caller("mia", "demo", token="mia-token")))
    outcome(database.run(recordings.begin, facts()))
    outcome(archive.begun(facts(), TOKEN))
    outcome(archive.ended(SESSION, kept=False))
    assert archived(database) is None
    assert operation_of(SESSION) not in keeper.kept
    assert woken == []


def test_a_folder_that_cannot_be_written(database: CellDatabase, tmp_path: Path) -> None:
    """The session goes on; only its recording is not archived."""
    (tmp_path / "recordings").touch()
    archive = sessions(database, MemoryKeeper(), tmp_path, [])
    outcome(database.run(recordings.begin, facts()))
    outcome(archive.begun(facts(), TOKEN))
    assert archived(database) is None


def parts(database: CellDatabase, tokens: ConsoleTokens, *, archive: str, record: bool) -> object:
    """Who hears of recordings with these settings."""
    settings = Settings(
        "lab",
        serial_console=SerialConsole(record=record),
        recording=Recording(archive=archive),
    )
    openstack = OpenStackParts(object(), MemoryKeeper())  # type: ignore[arg-type]  # nobody is asked
    return ArchiveParts.of(
        settings,
        Clock(),
        database=database,
        folder=RecordingFolder(Path("recordings")),
        worker=InlineWorker(),
        openstack=openstack,
        tokens=tokens,
    ).sessions


def test_whose_tokens_are_kept(database: CellDatabase) -> None:
    """Only where sessions are recorded and archived, and never an observer's."""
    for archive, records, kept in (("none", True, 0), ("glance", False, 0), ("glance", True, 1)):
        tokens = ConsoleTokens(MemoryKeeper(), 600)
        found = parts(database, tokens, archive=archive, record=records)
        assert isinstance(found, NoArchive if archive == "none" else ArchivedSessions)
        assert len(tokens.uses) == kept
    [use] = tokens.uses
    assert use(TOKEN)
    assert not use(evolve(TOKEN, options={"role": OBSERVER}))


KEYSTONE = """
[api]
auth_strategy = keystone
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:5000/v3
username = consoled
password = secret
project_name = service
"""


@pytest.mark.parametrize(
    ("further", "words"), [("", "auth_strategy"), (KEYSTONE, "token_secret_file")]
)
def test_what_an_archive_needs(tmp_path: Path, further: str, words: str) -> None:
    """Without Keystone, or without a key for users' tokens, a start says what to set."""
    path = tmp_path / "consoled.conf"
    path.write_text(f"[recording]\narchive = glance\n{further}")
    with pytest.raises(ConfigError, match=rf"\[recording\] archive.*{words}"):
        load("lab", [path], {})
