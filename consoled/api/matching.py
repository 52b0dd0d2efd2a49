"""Which route a request is for: by its method and its path, segment by segment.

A request's path is compared as the client wrote it, each segment decoded once: there is no
redirect to another spelling of it, ``%2F`` is no ``/``, and ``//`` stays two.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen

from consoled.errors import BadRequest, MethodNotAllowed, NotFound

_METHOD = re.compile(rb"[A-Z]{1,16}")

ANY = "ANY"
"""The method of a route that takes every one."""

REST = "{path*}"
"""The last segment of a template that fits whatever follows, which is the endpoint's to read."""

Endpoint = Callable[..., Awaitable[bytes]]
"""``async endpoint(request, **values of the template)`` gives the body of the answer."""


@frozen
class Route:
    """One method of one template.

    :ivar template: such as ``/v1/servers/{server_id}``; it may end with :data:`REST`.
    :ivar names: of its values.
    """

    method: str
    template: str
    endpoint: Endpoint
    names: tuple[str, ...] = field(init=False)

    @names.default
    def _in_template(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.template))


@define
class OtherMethod(MethodNotAllowed):
    """There is a route for the path, and none for the method.

    :ivar allowed: the methods that it knows, as an Allow header names them.
    """

    allowed: str

    def __str__(self) -> str:
        return f"This route does not know this method; it knows {self.allowed}."


@define(eq=False)
class _Place:
    """Where a path has led so far: what may follow, and the routes that end here.

    :ivar rest: the route for whatever follows, and for nothing.
    """

    rest: Route | None = None
    literals: dict[bytes, _Place] = field(factory=dict)
    value: _Place | None = None
    routes: dict[bytes, Route] = field(factory=dict)


@define(eq=False)
class RouteTable:
    """All routes.

    :ivar routes: in the order in which they were added.
    """

    routes: list[Route] = field(factory=list, init=False)
    _start: _Place = field(factory=_Place, init=False)

    def add(self, route: Route) -> None:
        """Adds a route; one for GET answers HEAD too."""
        place = self._start
        for segment in route.template.removeprefix("/").split("/"):
            if segment == REST:
                place.rest = route
                self.routes.append(route)
                return
            is_value = segment.startswith("{")
            if place.literals if is_value else place.value:
                raise ValueError(f"{route.template} and another route fit the same paths")
            if is_value:
                place.value = place.value or _Place()
                place = place.value
            else:
                place = place.literals.setdefault(segment.encode("ascii"), _Place())
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        place.routes |= {method.encode("ascii"): route for method in methods}
        self.routes.append(route)

    def find(self, method: bytes, path: Sequence[bytes]) -> tuple[Route, dict[str, str]]:
        """The route, and the values in the path by their names.

        :param path: its segments, decoded.
        :raises consoled.errors.BadRequest: the method is not one of HTTP.
        :raises consoled.errors.NotFound: no route has this path.
        :raises OtherMethod: one has, for other methods.
        """
        if not _METHOD.fullmatch(method):
            raise BadRequest("The request's method is not one of HTTP.")
        values: list[str] = []
        place = self._start
        for segment in path:
            if place.rest is not None:
                break
            following = place.literals.get(segment)
            if following is None:
                following = place.value
                if following is None:
                    raise no_such_route()
                values.append(_value(segment))
            place = following
        if place.rest is not None:
            return place.rest, dict(zip(place.rest.names, values, strict=True))
        if not place.routes:
            raise no_such_route()
        route = place.routes.get(method)
        if route is None:
            known = {name.decode("ascii") for name in place.routes}
            raise OtherMethod(", ".join(sorted({"OPTIONS", *known})))
        return route, dict(zip(route.names, values, strict=True))


def _value(segment: bytes) -> str:
    """What stands in a path for a template's value.

    :raises consoled.errors.NotFound: it is something that another server would read as another
        path, or no text: no instance, session or token is named so.
    """
    try:
        text = segment.decode("utf-8")
    except UnicodeDecodeError:
        raise no_such_route() from None
    if not text.isprintable() or text in ("", ".", "..") or "/" in text or "\\" in text:
        raise no_such_route()
    return text


def no_such_route() -> NotFound:
    """The answer to every path that is nobody's."""
    return NotFound("There is no such route; the API starts at /v1/servers.")
