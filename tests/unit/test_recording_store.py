"""Rows, retention, and the way from a session to a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells import instance, memory_database, outcome
from recordings import SESSION, START, TOKEN, Heard, Studio, facts, session_id
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from consoled.db import recordings as rows
from consoled.db.database import CellDatabase
from consoled.db.recordings import Wanted
from consoled.errors import ConfigError, Unavailable
from consoled.recording.folder import RecordingFolder
from consoled.recording.keeper import Kept, RecordingKeeper, superfluous
from consoled.recording.keyfile import read_key
from consoled.recording.recorder import NoRecorder, Recorder
from consoled.recording.values import Ending, RecordingRow, RecordingState
from consoled.workers import InlineWorker

DAY = 86_400


@pytest.fixture
def database() -> CellDatabase:
    return memory_database()


def found(database: CellDatabase, name: str = SESSION) -> RecordingRow | None:
    """The row of a recording."""
    return outcome(database.run(rows.find, name))


def row(database: CellDatabase, name: str = SESSION) -> RecordingRow:
    """The row of a recording that has one."""
    it = found(database, name)
    assert it is not None
    return it


def keeper(database: CellDatabase, path: Path, days: float = 0, most: int = 0) -> RecordingKeeper:
    """A keeper of the studio's folder."""
    folder = RecordingFolder(path / "recordings")
    return RecordingKeeper(database, folder, InlineWorker(), Clock(), days, most)


def one_round(it: RecordingKeeper) -> None:
    """Starts and stops it: one round."""
    it.startService()
    it.stopService()


def record(studio: Studio, name: str, text: bytes = b"x", *, close: bool = True) -> None:
    """A recording in the studio's folder."""
    recording, _ = studio.start(about=facts(name))
    recording.output(text)
    if close:
        recording.close()
    studio.run()


def test_from_session_to_row(database: CellDatabase, tmp_path: Path) -> None:
    """A session's recording is in the database from its beginning, and ends with its digest."""
    studio = Studio(tmp_path)
    recorder = Recorder(studio.writer, database, True, "node1", Clock(), lambda: START + 0.5)
    console = instance().consoles[0]
    recording = recorder.start(SESSION, TOKEN, instance(), console, Heard())
    assert row(database).state is RecordingState.RECORDING
    assert row(database).facts.user_id == "mia"
    recording.output(b"hello")
    recording.close()
    studio.run()
    ended = row(database)
    assert (ended.state, ended.size) == (RecordingState.COMPLETE, studio.file().stat().st_size)
    assert len(ended.digest) == 64
    assert b'"attach mia"' in studio.file().read_bytes()
    outcome(recorder.stop())


def test_a_recording_that_could_not_begin(database: CellDatabase, tmp_path: Path) -> None:
    """Without a file there is no row either, and the session's listener is told."""
    studio = Studio(tmp_path)
    (tmp_path / "recordings").touch()
    heard = Heard()
    recorder = Recorder(studio.writer, database, True, "node1", Clock(), lambda: START)
    recorder.start(SESSION, TOKEN, instance(), instance().consoles[0], heard)
    studio.run()
    assert len(heard.failed) == 1
    assert found(database) is None


def test_the_database_is_away(tmp_path: Path) -> None:
    """A recording goes on without it; the keeper notes it later."""

    class Away:
        def run(self, *args: Any) -> Deferred[Any]:
            return fail(Unavailable("away"))

        read = run

    studio, heard = Studio(tmp_path), Heard()
    recorder = Recorder(studio.writer, Away(), True, "node1", Clock(), lambda: START)
    recording = recorder.start(SESSION, TOKEN, instance(), instance().consoles[0], heard)
    recording.output(b"hello")
    recording.close()
    studio.run()
    outcome(recorder.stop())
    assert heard.failed == []
    database = memory_database()
    one_round(keeper(database, tmp_path))
    assert row(database).state is RecordingState.INCOMPLETE
    assert row(database).facts == facts(instance_name="web", instance_uuid=instance().uuid)


def test_a_disk_that_hangs(tmp_path: Path, database: CellDatabase) -> None:
    """A strict session is not held for ever: after 15 s without progress it ends."""
    studio, heard, clock = Studio(tmp_path), Heard(), Clock()
    recorder = Recorder(studio.writer, database, True, "node1", clock, lambda: START)
    recording = recorder.start(SESSION, TOKEN, instance(), instance().consoles[0], heard)
    while not heard.lags:
        recording.output(b"z" * 8192)
    clock.advance(14)
    assert heard.failed == []
    clock.advance(2)
    assert heard.failed == ["This session must be recorded, and the disk takes no more of it."]


def test_no_recorder() -> None:
    """Switched off, everything is taken and nothing kept."""
    recording = NoRecorder().start(SESSION, TOKEN, instance(), instance().consoles[0], Heard())
    recording.output(b"x")
    recording.input(b"x")
    recording.marker("x")
    recording.resize(1, 1)
    recording.close()


def test_the_end_without_a_beginning(database: CellDatabase) -> None:
    """A row whose beginning was not noted is made at the end; twice changes nothing."""
    for _ in range(2):
        outcome(database.run(rows.end, facts(), Ending(7, "d" * 64, True)))
    assert row(database).size == 7
    outcome(database.run(rows.adopt, facts(), 9, START))
    assert row(database).state is RecordingState.COMPLETE


def test_the_list(database: CellDatabase) -> None:
    """Newest first, of the projects, narrowed by instance, user and time."""
    about = [
        facts(session_id(1), started=START),
        facts(session_id(2), started=START + 10, user_id="zoe"),
        facts(session_id(3), started=START + 20, project_id=None),
        facts(session_id(4), started=START + 30, project_id="other", instance_uuid="u"),
    ]
    for one in about:
        outcome(database.run(rows.end, one, Ending(1, "", True)))

    def numbers(**which: Any) -> list[int]:
        which = {"projects": ["demo", "other", None]} | which
        listed = outcome(database.run(rows.wanted, Wanted(**which)))
        return [int(one.facts.session_id[-1]) for one in listed]

    assert numbers() == [4, 3, 2, 1]
    assert numbers(most=2) == [4, 3]
    assert numbers(projects=["demo"]) == [2, 1]
    assert numbers(projects=[None]) == [3]
    assert numbers(projects=[]) == []
    assert numbers(user_id="zoe") == [2]
    assert numbers(instance_uuid="u") == [4]
    assert numbers(since=START + 10, until=START + 30) == [3, 2]
    assert set(outcome(database.run(rows.projects))) == {"demo", "other", None}


def test_an_instance_s_end_leaves_its_recordings(database: CellDatabase) -> None:
    """No foreign key leads from a recording to its instance."""
    outcome(database.run(rows.begin, facts()))
    assert row(database).facts.instance_uuid == facts().instance_uuid


def test_what_is_superfluous() -> None:
    """By age, then by size the oldest first; open ones count and are never taken."""
    kept = [Kept("c", 30 * DAY, 10), Kept("a", 10 * DAY, 10), Kept("b", 20 * DAY, 10)]
    now = 31 * DAY
    assert superfluous(kept, now, 0, 0) == []
    assert superfluous(kept, now, 5, 0) == ["a", "b"]
    assert superfluous(kept, now, 0, 20) == ["a"]
    assert superfluous(kept, now, 0, 20, others=15) == ["a", "b", "c"]
    assert superfluous(kept, now, 15, 10) == ["a", "b"]


def test_a_killed_daemon_s_recording(database: CellDatabase, tmp_path: Path) -> None:
    """It is trimmed and noted as incomplete; one that is still written is left alone."""
    studio = Studio(tmp_path)
    record(studio, session_id(1), close=False)
    record(studio, session_id(2), close=False)
    for number in (1, 2):
        outcome(database.run(rows.begin, facts(session_id(number))))
    # As a kill leaves it: no lock, and a piece of a line.
    whole = studio.file(session_id(1)).read_bytes()
    studio.file(session_id(1)).rename(tmp_path / "moved")
    studio.file(session_id(1)).write_bytes(whole + b'[0.1, "o", "pie')
    one_round(keeper(database, tmp_path))
    assert row(database, session_id(1)).state is RecordingState.INCOMPLETE
    assert row(database, session_id(1)).size == len(whole)
    assert studio.file(session_id(1)).read_bytes() == whole
    assert row(database, session_id(2)).state is RecordingState.RECORDING


def test_retention(database: CellDatabase, tmp_path: Path) -> None:
    """What is over its age goes, file and row; what is not stays, and so do other files."""
    studio = Studio(tmp_path)
    for number in (1, 2):
        record(studio, session_id(number))
        outcome(database.run(rows.end, facts(session_id(number)), Ending(1, "", True)))
    stranger = tmp_path / "recordings" / "notes.txt"
    stranger.touch()
    old = outcome(database.run(rows.now)) - 3 * DAY

    def age(connection: Any) -> None:
        table = rows.recordings
        connection.execute(
            table.update().where(table.c.session_id == session_id(1)).values(ended=old)
        )

    outcome(database.run(age))
    one_round(keeper(database, tmp_path, days=7))
    assert found(database, session_id(1)) is not None
    one_round(keeper(database, tmp_path, days=2))
    assert found(database, session_id(1)) is None
    assert not studio.file(session_id(1)).exists()
    assert found(database, session_id(2)) is not None
    assert stranger.exists()
    one_round(keeper(database, tmp_path, most=1))
    assert not studio.file(session_id(2)).exists()


def test_a_round_that_fails(tmp_path: Path) -> None:
    """A round without the database is told and does not end the loop."""

    class Away:
        def run(self, *args: Any) -> Deferred[Any]:
            return fail(Unavailable("away"))

        read = run

    record(Studio(tmp_path), SESSION)
    clock = Clock()
    folder = RecordingFolder(tmp_path / "recordings")
    it = RecordingKeeper(Away(), folder, InlineWorker(), clock, 1, 1)
    it.startService()
    clock.advance(it.interval)
    assert it._loop is not None
    assert it._loop.running
    it.stopService()


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0o600, "cannot be read: No such file"),
        (b"short", 0o600, "must hold 32"),
        (b"k" * 5000, 0o600, "must hold 32"),
        (b"k" * 40, 0o640, "run: chmod 600"),
    ],
)
def test_a_key_that_cannot_be_used(
    tmp_path: Path, content: bytes | None, mode: int, why: str
) -> None:
    """The daemon says why it does not start, without the key."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=why) as caught:
        read_key(path)
    assert "kkk" not in str(caught.value)


def test_a_key(tmp_path: Path) -> None:
    """White space at the ends is not of the key."""
    path = tmp_path / "key"
    path.write_bytes(b" " + b"k" * 40 + b"\n")
    path.chmod(0o600)
    assert read_key(path) == b"k" * 40
