"""What has become of a recording on its way to the archive."""

from __future__ import annotations

import enum

from attrs import frozen


class ArchiveState(enum.StrEnum):
    """``PENDING`` waits for its session's end, or for the next try; ``REMOVING`` has failed, and
    a part of it is still in Glance.
    """

    PENDING = "pending"
    UPLOADING = "uploading"
    REMOVING = "removing"
    DONE = "done"
    FAILED = "failed"


OPEN = (ArchiveState.PENDING, ArchiveState.UPLOADING, ArchiveState.REMOVING)
"""Those of which something is still to do."""


@frozen
class Archived:
    """What is shown of it.

    :ivar image_id: its image in Glance; None where there is none yet, or none any more.
    :ivar reason: why it failed, or what the last try met; "" where nothing did.
    """

    state: ArchiveState
    image_id: str | None = None
    reason: str = ""
