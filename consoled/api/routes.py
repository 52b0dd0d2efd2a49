"""How a route is made: template, authentication, body, handler, answer, in this order.

Handlers get a :class:`~consoled.api.exchange.Call` and the template's values,
and give the answer's JSON; everything else is here, once.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from consoled.api.exchange import Call, exchange_of
from consoled.api.faults import encode, finish, no_content
from consoled.api.requests import read_json
from consoled.api.schemas import Schema, check
from consoled.errors import NotFound
from consoled.interfaces import Identity

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Handler = Callable[..., Awaitable[Mapping[str, Any]]]


@frozen
class Routes:
    """Adds routes to a Klein application.

    :ivar identity: says who sends a request, before its body is looked at.
    """

    app: Klein
    identity: Identity

    def get(self, template: str, handler: Handler) -> None:
        """``GET`` (and ``HEAD``) of a template such as ``/v1/servers/{server_id}``.

        :param handler: ``async handler(call, **values of the template)``.
        """
        self._add("GET", template, handler, HTTPStatus.OK, None)

    def post(self, template: str, handler: Handler, status: int, schema: Schema) -> None:
        """``POST`` of a template.

        :param status: of the answer when all is well.
        :param schema: of the body.
        """
        self._add("POST", template, handler, status, schema)

    def delete(self, template: str, handler: Handler, status: int) -> None:
        """``DELETE`` of a template.

        :param status: of the answer when all is well.
        """
        self._add("DELETE", template, handler, status, None)

    def _add(
        self, method: str, template: str, handler: Handler, status: int, schema: Schema | None
    ) -> None:
        async def endpoint(request: Request, **values: str) -> bytes:
            exchange = exchange_of(request)
            exchange.route = template
            caller = await self.identity.authenticate(request.requestHeaders)
            exchange.caller = caller
            if schema is not None:
                check(read_json(request), schema)
            result = await handler(Call(exchange.request_id, caller), **values)
            if status == HTTPStatus.NO_CONTENT:
                return no_content(request)
            return finish(request, status, encode(result))

        rule = template.replace("{", "<").replace("}", ">")
        self.app.route(rule, methods=[method], endpoint=f"{method} {template}")(endpoint)


def is_uuid(text: str) -> bool:
    """Whether this is a UUID in the canonical form, the only one that is looked up."""
    return _UUID.fullmatch(text) is not None


def instance_id(server_id: str) -> str:
    """The uuid in a path.

    :raises consoled.errors.NotFound: it is not a UUID in its canonical form,
        so no instance has it.
    """
    if not is_uuid(server_id):
        raise NotFound("There is no such instance; an instance's id is a UUID in lower case.")
    return server_id
