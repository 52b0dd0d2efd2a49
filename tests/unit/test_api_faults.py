"""What every route refuses, in which words and headers, and what it never tells."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

import pytest
from api_client import ApiClient
from fakes import FOREIGN, WEB_1, FakeAuthority, FakeDriver, FakeIdentity
from twisted.logger import capturedLogs
from twisted.web.server import Request

from consoled.api.faults import fault
from consoled.errors import ConfigError, Unauthorized, Unavailable

SERVER = f"/v1/servers/{WEB_1}"
TOKENS = f"{SERVER}/consoles/0/tokens"
V2 = f"/v2/demo/servers/{WEB_1}/get-serial-console"
V3 = f"/v3/servers/{WEB_1}/get-serial-console"

ROUTES = [
    ("GET", "/v1/servers"),
    ("GET", SERVER),
    ("GET", f"{SERVER}/consoles"),
    ("POST", TOKENS),
    ("POST", V2),
    ("POST", V3),
]
POSTS = [target for method, target in ROUTES if method == "POST"]

each_route = pytest.mark.parametrize(("method", "target"), ROUTES)
each_post = pytest.mark.parametrize("target", POSTS)


@each_route
@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_unauthenticated(method: str, target: str, key: str | None) -> None:
    """Without a good credential: 401 with a challenge, whatever the body holds."""
    answer = ApiClient(key=key).ask(method, target, b"\xff{", {"Content-Type": "text/plain"})
    assert (answer.status, answer.fault) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'X-Auth-Token realm="consoled"'
    assert "X-Auth-Token" in answer.message


@pytest.mark.parametrize(
    "target",
    [
        "//",
        "/v1",
        "/v1/servers/",
        "//v1/servers",
        "/v1//servers",
        "/v1/./servers",
        "/v1/x/../servers",
        "/v1/%2e%2e/servers",
        f"/v1/servers/{WEB_1}%2Fconsoles",
        "/v1%2Fservers",
        "/v1/servers%00",
        "/v1\\servers",
        "/%5Cevil.example",
        "//evil.example/%2F..",
        "/v1/servers/%ff",
        "/v1/servers/%0d%0aSet-Cookie:x",
        f"/v3/servers/{WEB_1}/get-serial-console/",
        f"/v2/servers/{WEB_1}/get-serial-console",
        f"/v4/servers/{WEB_1}/get-serial-console",
        "/" + "a/" * 3000,
        "*x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_routes(method: str, target: str) -> None:
    """A path that is no route, however written, is a 404 in JSON and never a redirect."""
    answer = ApiClient(key=None).ask(method, target)
    assert (answer.status, answer.fault) == (404, "itemNotFound")
    assert answer.message == "There is no such route; the API starts at /v1/servers."
    assert answer.headers["Location"] is None


def test_a_query_changes_nothing() -> None:
    """Whatever the query holds, the route is the path's."""
    assert ApiClient().get("/v1/servers?x=1/../&redirect=//evil.example").status == 200


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/v1/servers", "GET, HEAD, OPTIONS"),
        ("DELETE", SERVER, "GET, HEAD, OPTIONS"),
        ("PUT", f"{SERVER}/consoles", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("GET", TOKENS, "OPTIONS, POST"),
        ("GET", V2, "OPTIONS, POST"),
        ("PATCH", V3, "OPTIONS, POST"),
        ("TRACE", V3, "OPTIONS, POST"),
    ],
)
def test_a_wrong_method(method: str, target: str, allow: str) -> None:
    """A known route with another method: 405 that names the methods in Allow."""
    answer = ApiClient().ask(method, target)
    assert (answer.status, answer.fault) == (405, "badMethod")
    assert answer.headers["Allow"] == allow
    assert allow in answer.message


@pytest.mark.parametrize("method", ["get", "G.T", "X" * 40])
def test_a_method_that_is_none(method: str) -> None:
    """A method that no HTTP server knows is a 400, not a guess."""
    answer = ApiClient().ask(method, "/v1/servers")
    assert answer.status == 400
    assert "method" in answer.message


def test_options_says_what_is_allowed() -> None:
    """OPTIONS needs no credential, has no body, and grants nothing to other origins."""
    answer = ApiClient(key=None).ask("OPTIONS", V3, headers={"Origin": "http://evil.example"})
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_head_is_get_without_its_body() -> None:
    """HEAD has GET's status and length."""
    client = ApiClient()
    head, get = client.ask("HEAD", SERVER), client.get(SERVER)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))
    assert client.ask("HEAD", "/v1/nothing").status == 404


@each_post
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "is not JSON: "),
        (b"\xff\xfe{}", "not UTF-8 text at byte 0"),
        (b'{"serial_console": NaN}', "NaN is not a JSON number"),
        (b'{"token": null, "token": null}', 'the member "token" twice'),
        (b"[" * 60000, "nested deeper"),
        (b'{"a":' * 10000, "nested deeper"),
        (b"9" * 60000, "too many digits"),
    ],
)
def test_a_body_that_is_not_json(target: str, body: bytes, says: str) -> None:
    """What is not JSON, or is made to hurt a parser, is a 400 that says what is wrong."""
    answer = ApiClient().post(target, body)
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert says in answer.message
    assert len(answer.body) < 500


@each_post
def test_a_body_over_the_limit(target: str) -> None:
    """More than 64 KiB is a 413, exactly 64 KiB is read."""
    limit = 64 * 1024
    answer = ApiClient().post(target, b"{}" + b" " * (limit - 1))
    assert (answer.status, answer.fault) == (413, "overLimit")
    assert "65536 bytes" in answer.message
    assert ApiClient().post(target, b"{}" + b" " * (limit - 2)).status in (200, 201, 202)


@each_post
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_type(target: str, headers: dict[str, str]) -> None:
    """A body that says to be something else than JSON is a 415."""
    answer = ApiClient().post(target, b"{}", headers)
    assert (answer.status, answer.fault) == (415, "badMediaType")


@each_post
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": 'Application/JSON; charset="UTF-8"'},
        {"Content-Encoding": "identity"},
    ],
)
def test_a_body_that_may_be_json(target: str, headers: dict[str, str]) -> None:
    """JSON by name, or without a name, is read."""
    assert ApiClient().ask("POST", target, b"{}", headers).status in (200, 201, 202)


@each_post
def test_the_type_of_no_body_does_not_matter(target: str) -> None:
    """Where there is no body there is nothing to refuse in its type."""
    answer = ApiClient().ask("POST", target, b"", {"Content-Type": "text/plain"})
    assert answer.status in (200, 201, 202)


@pytest.mark.parametrize(
    ("part", "method", "target"),
    [
        (part, method, target)
        for part in ("driver", "identity", "authority")
        for method, target in ROUTES
        if part != "authority" or method == "POST"
    ],
)
def test_a_part_that_is_away(part: str, method: str, target: str) -> None:
    """Driver, Keystone or database away: 503 with Retry-After and what is away."""
    away = Unavailable("That part is away; try again in a while.")
    fakes: dict[str, Any] = {
        "driver": FakeDriver,
        "identity": FakeIdentity,
        "authority": FakeAuthority,
    }
    answer = ApiClient(**{part: fakes[part](error=away)}).ask(method, target)
    assert (answer.status, answer.fault) == (503, "serviceUnavailable")
    assert answer.headers["Retry-After"] == "5"
    assert answer.message == str(away)


@each_route
@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret-in-an-exception"), ConfigError("/path/secret-in-an-exception")],
    ids=["RuntimeError", "ConfigError"],
)
def test_the_unexpected(method: str, target: str, error: Exception) -> None:
    """A defect is a 500 with a constant text and the id under which the log has the traceback."""
    with capturedLogs() as events:
        answer = ApiClient(driver=FakeDriver(error=error)).ask(method, target)
    request_id = answer.headers["X-Openstack-Request-Id"]
    assert (answer.status, answer.fault) == (500, "computeFault")
    assert (
        answer.message == f"An unexpected error; the log of consoled tells more under {request_id}."
    )
    (failed,) = [event for event in events if event.get("event") == "request_failed"]
    assert failed["request_id"] == request_id
    assert failed["log_failure"].value is error


@pytest.mark.parametrize("host", ["a..b", ".", "x" * 300, "[::1", "\xe9", "evil.example/x", ""])
def test_a_strange_host(host: str) -> None:
    """A Host that is no name is never a 500, and never comes back."""
    answer = ApiClient().ask("GET", "/v1/servers", headers={"Host": host})
    assert answer.status in (200, 400)
    assert "evil" not in str(answer.headers)


def test_no_text_of_the_request_comes_back_unescaped() -> None:
    """What a client sends is quoted in ASCII JSON, shortened, and never in a header."""
    name = '</script>"\u202e\n' + "x" * 500
    answer = ApiClient().post(V3, json.dumps({name: 1}).encode())
    assert answer.status == 400
    assert answer.body.isascii()
    assert len(answer.body) < 300
    assert "\u202e" not in answer.message
    assert "\n" not in answer.message


def test_a_lone_surrogate_is_no_500() -> None:
    """A member's name that is not encodable text is refused like any other."""
    answer = ApiClient().post(V3, b'{"\\ud800": 1}')
    assert answer.status == 400
    assert 'unknown member "?"' in answer.message


def test_request_ids_are_ours() -> None:
    """Each answer has a new id; one that was sent is not taken over."""
    client = ApiClient()
    sent = "req-" + "0" * 8 + "-0000-4000-8000-" + "0" * 12
    ids = {
        client.ask("GET", "/v1/servers", headers={"X-Openstack-Request-Id": sent}).headers[
            "X-Openstack-Request-Id"
        ]
        for _ in range(3)
    }
    assert len(ids) == 3
    assert sent not in ids
    pattern = r"req-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(pattern, found) for found in ids)


def test_an_id_that_the_listener_gave_is_kept() -> None:
    """Where the listener below has named the request already, that name counts."""

    class Named(Request):
        request_id = "req-named-below"

    answer = ApiClient(request_class=Named).get("/v1/servers")
    assert answer.headers.get_all("X-Openstack-Request-Id") == ["req-named-below"]


def test_a_challenge_can_carry_nothing_secret() -> None:
    """The text of a 401 is the identity's own, and nothing of the key is in the answer."""
    identity = FakeIdentity(error=Unauthorized("Not this time."))
    answer = ApiClient(identity=identity, key="s3cret-key").get(f"/v1/servers/{FOREIGN}")
    assert answer.message == "Not this time."
    assert "s3cret-key" not in str(answer.headers)


@pytest.mark.parametrize("status", sorted({*range(400, 420), 431, 500, 503} - {418, 419}))
def test_a_fault_for_any_status(status: int) -> None:
    """The listener below can word its own refusals in the same form."""
    ((name, inner),) = json.loads(fault(status, "Because.")).items()
    assert inner == {"code": status, "message": "Because."}
    assert http.client.responses[status]
    assert name == {413: "overLimit", 408: "requestTimeout"}.get(status, name)
