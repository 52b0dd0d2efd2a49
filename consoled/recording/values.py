"""What is known of a recording besides its content."""

from __future__ import annotations

import enum
import json
import re
from typing import Any

from attrs import asdict, frozen

from consoled.model import SERIAL
from consoled.recording.archive_values import Archived

ABOUT = b"# consoled "
"""Begins the second line of a file: what it is about, so that a lost row can be made again."""

_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def is_session_id(text: object) -> bool:
    """Whether this can be the name of a recording."""
    return isinstance(text, str) and _SESSION.fullmatch(text) is not None


class RecordingState(enum.StrEnum):
    """What has become of a recording.

    ``INCOMPLETE`` is one whose daemon was killed, or that had to stop or leave something out.
    """

    RECORDING = "recording"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


@frozen
class Facts:
    """Whose session a recording is of.

    :ivar project_id: the project that the instance belongs to, or None.
    :ivar host: the host whose disk has the file.
    :ivar started: seconds since the epoch, by that host's clock.
    """

    session_id: str
    instance_uuid: str
    instance_name: str
    project_id: str | None
    user_id: str | None
    console_index: int
    host: str
    started: int
    console_type: str = SERIAL

    def line(self) -> bytes:
        """The facts as the second line of a file."""
        return ABOUT + json.dumps(asdict(self)).encode("ascii") + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Facts | None:
        """The facts in such a line, or None where it is none."""
        try:
            value: Any = json.loads(line.removeprefix(ABOUT)) if line.startswith(ABOUT) else None
            facts = cls(**value)
        except (TypeError, ValueError, RecursionError):
            return None
        return facts if facts._is_sound() else None

    def _is_sound(self) -> bool:
        """Whether each value is of its kind and fits its column; a file may say anything."""
        needed = (self.session_id, self.instance_uuid, self.instance_name, self.host)
        numbers = (self.console_index, self.started)
        return (
            is_session_id(self.session_id)
            and all(isinstance(text, str) and len(text) <= 255 for text in needed)
            and len(self.instance_uuid) <= 36
            and isinstance(self.console_type, str)
            and len(self.console_type) <= 32
            and all(
                text is None or (isinstance(text, str) and len(text) <= 255)
                for text in (self.project_id, self.user_id)
            )
            and all(type(number) is int and 0 <= number < 2**53 for number in numbers)
        )


@frozen
class Ending:
    """How a file ended.

    :ivar size: its bytes.
    :ivar digest: the last one of its chain, in hex; "" where that is not known.
    :ivar complete: whether everything is in it that was to be recorded.
    """

    size: int
    digest: str
    complete: bool


@frozen
class RecordingRow:
    """A recording as the cell database has it.

    :ivar started: seconds since the epoch, in the database's time.
    :ivar ended: as ``started``; None while it goes on.
    :ivar size: bytes of the file; 0 while it goes on.
    :ivar archived: what has become of it on its way to the archive; None where it has none.
    """

    facts: Facts
    started: int
    ended: int | None
    size: int
    digest: str
    state: RecordingState
    archived: Archived | None = None
