"""How a recording looks as an image in Glance. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consoled.recording.values import RecordingRow

TAG = "consoled-recording"
"""By which the archive is told from other images."""

FORMAT = "asciicast-v3"

_LONGEST = 255


def image_of(row: RecordingRow, image_id: str) -> dict[str, Any]:
    """Glance's JSON of a new image.

    Of the formats that Glance knows, ``raw`` says the least of what is in it. It belongs to the
    project of the token that it is made with.

    :param row: a recording that is over.
    :param image_id: a uuid that no image has.
    """
    facts = row.facts
    properties = {
        "consoled_session_id": facts.session_id,
        "consoled_instance_uuid": facts.instance_uuid,
        "consoled_instance_name": facts.instance_name,
        "consoled_console": f"{facts.console_type} {facts.console_index}",
        "consoled_user_id": facts.user_id,
        "consoled_started_at": _time(row.started),
        "consoled_ended_at": None if row.ended is None else _time(row.ended),
        "consoled_state": row.state.value,
        "consoled_format": FORMAT,
        "consoled_digest": row.digest,
    }
    return {
        "id": image_id,
        "name": image_name(row),
        "disk_format": "raw",
        "container_format": "bare",
        "visibility": "private",
        "tags": [TAG],
        **{name: value for name, value in properties.items() if value},
    }


def image_name(row: RecordingRow) -> str:
    """``INSTANCE TIME SESSION``: sorted by name, an instance's recordings are in their order."""
    end = f" {_time(row.started)} {row.facts.session_id}"
    return row.facts.instance_name[: _LONGEST - len(end)] + end


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
