"""Recordings for tests: a writer that is stepped by hand, sessions, and what a listener hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field
from cells import instance
from fakes import EXPIRES

from consoled.model import ConsoleAuthToken
from consoled.recording.folder import RecordingFolder
from consoled.recording.values import Ending, Facts
from consoled.recording.writer import Recording, RecordingWriter, Rules

SESSION = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b0001"
INSTANCE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
START = 1_767_225_600
TOKEN = ConsoleAuthToken(
    token_hash="0" * 64,
    instance_uuid=instance().uuid,
    index=0,
    host="127.0.0.1",
    port=10000,
    generation=1,
    access_url="http://127.0.0.1/",
    expires=EXPIRES,
    user_id="mia",
)


def facts(session_id: str = SESSION, **changes: Any) -> Facts:
    """What a recording of web-1's first console is about, but for the changes."""
    values: dict[str, Any] = {
        "instance_uuid": INSTANCE,
        "instance_name": "web-1",
        "project_id": "demo",
        "user_id": "mia",
        "console_index": 0,
        "host": "node1",
        "started": START,
    }
    return Facts(session_id, **(values | changes))


def session_id(number: int) -> str:
    """A session's id."""
    return f"8c1fb5e2-5c6e-4f6e-9b0a-{number:012d}"


@define
class Heard:
    """A listener that keeps what it hears."""

    failed: list[str] = field(factory=list)
    suffers: list[str] = field(factory=list)
    lags: list[bool] = field(factory=list)

    def recording_failed(self, reason: str) -> None:
        """The session would end."""
        self.failed.append(reason)

    def recording_suffers(self, reason: str) -> None:
        """The viewer would be told."""
        self.suffers.append(reason)

    def recording_lags(self, lags: bool) -> None:
        """The guest would be held."""
        self.lags.append(lags)


@define
class Studio:
    """A writer without a thread, and its clock.

    :ivar room: the disk's free bytes.
    """

    path: Path
    rules: Rules = field(factory=Rules)
    now: float = 1000.0
    room: int = 1 << 40
    writer: RecordingWriter = field(init=False)
    endings: list[Ending | None] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.writer = RecordingWriter(
            RecordingFolder(self.path / "recordings"),
            self.rules,
            to_reactor=lambda call: call(),
            seconds=lambda: self.now,
            free=lambda: self.room,
        )

    def start(self, *, strict: bool = True, about: Facts | None = None) -> tuple[Recording, Heard]:
        """A recording and its listener."""
        heard = Heard()
        about = about or facts()
        return Recording(about, strict, heard, self.endings.append, self.writer), heard

    def run(self) -> None:
        """Steps until there is nothing to do."""
        while self.writer.step():
            pass

    def file(self, name: str = SESSION) -> Path:
        """Where a recording is."""
        return self.writer.folder.place(name)

    def lines(self, name: str = SESSION) -> list[bytes]:
        """Its lines."""
        return self.file(name).read_bytes().splitlines(keepends=True)
