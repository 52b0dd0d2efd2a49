"""The id by which an answer and its log lines find each other."""

from __future__ import annotations

import uuid

REQUEST_ID_HEADER = "X-Openstack-Request-Id"


def new_request_id() -> str:
    """``req-`` and a random UUID, as OpenStack's services write it."""
    return f"req-{uuid.uuid4()}"
