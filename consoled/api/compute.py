"""As much of the compute API as its clients need for serial consoles (reference: nova-contract).

``GET /`` and ``GET /v2.1`` tell the versions. ``GET /v2.1/servers``, ``/servers/detail`` and
``/servers/{id}`` let a client find a server by name or id. For a URL:

- ``POST /v2.1/servers/{id}/action`` with ``{"os-getSerialConsole": {"type": "serial"}}``, up to
  microversion 2.5;
- ``POST /v2.1/servers/{id}/remote-consoles`` with ``{"remote_console": {"protocol": "serial",
  "type": "serial"}}``, from 2.6 on.

``GET /v2.1/os-console-auth-tokens/{token}`` tells a proxy where a token leads, from 2.31 on.
Nova's defects are not copied: a type that does not go with its protocol is 400, and an
instance that is not ready is 409.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from consoled.api import server_views
from consoled.api.compute_schemas import ANY_OBJECT, GET_SERIAL_CONSOLE, remote_console
from consoled.api.exchange import Call
from consoled.api.microversions import (
    HEADER,
    LEGACY_HEADER,
    NEWEST,
    OLDEST,
    SERVICE,
    Microversion,
    requested,
)
from consoled.api.routes import Routes, instance_id
from consoled.auth.policy import Rule
from consoled.errors import BadRequest, Forbidden, NotFound, NotInThisCell, TokenInvalid
from consoled.http.listen import peer_address
from consoled.issuing import ConsoleIssuer
from consoled.model import SERIAL
from consoled.proxy.forwarded import TrustedProxies

Json = Mapping[str, Any]
Base = Callable[[Request], str]

ROOT = "/v2.1"
ACTIONS_UNTIL = Microversion(2, 5)
REMOTE_CONSOLES_FROM = Microversion(2, 6)
ALL_TOKENS_FROM = Microversion(2, 31)
NO_QUERY_FROM = Microversion(2, 99)


def address_of(trusted: TrustedProxies, request: Request) -> str:
    """Where the client reached this API, ``http://HOST:PORT``, by a load balancer's word too.

    :param trusted: the load balancers.
    """

    def sent(name: str) -> Sequence[str]:
        return request.requestHeaders.getRawHeaders(name, [])

    peer = peer_address(getattr(request.getClientAddress(), "host", ""))
    host = trusted.host(peer, request.getHeader("host") or "", sent("x-forwarded-host"))
    secure = trusted.secure(peer, request.isSecure(), sent("x-forwarded-proto"))
    return f"{'https' if secure else 'http'}://{host}"


_DIRECTLY = partial(address_of, TrustedProxies())


@frozen
class ComputeApi:
    """Handlers of the compute routes.

    :ivar issuer: gives out URLs with ``[serial_console] ws_base_url``, which clients dial.
    :ivar base: where the client reached the API, for links.
    """

    issuer: ConsoleIssuer
    base: Base = _DIRECTLY

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        server = ROOT + "/servers/{server_id}"
        routes.open("/", self.versions)
        for root in (ROOT, ROOT + "/"):
            routes.open(root, self.version)
        for template, handler in (
            (ROOT + "/servers", self.list_servers),
            (server, self.show_server),
            (ROOT + "/os-console-auth-tokens/{token}", self.show_token),
        ):
            routes.versioned("GET", template, handler, negotiate)
        for template, handler in (
            (server + "/action", self.act),
            (server + "/remote-consoles", self.create_remote_console),
        ):
            routes.versioned("POST", template, handler, negotiate, ANY_OBJECT)

    async def versions(self, request: Request) -> Json:
        """All versions, for whoever asks: there is one."""
        return {"versions": [server_views.version(self.base(request))]}

    async def version(self, request: Request) -> Json:
        """The one version."""
        return {"version": server_views.version(self.base(request), described=True)}

    async def list_servers(self, call: Call, request: Request, version: Microversion) -> Json:
        """The servers that the caller may see, in short."""
        return await self._list(call, request, server_views.brief)

    async def show_server(
        self, call: Call, request: Request, version: Microversion, server_id: str
    ) -> Json:
        """One server; or all of them with what is known (``detail`` in the place of an id)."""
        if server_id == "detail":
            return await self._list(call, request, partial(server_views.full, asked=version))
        uuid = instance_id(server_id)
        instance = await self.issuer.visible(call.caller, uuid, Rule.SERVERS_SHOW)
        return {"server": server_views.alone(instance, self.base(request), version)}

    async def act(
        self, call: Call, request: Request, version: Microversion, server_id: str
    ) -> Json:
        """The one action that there is: a URL for a serial console."""
        if version > ACTIONS_UNTIL:
            raise NotFound(
                f"This action ended with microversion {ACTIONS_UNTIL}; use remote-consoles."
            )
        if "os-getSerialConsole" not in call.body:
            raise BadRequest("There is no such action; this API knows os-getSerialConsole.")
        GET_SERIAL_CONSOLE.check(call.body)
        _refuse_others(call.body["os-getSerialConsole"]["type"], SERIAL)
        return {"console": {"type": SERIAL, "url": await self._url(call, server_id)}}

    async def create_remote_console(
        self, call: Call, request: Request, version: Microversion, server_id: str
    ) -> Json:
        """A URL for a serial console."""
        if version < REMOTE_CONSOLES_FROM:
            raise NotFound(f"This route begins with microversion {REMOTE_CONSOLES_FROM}.")
        remote_console(version).check(call.body)
        wanted = call.body["remote_console"]
        _refuse_others(wanted["type"], wanted["protocol"])
        url = await self._url(call, server_id)
        return {"remote_console": {"protocol": SERIAL, "type": SERIAL, "url": url}}

    async def show_token(
        self, call: Call, request: Request, version: Microversion, token: str
    ) -> Json:
        """Where a console token leads, for proxies."""
        if not await self.issuer.policy.allows(
            Rule.TOKENS_RESOLVE, call.caller, call.caller.project_id
        ):
            raise Forbidden(f"Policy does not allow {Rule.TOKENS_RESOLVE}; it is for proxies.")
        if version < ALL_TOKENS_FROM:
            raise BadRequest(f"Tokens of serial consoles begin with version {ALL_TOKENS_FROM}.")
        if version >= NO_QUERY_FROM and request.args:
            raise BadRequest("This route takes no query.")
        try:
            found = await self.issuer.authority.validate(token)
        except TokenInvalid:
            raise NotInThisCell("Token not found.") from None
        console = {
            "instance_uuid": found.instance_uuid,
            "host": found.host,
            "port": found.port,
            "internal_access_path": found.options.get("internal_access_path"),
        }
        further = {"tls_port": None} if version >= NO_QUERY_FROM else {}
        return {"console": console | further}

    async def _url(self, call: Call, server_id: str) -> str:
        issued = await self.issuer.issue(call.caller, instance_id(server_id), None, call.request_id)
        return issued.url

    async def _list(self, call: Call, request: Request, view: Callable[..., Json]) -> Json:
        found = await self.issuer.visible_all(call.caller)
        chosen = server_views.chosen(found, server_views.Wanted.of(request.args or {}))
        base = self.base(request)
        return {"servers": [view(instance, base) for instance in chosen]}


def negotiate(request: Request) -> Microversion:
    """The request's microversion; every answer says it.

    :raises consoled.errors.ConsoledError: there is none such.
    """
    for header in (HEADER, LEGACY_HEADER):
        request.responseHeaders.addRawHeader(b"Vary", header.encode("ascii"))
    version = requested(
        request.requestHeaders.getRawHeaders(HEADER, []),
        request.requestHeaders.getRawHeaders(LEGACY_HEADER, []),
    )
    request.setHeader(HEADER, f"{SERVICE} {version}")
    request.setHeader(LEGACY_HEADER, str(version))
    return version


def _refuse_others(console_type: str, protocol: str) -> None:
    if (console_type, protocol) != (SERIAL, SERIAL):
        raise BadRequest(
            f"Unavailable console type {console_type} of protocol {protocol}: this API gives out "
            "serial consoles."
        )


assert OLDEST < ACTIONS_UNTIL < REMOTE_CONSOLES_FROM < ALL_TOKENS_FROM < NO_QUERY_FROM < NEWEST
