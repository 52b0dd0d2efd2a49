"""How a route is made: template, authentication, body, handler, answer, in this order.

Handlers get a :class:`~consoled.api.exchange.Call` and the template's values,
and give the answer's JSON; everything else is here, once.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from attrs import frozen
from twisted.web.server import Request

from consoled.api.exchange import Call, exchange_of
from consoled.api.faults import encode, finish, no_content
from consoled.api.matching import ANY, Route, RouteTable
from consoled.api.requests import read_json
from consoled.api.schemas import Schema, Shape, shown
from consoled.errors import BadRequest, NotFound
from consoled.interfaces import Identity

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,4}")

V = TypeVar("V")
Handler = Callable[..., Awaitable[Mapping[str, Any]]]
Sender = Callable[..., Awaitable[bytes]]


@frozen
class Routes:
    """Adds routes to a table.

    :ivar identity: says who sends a request, before its body is looked at.
    """

    table: RouteTable
    identity: Identity

    def get(self, template: str, handler: Handler) -> None:
        """``GET`` (and ``HEAD``) of a template such as ``/v1/servers/{server_id}``.

        :param handler: ``async handler(call, **values of the template)``.
        """
        self._add("GET", template, handler, HTTPStatus.OK, None)

    def search(self, template: str, handler: Handler) -> None:
        """As :meth:`get`, of a template that takes a query.

        :param handler: ``async handler(call, query, **values of the template)``; what is in
            the query is for it to judge.
        """

        async def endpoint(request: Request, **values: str) -> bytes:
            call = await self._call(request, template)
            result = await handler(call, query_of(request), **values)
            return finish(request, HTTPStatus.OK, encode(result))

        self._route("GET", template, endpoint)

    def send(self, template: str, sender: Sender) -> None:
        """``GET`` of a template whose answer is not JSON.

        :param sender: ``async sender(call, request, **values of the template)`` sets status and
            headers; it gives the body, or the end of one that it has written itself.
        """

        async def endpoint(request: Request, **values: str) -> bytes:
            return await sender(await self._call(request, template), request, **values)

        self._route("GET", template, endpoint)

    def forward(self, template: str, sender: Sender) -> None:
        """Every method of a template whose request is read, and answered, by the sender.

        :param sender: as of :meth:`send`.
        """

        async def endpoint(request: Request, **values: str) -> bytes:
            return await sender(await self._call(request, template), request, **values)

        self._route(ANY, template, endpoint)

    def post(self, template: str, handler: Handler, status: int, schema: Schema) -> None:
        """``POST`` of a template.

        :param status: of the answer when all is well.
        :param schema: of the body.
        """
        self._add("POST", template, handler, status, schema)

    def patch(self, template: str, handler: Handler, status: int, schema: Schema) -> None:
        """``PATCH`` of a template: what the body does not name stays.

        :param status: of the answer when all is well.
        :param schema: of the body.
        """
        self._add("PATCH", template, handler, status, schema)

    def delete(self, template: str, handler: Handler, status: int) -> None:
        """``DELETE`` of a template.

        :param status: of the answer when all is well.
        """
        self._add("DELETE", template, handler, status, None)

    def _add(
        self, method: str, template: str, handler: Handler, status: int, schema: Schema | None
    ) -> None:
        shape = None if schema is None else Shape(schema)

        async def endpoint(request: Request, **values: str) -> bytes:
            call = await self._call(request, template, shape)
            result = await handler(call, **values)
            if status == HTTPStatus.NO_CONTENT:
                return no_content(request)
            return finish(request, status, encode(result))

        self._route(method, template, endpoint)

    def open(self, template: str, handler: Handler) -> None:
        """``GET`` of a template that anybody may ask for, known or not.

        :param handler: ``async handler(request)``.
        """

        async def endpoint(request: Request) -> bytes:
            exchange_of(request).route = template
            return finish(request, HTTPStatus.OK, encode(await handler(request)))

        self._route("GET", template, endpoint)

    def versioned(
        self,
        method: str,
        template: str,
        handler: Handler,
        negotiate: Callable[[Request], V],
        schema: Schema | None = None,
    ) -> None:
        """A template whose answers depend on a version that the request's headers name.

        :param handler: ``async handler(call, request, version, **values of the template)``.
        :param negotiate: the version, before anything else is looked at.
        :param schema: of the body.
        """
        shape = None if schema is None else Shape(schema)

        async def endpoint(request: Request, **values: str) -> bytes:
            exchange_of(request).route = template
            version = negotiate(request)
            call = await self._call(request, template, shape)
            result = await handler(call, request, version, **values)
            return finish(request, HTTPStatus.OK, encode(result))

        self._route(method, template, endpoint)

    async def _call(self, request: Request, template: str, shape: Shape | None = None) -> Call:
        exchange = exchange_of(request)
        exchange.route = template
        caller = await self.identity.authenticate(request.requestHeaders)
        exchange.caller = caller
        if shape is None:
            return Call(exchange.request_id, caller)
        body = read_json(request)
        shape.check(body)
        return Call(exchange.request_id, caller, body)

    def _route(self, method: str, template: str, endpoint: Sender) -> None:
        self.table.add(Route(method, template, endpoint))


def query_of(request: Request) -> dict[str, str]:
    """The parameters of a request's query.

    :raises consoled.errors.BadRequest: one stands there twice, or is not UTF-8 text.
    """
    found: dict[str, str] = {}
    for name, values in (request.args or {}).items():
        try:
            key, [value] = name.decode(), [value.decode() for value in values]
        except ValueError as error:
            what = shown(name.decode(errors="replace"))
            raise BadRequest(f"The query's {what} must stand there once, as UTF-8 text.") from error
        found[key] = value
    return found


def is_uuid(text: str) -> bool:
    """Whether this is a UUID in the canonical form, the only one that is looked up."""
    return _UUID.fullmatch(text) is not None


def console_index(text: str) -> int:
    """The index of a console in a path.

    :raises consoled.errors.NotFound: it is not a number, so no console has it.
    """
    if not _INDEX.fullmatch(text):
        raise NotFound("There is no such console; a console's index is a number from 0 on.")
    return int(text)


def instance_id(server_id: str) -> str:
    """The uuid in a path.

    :raises consoled.errors.NotFound: it is not a UUID in its canonical form,
        so no instance has it.
    """
    if not is_uuid(server_id):
        raise NotFound("There is no such instance; an instance's id is a UUID in lower case.")
    return server_id
