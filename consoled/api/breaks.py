"""BREAK and SysRq.

``POST /v1/servers/{server_id}/consoles/{index}/break`` 200, with no body, ``{}`` or
``{"sysrq": "h"}``::

    {"break": {"server_id": "2f9e...", "console_index": 0, "console_type": "serial",
               "sysrq": "h"}}

The guest's port has got a BREAK, and after it the key, where one is asked for; ``sysrq`` is null
where none is. Whoever is on the console, through whichever replica, reads who has sent it. 409
while their input is on its way: the next of it would be the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, console_index, instance_id
from consoled.api.schemas import SEND_BREAK
from consoled.breaking import ConsoleBreaker

Json = Mapping[str, Any]


@frozen
class BreaksApi:
    """The handler of the route."""

    breaker: ConsoleBreaker

    def mount(self, routes: Routes) -> None:
        """Adds the route."""
        template = "/v1/servers/{server_id}/consoles/{index}/break"
        routes.post(template, self.send_break, HTTPStatus.OK, SEND_BREAK)

    async def send_break(self, call: Call, server_id: str, index: str) -> Json:
        """Sends a BREAK, and a SysRq's key where the body has one."""
        uuid, number, key = instance_id(server_id), console_index(index), call.body.get("sysrq")
        console = await self.breaker.send(call.caller, uuid, number, key, call.request_id)
        return {
            "break": {
                "server_id": uuid,
                "console_index": console.index,
                "console_type": console.type,
                "sysrq": key,
            }
        }
