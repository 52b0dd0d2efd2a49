"""HTTP and TCP to an instance's own address.

``ANY /v1/servers/{server_id}/http/{port}/{path*}``: the request goes to the web service on that
port of the instance, and its answer comes back. Query, headers and bodies are kept, as far as
docs/forwarding.rst says.

``GET /v1/servers/{server_id}/tcp/{port}`` 200, without ``Upgrade: websocket``, says that the
caller may have a tunnel there::

    {"tunnel": {"server_id": "2f9e...", "server_name": "web-1", "port": 22,
                "subprotocol": "consoled.tcp.v1"}}

and 101 with it: what goes through the WebSocket goes to that port of the instance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from consoled.api.exchange import Call, exchange_of
from consoled.api.faults import encode, finish
from consoled.api.matching import REST, OtherMethod, no_such_route
from consoled.api.routes import Routes, instance_id
from consoled.errors import BadRequest
from consoled.forwarding.headers import Client
from consoled.forwarding.http import HttpForwarder, Wish, route
from consoled.forwarding.speech import TCP_V1, choose
from consoled.forwarding.tunnels import Tunnels, TunnelWish
from consoled.proxy.upgrade import BadHandshake, parse_handshake, wants_upgrade

Json = Mapping[str, Any]

_HTTP = re.compile(rb"/v1/servers/[^/?#]+/http/[^/?#]+(/[^?#]*)?(\?[^#]*)?")
_NOT_FORWARDED = (b"CONNECT", b"TRACE")
_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


def streams(target: bytes) -> bool:
    """Whether the body of a request for that target is handed on while it arrives."""
    return _HTTP.fullmatch(target) is not None


@frozen
class ForwardingApi:
    """Handlers of the two routes."""

    http: HttpForwarder
    tunnels: Tunnels

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        routes.forward(f"/v1/servers/{{server_id}}/http/{{port}}/{REST}", self.forward_http)
        routes.send("/v1/servers/{server_id}/tcp/{port}", self.open_tunnel)

    async def forward_http(self, call: Call, request: Request, server_id: str, port: str) -> bytes:
        """Carries one request to an instance."""
        found = _HTTP.fullmatch(request.uri)
        if found is None:
            raise no_such_route()
        if request.method in _NOT_FORWARDED:
            raise OtherMethod(_METHODS)
        if wants_upgrade(request):
            raise BadRequest(
                "WebSockets to instances do not go over this route; the route tcp/{port}, and "
                "`consolectl forward`, carry any connection."
            )
        uuid = instance_id(server_id)
        client = Client(
            address=exchange_of(request).src,
            host=request.requestHeaders.getRawHeaders(b"host", [b""])[0],
            scheme="https" if request.isSecure() else "http",
            prefix=route(uuid, int(port) if port.isdecimal() and port.isascii() else 0),
        )
        target = (found[1] or b"/") + (found[2] or b"")
        wish = Wish(call.caller, call.request_id, uuid, port, target, client)
        return await self.http.forward(request, wish)

    async def open_tunnel(self, call: Call, request: Request, server_id: str, port: str) -> bytes:
        """Opens a tunnel, or says that there may be one."""
        src = exchange_of(request).src
        wish = TunnelWish(call.caller, call.request_id, instance_id(server_id), port, src)
        if not wants_upgrade(request):
            instance, number = await self.tunnels.permitted(wish)
            view = {
                "server_id": instance.uuid,
                "server_name": instance.name,
                "port": number,
                "subprotocol": TCP_V1,
            }
            return finish(request, HTTPStatus.OK, encode({"tunnel": view}))
        try:
            handshake = parse_handshake(request, choose)
        except BadHandshake as error:
            raise BadRequest(str(error)) from error
        await self.tunnels.open(request, handshake, wish)
        exchange_of(request).taken = True
        return b""
