"""consoled.api.matching: which route a request is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.server import Request

from consoled.api.matching import OtherMethod, Route, RouteTable
from consoled.errors import BadRequest, NotFound


async def nothing(_request: Request, **_values: str) -> bytes:
    return b""


def table(*routes: str) -> RouteTable:
    """A table of routes such as ``GET /servers``."""
    made = RouteTable()
    for route in routes:
        method, _, template = route.partition(" ")
        made.add(Route(method, template, nothing))
    return made


SERVERS = table(
    "GET /servers",
    "GET /servers/{server_id}",
    "DELETE /servers/{server_id}",
    "POST /servers/{server_id}/consoles/{index}",
    "GET /servers/{server_id}/consoles",
    "GET /tokens/{token_id}",
)


def segments(path: str) -> list[bytes]:
    return path.removeprefix("/").encode().split(b"/")


@pytest.mark.parametrize(
    ("asked", "template", "values"),
    [
        ("GET /servers", "/servers", {}),
        ("HEAD /servers", "/servers", {}),
        ("GET /servers/servers", "/servers/{server_id}", {"server_id": "servers"}),
        ("DELETE /servers/7", "/servers/{server_id}", {"server_id": "7"}),
        (
            "POST /servers/é/consoles/0",
            "/servers/{server_id}/consoles/{index}",
            {"server_id": "é", "index": "0"},
        ),
        ("GET /tokens/7", "/tokens/{token_id}", {"token_id": "7"}),
    ],
)
def test_the_route_and_its_values(asked: str, template: str, values: dict[str, str]) -> None:
    """Each path leads to its template, and what stands for a name comes with it."""
    method, _, path = asked.partition(" ")
    route, found = SERVERS.find(method.encode(), segments(path))
    assert (route.template, found) == (template, values)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("POST /servers", "GET, HEAD, OPTIONS"),
        ("OPTIONS /servers/7", "DELETE, GET, HEAD, OPTIONS"),
        ("GET /servers/7/consoles/0", "OPTIONS, POST"),
    ],
)
def test_another_method(asked: str, allowed: str) -> None:
    """A path that there is, asked in another way: which ways there are."""
    method, _, path = asked.partition(" ")
    with pytest.raises(OtherMethod) as caught:
        SERVERS.find(method.encode(), segments(path))
    assert caught.value.allowed == allowed
    assert str(caught.value) == f"This route does not know this method; it knows {allowed}."


@pytest.mark.parametrize("path", ["/", "/server", "/servers/", "/servers/7/", "/servers/7/x", "//"])
def test_no_route(path: str) -> None:
    """A path that is nobody's, a slash too many among them."""
    with pytest.raises(NotFound, match="no such route"):
        SERVERS.find(b"GET", segments(path))


@given(
    st.sampled_from(["", ".", "..", "a/b", "a\\b", "a\x00", "\r\n"]).map(str.encode)
    | st.just(b"\xff")
)
def test_a_value_is_plain_text(value: bytes) -> None:
    """Nothing comes out of a path that another server could take for another path."""
    for method in (b"GET", b"POST"):
        with pytest.raises(NotFound):
            SERVERS.find(method, [b"servers", value])


def test_a_method_that_is_none() -> None:
    """It is told before anything of the path is."""
    with pytest.raises(BadRequest, match="method"):
        SERVERS.find(b"get", [b"nothing"])


def test_two_routes_for_one_path() -> None:
    """A word where another template has a name would make the order decide, so it is refused."""
    with pytest.raises(ValueError, match="fit the same paths"):
        table("GET /servers/{server_id}", "GET /servers/detail")
