"""Recordings on a real disk that is full, in real databases, and in a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import backend, echo
from databases import ALL, new_database
from fault_world import until
from sqlalchemy import Engine, select
from websockets.sync.client import connect

from consoled.db import archives, replays, schema, tables
from consoled.db import recordings as rows
from consoled.db.engine import make_engine
from consoled.db.recordings import Wanted
from consoled.model import Caller
from consoled.recording.archive_values import Archived, ArchiveState
from consoled.recording.chain import Outcome, verify
from consoled.recording.folder import RecordingFolder
from consoled.recording.reading import original_bytes
from consoled.recording.values import Ending, Facts, RecordingState
from consoled.recording.writer import Recording, RecordingWriter, Rules, Silent
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, STRANGER_KEY, static_daemon

ROOT = Path(__file__).parents[2]
SESSION = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b000{}"
WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"


def facts(number: int = 1, project_id: str | None = "demo") -> Facts:
    """What a recording of web-1 is about."""
    return Facts(SESSION.format(number), WEB, "wéb 🖥", project_id, "mia", 0, "node1", 1_767_225_600)


FULL = """
import resource, sys
from pathlib import Path
from consoled.model import Caller
from consoled.recording.chain import verify
from consoled.recording.folder import RecordingFolder
from consoled.recording.reading import original_bytes
from consoled.recording.values import Facts
from consoled.recording.writer import *

class Heard(Silent):
    def recording_failed(self, reason):
        print("failed:", reason)
    def recording_suffers(self, reason):
        print("suffers:", reason)

disk, headroom, strict = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "strict"
SIZE = 256 * 1024
# What anybody may have: a disk on which the one file takes no more than that.
resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))

def left():
    return SIZE - sum(path.stat().st_size for path in disk.iterdir())

writer = RecordingWriter(
    RecordingFolder(disk),
    Rules(headroom=headroom),
    lambda call: call(),
    seconds=lambda: 1.0,
    free=left,
)
session = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b0001"
facts = Facts(session, session, "web-1", None, None, 0, "node1", 1)
endings = []
recording = Recording(facts, strict, Heard(), endings.append, writer)
line = b"to be or not to be " * 40 + b"\\r\\n"
while not endings:
    recording.output(line)
    writer._looked = None
    writer.step()
lines = writer.folder.place(session).read_bytes().splitlines(keepends=True)
assert all(text.endswith(b"\\n") for text in lines)
shown = original_bytes(lines)
assert len(shown) > 50_000 and shown == line * (len(shown) // len(line)), len(shown)
print("outcome:", verify(lines).outcome.value)
print("left:", left())
assert writer.folder.trim(session) == writer.folder.place(session).stat().st_size
"""


@pytest.mark.parametrize("mode", ["strict", "best_effort"])
@pytest.mark.parametrize("headroom", [0, 65536])
def test_a_full_disk(tmp_path: Path, headroom: int, mode: str) -> None:
    """D5: a disk that is full leaves whole lines; with headroom it is met before it happens."""
    words = [sys.executable, "-c", FULL, str(tmp_path), str(headroom), mode]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told, outcome, left = done.stdout.splitlines()
    assert told.startswith("failed: " if mode == "strict" else "suffers: ")
    if headroom:
        assert told.endswith("the disk is nearly full.")
        assert outcome == "outcome: whole"
        assert int(left.split()[1]) > headroom // 2
    else:
        assert told.endswith("cannot be written: File too large.")
        assert outcome == "outcome: cut"


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of the kind that the test names, with the schema in place."""
    made = make_engine(new_database(request.session, request.param, tmp_path), None)
    schema.upgrade(made)
    yield made
    made.dispose()


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_rows(engine: Engine) -> None:
    """Begin, end, adopt, list and forget do the same on each database."""
    with engine.begin() as connection:
        for number, project in ((1, "demo"), (2, None), (3, "other")):
            rows.begin(connection, facts(number, project))
        rows.end(connection, facts(1), Ending(5, "d" * 64, True))
        rows.adopt(connection, facts(1), 9, 1)
        rows.adopt(connection, facts(2, None), 9, 1_767_225_700)
        rows.end(connection, facts(4), Ending(6, "", False))
    with engine.begin() as connection:
        assert rows.now(connection) > 1_767_225_600
        assert sorted(map(str, rows.projects(connection))) == ["None", "demo", "other"]
        first = rows.find(connection, SESSION.format(1))
        assert first is not None
        assert (first.size, first.state) == (5, RecordingState.COMPLETE)
        assert first.facts.instance_name == "wéb 🖥"
        second = rows.find(connection, SESSION.format(2))
        assert second is not None
        assert (second.size, second.ended) == (9, 1_767_225_700)
        both = rows.wanted(connection, Wanted(projects=["demo", None]))
        assert [one.facts.session_id[-1] for one in both][-1] == "4"
        assert {one.facts.session_id[-1] for one in both} == {"1", "2", "4"}
        assert len(rows.among(connection, [SESSION.format(n) for n in (1, 3, 9)])) == 2
        assert rows.forget(connection, SESSION.format(1))
        assert not rows.forget(connection, SESSION.format(1))


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_rows_of_archives(engine: Engine) -> None:
    """What is due, and what becomes of it, is the same on each database."""
    session_ids = [SESSION.format(number) for number in range(1, 5)]
    first, second, third, fourth = session_ids
    with engine.begin() as connection:
        for number, name in enumerate(session_ids, 1):
            rows.begin(connection, facts(number))
            archives.add(connection, name, "here", ArchiveState.PENDING)
        archives.add(connection, SESSION.format(5), "there", ArchiveState.PENDING)
        archives.add(connection, SESSION.format(6), "here", ArchiveState.FAILED, "é" * 2000)
        assert archives.due(connection, "here") == []
        for number in (1, 2, 3):
            rows.end(connection, facts(number), Ending(5, "d" * 64, True))
        archives.plan_image(connection, second, "image")
        archives.begin_upload(connection, second, "image")
        archives.note(connection, second, "Glance is away.")
        rows.forget(connection, third)
    with engine.begin() as connection:
        due = {row.session_id: row for row in archives.due(connection, "here")}
        assert due.keys() == {first, second, third}
        assert (due[second].image_id, due[second].reason) == ("image", "Glance is away.")
        assert due[second].state is ArchiveState.UPLOADING
        assert due[first].recording == rows.find(connection, first)
        assert due[third].recording is None
        for name in (first, third):
            archives.end(connection, name, ArchiveState.DONE, "image")
        assert [row.session_id for row in archives.due(connection, "here")] == [second]
        [done] = rows.among(connection, [first, third])
        assert done.archived == Archived(ArchiveState.DONE, "image")
        assert rows.forget(connection, first)
        archives.forget(connection, second)
        left = set(connection.scalars(select(tables.recording_archives.c.session_id)))
        assert left == {fourth, SESSION.format(5), SESSION.format(6)}


@pytest.mark.parametrize("engine", ALL, indirect=True)
def test_rows_of_replay_tokens(engine: Engine) -> None:
    """Add, find, spend, forget do the same on each database, by the database's own clock."""
    max_ = Caller("max", "demo")
    names = [f"{number}" * 64 for number in range(4)]
    with engine.begin() as connection:
        rows.begin(connection, facts())
        before = rows.now(connection)
        expires = replays.add(connection, names[0], SESSION.format(1), max_, 600)
        assert 600 <= expires - before <= 660
        replays.add(connection, names[1], SESSION.format(1), Caller("ada", None), 600)
        replays.add(connection, names[2], SESSION.format(9), max_, 600)
        replays.add(connection, names[3], SESSION.format(1), max_, 0)
    with engine.begin() as connection:
        found = replays.find(connection, names[0])
        assert found is not None
        assert found.recording.facts.instance_name == "wéb 🖥"
        assert (found.user_id, found.project_id) == ("max", "demo")
        # Of a recording that there is not; expired; unknown.
        for name in (names[2], names[3], "f" * 64):
            assert replays.find(connection, name) is None
        assert replays.spend(connection, names[0])
        assert not replays.spend(connection, names[0])
        assert not replays.spend(connection, names[3])
        assert replays.find(connection, names[0]) is None
        assert rows.forget(connection, SESSION.format(1))
        assert replays.find(connection, names[1]) is None
        replays.add(connection, "e" * 64, SESSION.format(1), max_, 600)
        left = set(connection.scalars(select(tables.replay_tokens.c.token_hash)))
        assert left == {names[1], names[2], "e" * 64}


def leave_recording(state: Path, *, close: bool) -> Path:
    """A file as a daemon leaves it: closed, or killed in the middle of a line."""
    folder = RecordingFolder(state / "recordings")
    writer = RecordingWriter(folder, Rules(), lambda call: call())
    recording = Recording(facts(), True, Silent(), lambda ending: None, writer)
    recording.output(b"hello\r\n")
    if close:
        recording.close()
    while writer.step():
        pass
    if not close:
        assert recording.tape is not None
        recording.tape.release()
        with folder.place(SESSION.format(1)).open("ab") as file:
            file.write(b'[0.1, "o", "pie')
    return folder.place(SESSION.format(1))


def consolectl(url: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """The command, as a member."""
    env = {"PATH": os.environ["PATH"], "CONSOLED_API": url, "CONSOLED_KEY": MEMBER_KEY}
    return subprocess.run(
        [sys.executable, "-m", "consoled.cli", "recording", *words],
        check=False,
        capture_output=True,
        timeout=60,
        cwd=cwd,
        env=env | {"PYTHONPATH": str(ROOT)},
    )


def test_a_daemon_takes_up_what_was_left(tmp_path: Path) -> None:
    """D4: the next start trims and lists a killed daemon's recording, and serves it."""
    path = leave_recording(tmp_path / "state", close=False)
    name = SESSION.format(1)
    with static_daemon(tmp_path, []) as daemon:
        daemon.wait_for_event("recording_adopted")
        answer = daemon.request("GET", f"/v1/recordings/{name}", key=MEMBER_KEY)
        assert answer.status == 200
        assert answer.body["recording"]["state"] == "incomplete"
        assert answer.body["recording"]["bytes"] == path.stat().st_size
        assert daemon.request("GET", f"/v1/recordings/{name}", key=STRANGER_KEY).status == 404
        assert verify(path.read_bytes().splitlines(keepends=True)).outcome is Outcome.CUT
        done = consolectl(daemon.api_url, "play", "--idle-limit", "0", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"hello\r\n")
        done = consolectl(daemon.api_url, "download", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{name}.cast").read_bytes() == path.read_bytes()
        done = consolectl(daemon.api_url, "verify", name, cwd=tmp_path)
        assert (done.returncode, b"cut at line" in done.stderr) == (1, True)
        assert daemon.request("DELETE", f"/v1/recordings/{name}", key=ADMIN_KEY).status == 204
        assert not path.exists()


def test_a_start_with_recording(tmp_path: Path) -> None:
    """The daemon starts and stops with recording on and a key."""
    key = tmp_path / "recording.key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    config = {"serial_console": {"record": True}, "recording": {"key_file": key, "input": True}}
    with static_daemon(tmp_path, [], config) as daemon:
        assert daemon.request("GET", "/v1/recordings").body == {"recordings": []}
        daemon.stop()
        assert "stopped" in [event["event"] for event in daemon.events()]


def test_a_session_is_recorded(tmp_path: Path) -> None:
    """What a guest prints to a viewer is in the file, whole, also when the daemon is killed."""
    config = {"serial_console": {"record": True}, "recording": {"headroom": 0}}
    with backend(echo) as guest:
        instance = {
            "uuid": WEB,
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{guest.port}"],
        }
        with static_daemon(tmp_path, [instance], config) as daemon:
            with connect(daemon.ws_url(WEB, 0), compression=None) as client:
                client.send(b"hello guest\r")
                assert client.recv(60) == b"hello guest\r"
            daemon.wait_for_event("recording_ended")
            (row,) = daemon.request("GET", "/v1/recordings", key=MEMBER_KEY).body["recordings"]
            folder = RecordingFolder(tmp_path / "state/recordings")
            lines = folder.place(row["id"]).read_bytes().splitlines(keepends=True)
            assert verify(lines).outcome is Outcome.WHOLE
            assert original_bytes(lines) == b"hello guest\r"
            with connect(daemon.ws_url(WEB, 0), compression=None) as client:
                client.send(b"cut off")
                assert client.recv(60) == b"cut off"
                opened = daemon.wait_for_event("session_opened")["session_id"]
                place = folder.place(str(opened))
                until(
                    daemon,
                    "the output is written",
                    lambda: place.exists() and b"cut off" in place.read_bytes(),
                )
                os.kill(daemon.pid, signal.SIGKILL)
                daemon.stop()
            lines = place.read_bytes().splitlines(keepends=True)
            assert original_bytes(lines) == b"cut off"
