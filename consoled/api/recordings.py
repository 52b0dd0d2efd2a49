"""Recordings of sessions.

``GET /v1/recordings`` 200::

    {"recordings": [{"id": "8c1f...", "server_id": "2f9e...", "server_name": "web-1",
                     "console_index": 0, "console_type": "serial", "user_id": "mia",
                     "project_id": "demo",
                     "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:12:31Z",
                     "bytes": 48211, "digest": "9f86...", "state": "complete"}]}

The newest first, of the projects that policy lets the caller see. The query narrows it:
``server`` (a uuid), ``user``, ``since`` and ``until`` (moments of its beginning,
``2026-01-01`` or ``2026-01-01T00:00:00Z``), ``limit`` (1 to 1000, 100 by default).

``state`` is ``recording``, ``complete``, or ``incomplete``: the daemon was killed, or the
recording had to stop or has gaps. ``digest`` is the last one of the file's hash chain, "" where
it has none. ``id`` is the session's. Where policy shows places, ``host`` is the one that has
the file. Where it is archived, or will be, there are ``archive`` (``pending``, ``uploading``,
``removing``, ``done`` or ``failed``), ``image_id`` (of its image in Glance, or null) and
``archive_reason`` (why it failed, or what the last try met).

``GET /v1/recordings/{recording_id}`` 200: ``{"recording": {...}}``, the same shape.

``GET /v1/recordings/{recording_id}/content`` 200, or 206 for a ``Range``: the file, asciicast v3.

``POST /v1/recordings/{recording_id}/tokens`` 201, with no body, ``{}``, ``{"token": null}`` or
``{"token": {}}``::

    {"token": {"id": "2c26b46b68ff", "url": "http://.../replay.html?token=...",
               "expires_at": "2026-01-01T00:10:00Z", "recording_id": "8c1f..."}}

The URL plays the recording in the page. The clear token is in this answer only.

``DELETE /v1/recordings/{recording_id}`` 204; 409 while its session goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from consoled.api.exchange import Call
from consoled.api.routes import Routes, is_uuid
from consoled.api.schemas import CREATE_REPLAY_TOKEN, shown
from consoled.api.sending import send_file
from consoled.api.views import time_view
from consoled.db.recordings import Wanted
from consoled.errors import BadRequest
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.recording.values import RecordingRow

Json = Mapping[str, Any]

MEDIA_TYPE = "application/x-asciicast"
MOST = 1000

_KNOWN = ("server", "user", "since", "until", "limit")
_LIMIT = re.compile(r"[1-9]\d{0,3}", re.ASCII)


@frozen
class RecordingsApi:
    """Handlers of the routes about recordings.

    :ivar replays: gives out links to the page; None leaves their route away.
    """

    store: RecordingStore
    replays: ReplayLinks | None = None

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        recording = "/v1/recordings/{recording_id}"
        routes.search("/v1/recordings", self.list_recordings)
        routes.get(recording, self.show_recording)
        routes.send(recording + "/content", self.send_content)
        routes.delete(recording, self.delete_recording, HTTPStatus.NO_CONTENT)
        if self.replays is not None:
            replay = ReplayTokens(self.replays)
            template = recording + "/tokens"
            routes.post(template, replay.create, HTTPStatus.CREATED, CREATE_REPLAY_TOKEN)

    async def list_recordings(self, call: Call, query: Mapping[str, str]) -> Json:
        """The recordings that the caller may see."""
        found = await self.store.search(call.caller, wanted(query))
        placed: dict[str | None, bool] = {}
        for row in found:
            project = row.facts.project_id
            if project not in placed:
                placed[project] = await self.store.placed(call.caller, row)
        return {"recordings": [recording_view(r, placed[r.facts.project_id]) for r in found]}

    async def show_recording(self, call: Call, recording_id: str) -> Json:
        """One recording."""
        found = await self.store.find(call.caller, recording_id)
        return {"recording": recording_view(found, await self.store.placed(call.caller, found))}

    async def send_content(self, call: Call, request: Request, recording_id: str) -> bytes:
        """The file of one recording."""
        content = await self.store.read(call.caller, recording_id, call.request_id)
        name = f'attachment; filename="{recording_id}.cast"'
        request.setHeader("Content-Disposition", name)
        worker = self.store.worker
        return await send_file(request, worker, content.descriptor, content.size, MEDIA_TYPE)

    async def delete_recording(self, call: Call, recording_id: str) -> Json:
        """Deletes one recording."""
        await self.store.delete(call.caller, recording_id, call.request_id)
        return {}


@frozen
class ReplayTokens:
    """The handler of the route that gives out links to the page."""

    links: ReplayLinks

    async def create(self, call: Call, recording_id: str) -> Json:
        """A URL that plays one recording."""
        issued = await self.links.issue(call.caller, recording_id, call.request_id)
        return {
            "token": {
                "id": issued.token_id,
                "url": issued.url,
                "expires_at": time_view(issued.expires),
                "recording_id": issued.recording.facts.session_id,
            }
        }


def wanted(query: Mapping[str, str]) -> Wanted:
    """What a query asks for.

    :raises consoled.errors.BadRequest: what is wrong with it.
    """
    unknown = sorted(set(query) - set(_KNOWN))
    if unknown:
        known = ", ".join(_KNOWN)
        raise BadRequest(f"The query has the unknown {shown(unknown[0])}; it may have {known}.")
    server, limit = query.get("server"), query.get("limit", "100")
    if server is not None and not is_uuid(server):
        raise BadRequest("The query's server must be an instance's uuid, in lower case.")
    if not _LIMIT.fullmatch(limit) or int(limit) > MOST:
        raise BadRequest(f"The query's limit must be a number from 1 to {MOST}.")
    return Wanted(
        projects=(),
        instance_uuid=server,
        user_id=query.get("user"),
        since=_moment(query, "since"),
        until=_moment(query, "until"),
        most=int(limit),
    )


def _moment(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise BadRequest(
        f"The query's {name} must be a moment in UTC, as 2026-01-01 or 2026-01-01T00:00:00Z."
    )


def recording_view(row: RecordingRow, placed: bool) -> Json:
    """A recording as JSON.

    :param placed: whether the host of its file is shown.
    """
    facts = row.facts
    view: dict[str, Any] = {
        "id": facts.session_id,
        "server_id": facts.instance_uuid,
        "server_name": facts.instance_name,
        "console_index": facts.console_index,
        "console_type": facts.console_type,
        "user_id": facts.user_id,
        "project_id": facts.project_id,
        "started_at": time_view(row.started),
        "ended_at": None if row.ended is None else time_view(row.ended),
        "bytes": row.size,
        "digest": row.digest,
        "state": row.state.value,
    }
    if row.archived is not None:
        view |= {
            "archive": row.archived.state.value,
            "image_id": row.archived.image_id,
            "archive_reason": row.archived.reason,
        }
    return view | {"host": facts.host} if placed else view
