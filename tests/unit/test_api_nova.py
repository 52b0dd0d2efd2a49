"""The routes of the serial-ports specification."""

from __future__ import annotations

import pytest
from api_client import BASE_URL, ApiClient
from fakes import ABSENT, FOREIGN, OWNERLESS, PORTLESS, STOPPED, WEB_1

V2 = f"/v2/demo/servers/{WEB_1}/get-serial-console"
V3 = f"/v3/servers/{WEB_1}/get-serial-console"


@pytest.mark.parametrize(("route", "status"), [(V2, 200), (V3, 202)])
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"null", b' {"serial_console": null}', b'{"serial_console": {}}\n'],
)
def test_a_console_url(route: str, status: int, body: bytes) -> None:
    """Both routes answer the URL with their own status; absent, null and {} are the same."""
    answer = ApiClient().post(route, body)
    assert answer.status == status
    assert answer.json == {"serial_console": {"url": f"{BASE_URL}?token=clear-token-1"}}


def test_each_call_is_a_new_token_of_the_first_console() -> None:
    """Two calls give two tokens, both for console 0."""
    client = ApiClient()
    urls = {client.post(V3).json["serial_console"]["url"] for _ in range(2)}
    assert len(urls) == 2
    assert [issued.token.index for issued in client.authority.issued] == [0, 0]


@pytest.mark.parametrize("tenant", ["other", "DEMO", "demo%20"])
@pytest.mark.parametrize("key", ["member-key", "admin-key", "projectless-key"])
def test_another_tenant_in_the_path_is_a_400(tenant: str, key: str) -> None:
    """The tenant in the path has to be the caller's project, whoever the caller is."""
    client = ApiClient(key=key)
    answer = client.post(f"/v2/{tenant}/servers/{WEB_1}/get-serial-console")
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert "tenant_id" in answer.message
    assert not client.authority.issued


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"serial_console": {"x": 1}}', 'serial_console has the unknown member "x"; it must be'),
        (b'{"serial_console": "x"}', "serial_console must be an object or null, not a string"),
        (b'{"serial_console": []}', "serial_console must be an object or null, not an array"),
        (b'{"serial_console": true}', "not a boolean"),
        (b'{"serial_console": 1e999}', "not a number"),
        (b'{"foo": 1}', 'The body has the unknown member "foo"; it may hold "serial_console"'),
        (b"[]", "The body must be an object, not an array"),
        (b'"x"', "not a string"),
        (b"7", "not a number"),
    ],
)
@pytest.mark.parametrize("route", [V2, V3])
def test_a_body_that_breaks_the_schema_is_a_400(route: str, body: bytes, says: str) -> None:
    """The text names the field and what is wrong with it."""
    answer = ApiClient().post(route, body)
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert says in answer.message


@pytest.mark.parametrize(
    ("key", "uuid", "status", "fault", "says"),
    [
        (None, WEB_1, 401, "unauthorized", "X-Auth-Token"),
        ("wrong", WEB_1, 401, "unauthorized", "X-Auth-Token"),
        ("reader-key", WEB_1, 403, "forbidden", "consoled:tokens:create"),
        ("member-key", ABSENT, 404, "itemNotFound", f"Instance {ABSENT} could not be found."),
        ("member-key", FOREIGN, 404, "itemNotFound", f"Instance {FOREIGN} could not be found."),
        ("member-key", OWNERLESS, 404, "itemNotFound", "could not be found."),
        ("member-key", "web-1", 404, "itemNotFound", "a UUID in lower case"),
        ("member-key", WEB_1.upper(), 404, "itemNotFound", "a UUID in lower case"),
        ("member-key", WEB_1.replace("-", ""), 404, "itemNotFound", "a UUID"),
        ("member-key", STOPPED, 409, "conflictingRequest", "is stopped; start it"),
        ("member-key", PORTLESS, 400, "badRequest", "has no serial port"),
    ],
)
def test_refusals(key: str | None, uuid: str, status: int, fault: str, says: str) -> None:
    """Each refusal has its status, nova's name and a text that says what to do."""
    client = ApiClient(key=key)
    answer = client.post(f"/v3/servers/{uuid}/get-serial-console")
    assert (answer.status, answer.fault) == (status, fault)
    assert says in answer.message
    assert not client.authority.issued


def test_disabled_is_a_400() -> None:
    """With serial consoles off, asking for one is a 400 that names the option."""
    answer = ApiClient(enabled=False).post(V3)
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert "[serial_console] enabled" in answer.message


def test_an_admin_opens_another_projects_console() -> None:
    """An admin gets a URL for any instance by the v3 route."""
    assert (
        ApiClient(key="admin-key").post(f"/v3/servers/{FOREIGN}/get-serial-console").status == 202
    )
