"""The native routes, version 1.

``GET /v1/servers`` 200::

    {"servers": [{"id": "2f9e...", "name": "web-1", "project_id": "demo",
                  "status": "running", "addresses": ["10.0.0.5"]}]}

What the caller may see, by name; for admins everything. ``status`` is
``running``, ``paused`` or ``stopped``; ``project_id`` may be null (admins only).

``GET /v1/servers/{server_id}`` 200: ``{"server": {...}}``, the same shape.

``GET /v1/servers/{server_id}/consoles`` 200::

    {"consoles": [{"index": 0, "type": "serial", "kind": "tcp", "state": "in_use",
                   "in_use": true},
                  {"index": 1, "type": "serial", "kind": "pty", "state": "free",
                   "in_use": false}]}

``kind`` is ``tcp``, ``tls`` or ``pty``. ``state`` is ``free``, ``in_use``, ``lingering`` (its
session has lost its viewer and yields to anybody) or ``held_elsewhere`` (by somebody outside of
the cell, as far as the driver knows). ``in_use`` is false where a URL opens the console now.

``POST /v1/servers/{server_id}/consoles/{index}/tokens`` 201, with no body,
``{}``, ``{"token": null}``, ``{"token": {}}`` or ``{"token": {"role": "observer"}}``::

    {"token": {"id": "2c26b46b68ff", "url": "http://.../serial.html?token=...",
               "expires_at": "2026-01-01T00:00:00Z", "role": "writer",
               "server_id": "2f9e...", "console_index": 0, "console_type": "serial"}}

``POST /v1/servers/{server_id}/consoles/ssh/tokens`` 201, with no body, ``{}``, ``{"token":
null}``, ``{"token": {}}`` or ``{"token": {"role": "writer"}}``, is the same for a shell on the
instance, over SSH: ``console_type`` is ``ssh`` then, and each session has a shell of its own.

The clear token is in this answer only; ``id`` names it afterwards. ``role`` is ``writer``
where nothing else is asked for; an ``observer`` watches, also where somebody else types.
``POST /v1/servers/{server_id}/tokens`` is the same for the next console that is free, else
the caller's own; for an observer, for the first that somebody is on.

Where policy shows the place (admins by default) a server has ``host``, its compute host,
and a console ``host`` and ``port``, where it listens (of a pty its compute host, and null).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, console_index, instance_id
from consoled.api.schemas import CREATE_TOKEN
from consoled.api.views import time_view
from consoled.auth.policy import Rule
from consoled.errors import BadRequest
from consoled.issuing import ConsoleIssuer, IssuedConsole
from consoled.model import SHELL, WRITER, Console, Instance

Json = Mapping[str, Any]


@frozen
class NativeApi:
    """Handlers of the native routes."""

    issuer: ConsoleIssuer

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        server = "/v1/servers/{server_id}"
        routes.get("/v1/servers", self.list_servers)
        routes.get(server, self.show_server)
        routes.get(server + "/consoles", self.list_consoles)
        for template, handler in (
            (server + "/consoles/{index}/tokens", self.create_token),
            (server + "/tokens", self.create_token_of_next),
        ):
            routes.post(template, handler, HTTPStatus.CREATED, CREATE_TOKEN)

    async def list_servers(self, call: Call) -> Json:
        """All instances that the caller may see."""
        instances = await self.issuer.visible_all(call.caller)
        placed = await self.issuer.placed(call.caller, instances)
        return {"servers": [server_view(i, i.uuid in placed) for i in instances]}

    async def show_server(self, call: Call, server_id: str) -> Json:
        """One instance."""
        instance, placed = await self._visible(call, server_id, Rule.SERVERS_SHOW)
        return {"server": server_view(instance, placed)}

    async def list_consoles(self, call: Call, server_id: str) -> Json:
        """The consoles of one instance."""
        instance, placed = await self._visible(call, server_id, Rule.CONSOLES_LIST)
        # In this order: a session takes its lease before it dials.
        outsiders = await self.issuer.outsiders(instance)
        held = await self.issuer.directory.sessions(instance.uuid)
        rows = {(row.key.console_type, row.key.index): row for row in held}

        def state(console: Console) -> str:
            row = rows.get((console.type, console.index))
            if row is not None:
                return "lingering" if row.lingers else "in_use"
            return "held_elsewhere" if console.index in outsiders else "free"

        return {"consoles": [console_view(c, placed, state(c)) for c in instance.consoles]}

    async def create_token(self, call: Call, server_id: str, index: str) -> Json:
        """A URL for the console of that index, or for a shell."""
        if index == SHELL:
            return await self._issue_shell(call, instance_id(server_id))
        return await self._issue(call, instance_id(server_id), console_index(index))

    async def create_token_of_next(self, call: Call, server_id: str) -> Json:
        """A URL for the console that the issuer chooses."""
        return await self._issue(call, instance_id(server_id), None)

    async def _issue(self, call: Call, uuid: str, index: int | None) -> Json:
        role = (call.body.get("token") or {}).get("role", WRITER)
        issued = await self.issuer.issue(call.caller, uuid, index, call.request_id, role=role)
        return {"token": token_view(issued)}

    async def _issue_shell(self, call: Call, uuid: str) -> Json:
        if (call.body.get("token") or {}).get("role", WRITER) != WRITER:
            raise BadRequest(
                "A shell has nobody who watches: each session has one of its own. Leave the role "
                "away."
            )
        issued = await self.issuer.issue_shell(call.caller, uuid, call.request_id)
        return {"token": token_view(issued)}

    async def _visible(self, call: Call, server_id: str, rule: Rule) -> tuple[Instance, bool]:
        instance = await self.issuer.visible(call.caller, instance_id(server_id), rule)
        return instance, bool(await self.issuer.placed(call.caller, [instance]))


def server_view(instance: Instance, placed: bool) -> Json:
    """An instance as JSON.

    :param placed: whether its compute host is shown.
    """
    view = {
        "id": instance.uuid,
        "name": instance.name,
        "project_id": instance.project_id,
        "status": instance.state.value,
        "addresses": list(instance.addresses),
    }
    return view | {"host": instance.host} if placed else view


def console_view(console: Console, placed: bool, state: str) -> Json:
    """A console as JSON.

    :param placed: whether the address and port that it listens on are shown; of a pty the
        compute host, and no port.
    :param state: who has it now.
    """
    view: dict[str, Any] = {
        "index": console.index,
        "type": console.type,
        "kind": console.kind,
        "state": state,
        "in_use": state in ("in_use", "held_elsewhere"),
    }
    return view | {"host": console.host, "port": console.port} if placed else view


def token_view(issued: IssuedConsole) -> Json:
    """An issued token as JSON, the clear token in its URL."""
    return {
        "id": issued.token.token_id,
        "url": issued.url,
        "expires_at": time_view(issued.token.expires),
        "role": issued.token.role,
        "server_id": issued.instance.uuid,
        "console_index": issued.console.index,
        "console_type": issued.console.type,
    }
