"""Recordings as they are fed and written."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from recordings import SESSION, START, Studio, facts, session_id

from consoled.recording import tape as tapes
from consoled.recording.chain import Outcome, verify
from consoled.recording.folder import RecordingFolder
from consoled.recording.reading import events, original_bytes
from consoled.recording.values import Facts
from consoled.recording.writer import HIGH, LIMIT, Recording, RecordingWriter, Rules, Silent


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_a_session(studio: Studio) -> None:
    """Header, facts, events and a closing line, in a file for its owner only."""
    recording, heard = studio.start()
    recording.marker("attach mia")
    recording.output(b"login: ")
    studio.run()
    studio.now += 1.5
    recording.resize(120, 40)
    recording.output(b"\xff\r\n")
    recording.close()
    studio.run()
    lines = studio.lines()
    assert json.loads(lines[0])["title"] == "web-1"
    assert Facts.of_line(lines[1]) == facts()
    found = [(e.interval, e.code, e.data) for e in events(lines)]
    assert found == [
        (0.0, "m", "attach mia"),
        (0.0, "o", "login: "),
        (1.5, "r", "120x40"),
        (0.0, "o", "�\r\n"),
    ]
    assert original_bytes(lines) == b"login: \xff\r\n"
    assert verify(lines).outcome is Outcome.WHOLE
    [ending] = studio.endings
    assert ending is not None
    assert (ending.size, ending.complete) == (studio.file().stat().st_size, True)
    assert ending.digest == verify(lines).digest
    assert stat.S_IMODE(studio.file().stat().st_mode) == 0o600
    assert stat.S_IMODE(studio.file().parent.stat().st_mode) == 0o700
    assert (heard.failed, heard.suffers, heard.lags) == ([], [], [])


def test_output_of_one_tick_is_one_event(studio: Studio) -> None:
    """Pieces that come within 15 ms are one event; what comes later is another."""
    recording, _ = studio.start()
    for data in (b"a", b"b", b"c"):
        recording.output(data)
        studio.now += 0.005
    studio.now += 0.1
    recording.output(b"d")
    recording.close()
    studio.run()
    assert [e.data for e in events(studio.lines())] == ["abc", "d"]


@pytest.mark.parametrize("records", [False, True])
def test_input(tmp_path: Path, records: bool) -> None:
    """By default no input is recorded; else only what was echoed, and a password never."""
    studio = Studio(tmp_path, Rules(records_input=records))
    recording, _ = studio.start()
    recording.input(b"id\r")
    recording.output(b"id\r\nuid=0\r\nPassword: ")
    studio.now += 1
    recording.input(b"hunter2\r")
    studio.now += 1
    recording.output(b"\r\n")
    recording.close()
    studio.run()
    assert b"hunter2" not in studio.file().read_bytes()
    told = [(e.code, e.data) for e in events(studio.lines()) if e.code in "im"]
    assert told == ([("i", "id\r"), ("m", "input hidden")] if records else [])


def test_a_keyed_chain(tmp_path: Path) -> None:
    """With a key the file is proven by it, and the key is in no file."""
    studio = Studio(tmp_path, Rules(key=b"s" * 32))
    recording, _ = studio.start()
    recording.output(b"x")
    recording.close()
    studio.run()
    assert verify(studio.lines(), b"s" * 32).outcome is Outcome.WHOLE
    assert verify(studio.lines()).outcome is Outcome.NEEDS_KEY
    assert b"ssss" not in studio.file().read_bytes()
    assert "ssss" not in repr(studio.rules)


def test_after_the_close(studio: Studio) -> None:
    """What comes after the end goes nowhere, and a second close is none."""
    recording, _ = studio.start()
    recording.output(b"x")
    recording.close()
    recording.output(b"late")
    recording.close()
    studio.run()
    assert len(studio.endings) == 1
    assert original_bytes(studio.lines()) == b"x"


def test_the_file_is_never_somebody_else_s(studio: Studio) -> None:
    """A file or a link of that name is not written to: the recording fails."""
    studio.file().parent.mkdir()
    target = studio.path / "target"
    studio.file().symlink_to(target)
    recording, heard = studio.start()
    recording.output(b"x")
    studio.run()
    assert heard.failed == ["The recording of this session cannot be written: File exists."]
    assert not target.exists()
    assert studio.endings == [None]


@pytest.mark.parametrize("strict", [True, False])
def test_the_disk_is_nearly_full(tmp_path: Path, strict: bool) -> None:
    """With less than the headroom left, a recording stops whole, and says so once."""
    studio = Studio(tmp_path, Rules(headroom=1000))
    recording, heard = studio.start(strict=strict)
    recording.output(b"before")
    studio.run()
    studio.room, studio.now = 999, studio.now + 1.0
    for _ in range(3):
        recording.output(b"after")
        studio.run()
    reason = "The recording of this session cannot go on: the disk is nearly full."
    assert (heard.failed, heard.suffers) == (([reason], []) if strict else ([], [reason]))
    lines = studio.lines()
    assert verify(lines).outcome is Outcome.WHOLE
    assert original_bytes(lines) == b"before"
    assert [e.data for e in events(lines)][-1].startswith("the recording stops here")
    [ending] = studio.endings
    assert ending is not None
    assert not ending.complete
    recording.close()
    studio.run()
    assert len(studio.endings) == 1


@pytest.mark.parametrize("strict", [True, False])
def test_the_disk_takes_half_a_write(
    studio: Studio, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a full disk took of a group is taken back: the file ends with a whole, proven line."""
    recording, heard = studio.start(strict=strict)
    recording.output(b"before")
    studio.run()

    def write(descriptor: int, data: Any, real: Any = os.write) -> int:
        if len(data) <= 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(real(descriptor, data[:20]))

    monkeypatch.setattr(tapes.os, "write", write)
    recording.output(b"after")
    studio.run()
    monkeypatch.undo()
    reason = "The recording of this session cannot be written: No space left on device."
    assert (heard.failed, heard.suffers) == (([reason], []) if strict else ([], [reason]))
    lines = studio.lines()
    assert original_bytes(lines) == b"before"
    verdict = verify(lines)
    assert (verdict.outcome, verdict.line) == (Outcome.CUT, len(lines) + 1)
    [ending] = studio.endings
    assert ending is not None
    assert (ending.size, ending.complete) == (studio.file().stat().st_size, False)


def test_others_go_on(studio: Studio) -> None:
    """One recording's trouble is not the others'."""
    studio.file().parent.mkdir()
    studio.file().touch()
    first, _ = studio.start()
    second, heard = studio.start(about=facts(session_id(2)))
    first.output(b"x")
    second.output(b"y")
    second.close()
    studio.run()
    assert heard.failed == []
    assert original_bytes(studio.lines(session_id(2))) == b"y"


def test_strict_holds_the_guest(studio: Studio) -> None:
    """While the disk does not keep up the guest is held, and nothing is lost."""
    recording, heard = studio.start()
    sent = 0
    while not heard.lags:
        recording.output(b"z" * 4096)
        sent += 4096
    assert sent <= HIGH + 4096
    studio.run()
    assert heard.lags == [True, False]
    recording.close()
    studio.run()
    assert original_bytes(studio.lines()) == b"z" * sent
    assert studio.endings[0] is not None
    assert studio.endings[0].complete


def test_strict_fails_when_it_is_not_held(studio: Studio) -> None:
    """Memory is bounded also if the guest goes on: then the recording fails."""
    recording, heard = studio.start()
    for _ in range(100):
        recording.output(b"z" * 8192)
    assert len(heard.failed) == 1
    assert "does not keep up" in heard.failed[0]
    assert sum(len(data) for _, _, data in recording.queue) <= LIMIT
    studio.run()
    assert studio.endings[0] is not None
    assert not studio.endings[0].complete
    assert heard.lags == [True, False]


def test_best_effort_leaves_out(studio: Studio) -> None:
    """It never holds the guest; what does not fit is left out, and a marker says how much."""
    recording, heard = studio.start(strict=False)
    for _ in range(100):
        recording.output(b"z" * 8192)
    assert sum(len(data) for _, _, data in recording.queue) <= LIMIT
    studio.run()
    recording.output(b"and on")
    recording.close()
    studio.run()
    assert (heard.failed, heard.lags, len(heard.suffers)) == ([], [], 1)
    kept = original_bytes(studio.lines())
    missing = 100 * 8192 + len(b"and on") - len(kept)
    [marker] = [e.data for e in events(studio.lines()) if e.code == "m"]
    assert marker == f"{missing} bytes are missing here"
    assert studio.endings[0] is not None
    assert not studio.endings[0].complete


def test_many_tiny_pieces_are_bounded_too(studio: Studio) -> None:
    """What keeps the bytes counts as they do."""
    recording, _ = studio.start(strict=False)
    for _ in range(20_000):
        recording.output(b"z")
    assert len(recording.queue) <= LIMIT // 128


def test_a_flood_does_not_keep_others_waiting(studio: Studio) -> None:
    """One step gives each recording a bounded turn."""
    flooded, _ = studio.start()
    typing, _ = studio.start(about=facts(session_id(2)))
    for _ in range(14):
        flooded.output(b"z" * 8192)
    typing.output(b"k")
    studio.writer.step()
    assert original_bytes(studio.lines(session_id(2))) == b"k"
    assert len(original_bytes(studio.lines())) < 14 * 8192


def test_a_call_only_queues(studio: Studio) -> None:
    """A keystroke costs the reactor no file and no thread: it waits for the writer's turn."""
    before = set(threading.enumerate())
    recording, _ = studio.start()
    recording.output(b"x")
    assert [data for _, _, data in recording.queue] == [b"x"]
    assert set(threading.enumerate()) == before
    assert not studio.file().parent.exists()


def test_the_thread(tmp_path: Path) -> None:
    """The real thread writes what is fed, sleeps, wakes, and ends when all is written."""
    calls: list[Any] = []
    called = threading.Semaphore(0)

    def to_reactor(call: Any) -> None:
        calls.append(call)
        called.release()

    writer = RecordingWriter(RecordingFolder(tmp_path / "r"), Rules(), to_reactor)
    writer.start()
    endings: list[Any] = []
    for number in (1, 2):
        about = facts(session_id(number))
        recording = Recording(about, True, Silent(), endings.append, writer)
        recording.output(b"hello")
        recording.close()
        assert called.acquire(timeout=30)
    writer.stop(lambda: endings.append("stopped"))
    assert called.acquire(timeout=30)
    for call in calls:
        call()
    assert [getattr(e, "complete", e) for e in endings] == [True, True, "stopped"]
    for number in (1, 2):
        file = writer.folder.place(session_id(number)).read_bytes().splitlines(keepends=True)
        assert original_bytes(file) == b"hello"


KILLED = """
import sys, threading
from pathlib import Path
from consoled.recording.folder import RecordingFolder
from consoled.recording.values import Facts
from consoled.recording.writer import *
class Held(Silent):
    def __init__(self):
        self.free = threading.Event()
        self.free.set()
    def recording_lags(self, lags):
        self.free.clear() if lags else self.free.set()

writer = RecordingWriter(RecordingFolder(Path(sys.argv[1])), Rules(), lambda call: call())
writer.start()
held = Held()
facts = Facts(sys.argv[2], sys.argv[2], "web-1", None, None, 0, "node1", 1)
recording = Recording(facts, True, held, print, writer)
number = 0
while True:
    held.free.wait()
    recording.output(b"line %d \\xe2\\x82\\xac \\xff\\r\\n" % number)
    number += 1
    if number % 1000 == 0:
        print(number, flush=True)
"""


ENOUGH = 200_000
"""Bytes of a recording: some thousands of those lines."""


def test_killed(tmp_path: Path) -> None:
    """After SIGKILL in the middle of writing, a recording is whole to its last line."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "r", SESSION],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        place = RecordingFolder(tmp_path / "r").place(SESSION)
        while not place.exists() or place.stat().st_size < ENOUGH:
            assert select.select([process.stdout], [], [], 60)[0]
            assert process.stdout.readline()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    folder = RecordingFolder(tmp_path / "r")
    assert not folder.is_open(SESSION)
    size = folder.trim(SESSION)
    data = folder.place(SESSION).read_bytes()
    assert len(data) == size
    lines = data.splitlines(keepends=True)
    verdict = verify(lines)
    assert verdict.outcome is Outcome.CUT
    shown = original_bytes(lines)
    whole = shown[: shown.rindex(b"\n") + 1].splitlines(keepends=True)
    assert len(whole) > 1000
    assert whole == [b"line %d \xe2\x82\xac \xff\r\n" % n for n in range(len(whole))]


def test_trim(tmp_path: Path) -> None:
    """A piece of a line goes, whole lines stay; a file that never got one becomes empty."""
    folder = RecordingFolder(tmp_path)
    for before, after in ((b"a\nb\nc", b"a\nb\n"), (b"a\n", b"a\n"), (b"abc", b""), (b"", b"")):
        folder.place(SESSION).write_bytes(before)
        assert folder.trim(SESSION) == len(after)
        assert folder.place(SESSION).read_bytes() == after


def test_what_a_folder_holds(tmp_path: Path) -> None:
    """Only recordings count: not other files, links or folders; and no name leads elsewhere."""
    folder = RecordingFolder(tmp_path / "none")
    assert folder.scan() == []
    folder.make()
    folder.place(SESSION).write_bytes(b"xyz")
    (folder.path / "notes.txt").touch()
    (folder.path / f"{session_id(2)}.cast").symlink_to("/etc/passwd")
    (folder.path / f"{session_id(3)}.cast").mkdir()
    assert [(found.session_id, found.size) for found in folder.scan()] == [(SESSION, 3)]
    with pytest.raises(OSError):
        folder.open(session_id(2))
    for name in ("../x", "", "x" * 36, SESSION.upper(), SESSION + "\n"):
        with pytest.raises(ValueError):
            folder.place(name)


def test_open_files_are_known(studio: Studio) -> None:
    """A file that is written is locked, also for other daemons; a closed one is not."""
    recording, _ = studio.start()
    recording.output(b"x")
    studio.run()
    assert studio.writer.folder.is_open(SESSION)
    recording.close()
    studio.run()
    assert not studio.writer.folder.is_open(SESSION)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"# other\n",
        b"# consoled \n",
        b"# consoled []\n",
        b'# consoled {"session_id": "x"}\n',
        facts().line().replace(b'"node1"', b"1"),
        facts().line().replace(b'"mia"', b'"' + b"m" * 300 + b'"'),
        facts().line().replace(str(START).encode(), b"-1"),
        facts().line().replace(b'"started"', b'"began"'),
        facts().line().replace(SESSION.encode(), b"../../etc/passwd"),
        b"# consoled " + b"[" * 100_000 + b"\n",
    ],
)
def test_facts_that_are_none(line: bytes) -> None:
    """A file may say anything about itself; only what fits the tables is believed."""
    assert Facts.of_line(line) is None
