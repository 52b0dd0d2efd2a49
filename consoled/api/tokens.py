"""Tokens after their issue.

``GET /v1/tokens/{token_id}`` 200::

    {"token": {"id": "2c26b46b68ff", "server_id": "2f9e...", "console_index": 0,
               "console_type": "serial", "role": "writer", "user_id": "mia", "project_id": "demo",
               "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:10:00Z",
               "used": false}}

``DELETE /v1/tokens/{token_id}`` 204: it opens no further session.

``token_id`` is the first 12 or more hex digits of the token's SHA-256. Neither the token
nor its whole hash is in any answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes
from consoled.api.views import time_view
from consoled.model import TokenRecord
from consoled.revoking import TokenRegister

Json = Mapping[str, Any]


@frozen
class TokensApi:
    """Handlers of the routes about tokens."""

    register: TokenRegister

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        template = "/v1/tokens/{token_id}"
        routes.get(template, self.show_token)
        routes.delete(template, self.revoke_token, HTTPStatus.NO_CONTENT)

    async def show_token(self, call: Call, token_id: str) -> Json:
        """What is known of one token."""
        return {"token": record_view(await self.register.show(call.caller, token_id))}

    async def revoke_token(self, call: Call, token_id: str) -> Json:
        """Takes one token back."""
        await self.register.revoke(call.caller, token_id, call.request_id)
        return {}


def record_view(record: TokenRecord) -> Json:
    """A token as JSON, without the token."""
    token = record.token
    return {
        "id": token.token_id,
        "server_id": token.instance_uuid,
        "console_index": token.index,
        "console_type": token.console_type,
        "role": token.role,
        "user_id": token.user_id,
        "project_id": token.project_id,
        "created_at": time_view(record.created_at),
        "expires_at": time_view(token.expires),
        "used": record.used,
    }
