"""Who is on which console, and how to disconnect them.

``GET /v1/sessions`` 200::

    {"sessions": [{"id": "8c1f...", "server_id": "2f9e...", "console_index": 0,
                   "console_type": "serial", "user_id": "mia", "project_id": "demo",
                   "role": "writer", "since": "2026-01-01T00:00:00Z", "state": "open"}]}

``state`` is ``open``, or ``lingering`` while the session waits for its viewer to come back:
then it yields to anybody who asks for the console. ``role`` is ``writer`` or ``observer``, of
whom a console may have several, or ``asker`` while a session waits for a console that another
user has. They are the sessions on the instances that the caller
may see; for admins all of the cell. The id opens nothing; it only names the session.

``DELETE /v1/sessions/{session_id}`` and ``DELETE /v1/servers/{server_id}/sessions``
202::

    {"sessions": [{...}]}

with the sessions that end now, whichever replica they are in: within three
seconds their viewers are closed with 4410 and told why.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, instance_id, is_uuid
from consoled.api.views import time_view
from consoled.auth.policy import Rule
from consoled.errors import NotInThisCell
from consoled.issuing import ConsoleIssuer
from consoled.leasing.values import LeaseRow

Json = Mapping[str, Any]

REASON = "You were disconnected by {by}."


@frozen
class SessionsApi:
    """Handlers of the routes about sessions."""

    issuer: ConsoleIssuer

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        routes.get("/v1/sessions", self.list_sessions)
        routes.delete("/v1/sessions/{session_id}", self.end_session, HTTPStatus.ACCEPTED)
        routes.delete("/v1/servers/{server_id}/sessions", self.end_sessions_of, HTTPStatus.ACCEPTED)

    async def list_sessions(self, call: Call) -> Json:
        """The sessions that the caller may see, by instance and console."""
        rows = await self.issuer.directory.company()
        uuids = {row.key.instance_uuid for row in rows}
        visible = await self.issuer.visible_among(call.caller, uuids, Rule.SESSIONS_LIST)
        seen = [row for row in rows if row.key.instance_uuid in visible]
        seen.sort(key=lambda row: (row.key.instance_uuid, row.key.index))
        return {"sessions": [session_view(row) for row in seen]}

    async def end_session(self, call: Call, session_id: str) -> Json:
        """Disconnects one session."""
        absent = NotInThisCell("There is no such session; it may have ended already.")
        if not is_uuid(session_id):
            raise absent
        rows = await self.issuer.directory.company(session_id=session_id)
        if not rows:
            raise absent
        await self.issuer.visible(call.caller, rows[0].key.instance_uuid, Rule.SESSIONS_DELETE)
        return await self._end(call, session_id=session_id)

    async def end_sessions_of(self, call: Call, server_id: str) -> Json:
        """Disconnects all sessions of one instance."""
        uuid = instance_id(server_id)
        await self.issuer.visible(call.caller, uuid, Rule.SESSIONS_DELETE)
        return await self._end(call, instance_uuid=uuid)

    async def _end(self, call: Call, **which: str) -> Json:
        by = call.caller.user_id
        rows = await self.issuer.directory.request_disconnect(by, REASON.format(by=by), **which)
        return {"sessions": [session_view(row) for row in rows]}


def session_view(row: LeaseRow) -> Json:
    """A session as JSON."""
    return {
        "id": row.session_id,
        "server_id": row.key.instance_uuid,
        "console_index": row.key.index,
        "console_type": row.key.console_type,
        "user_id": row.holder.user_id,
        "project_id": row.holder.project_id,
        "role": row.role,
        "since": row.since and time_view(row.since),
        "state": "lingering" if row.lingers else "open",
    }
