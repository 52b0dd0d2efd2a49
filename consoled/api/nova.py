"""The routes of the serial-ports specification, for clients of the compute API.

- ``POST /v2/{tenant_id}/servers/{server_id}/get-serial-console`` answers 200;
- ``POST /v3/servers/{server_id}/get-serial-console`` answers 202.

Request: no body, ``{}``, ``{"serial_console": null}`` or ``{"serial_console": {}}``.
Answer: ``{"serial_console": {"url": "http://.../serial.html?token=..."}}``, the
URL of the instance's first console.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, instance_id
from consoled.api.schemas import GET_SERIAL_CONSOLE
from consoled.errors import BadRequest
from consoled.issuing import ConsoleIssuer


@frozen
class NovaApi:
    """Handlers of the compatible routes."""

    issuer: ConsoleIssuer

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        tail = "servers/{server_id}/get-serial-console"
        routes.post("/v2/{tenant_id}/" + tail, self.v2, HTTPStatus.OK, GET_SERIAL_CONSOLE)
        routes.post("/v3/" + tail, self.v3, HTTPStatus.ACCEPTED, GET_SERIAL_CONSOLE)

    async def v2(self, call: Call, tenant_id: str, server_id: str) -> Mapping[str, Any]:
        """As :meth:`v3`, for the caller's own project in the path.

        :raises consoled.errors.BadRequest: it is another one (admins included, as in nova).
        """
        if tenant_id != call.caller.project_id:
            raise BadRequest("The tenant_id in the path is not the project of the credential.")
        return await self.v3(call, server_id)

    async def v3(self, call: Call, server_id: str) -> Mapping[str, Any]:
        """A URL for the instance's first console."""
        issued = await self.issuer.issue(call.caller, instance_id(server_id), None, call.request_id)
        return {"serial_console": {"url": issued.url}}
