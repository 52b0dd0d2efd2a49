"""How values of every route look in JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def time_view(seconds: int) -> str:
    """A moment as RFC 3339, in UTC.

    :param seconds: since the epoch.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat()[: -len("+00:00")] + "Z"
