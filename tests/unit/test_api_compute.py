"""The compute API's routes for consoles (reference: nova-contract)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_client import WS_BASE_URL, Answer, ApiClient
from fakes import ABSENT, FOREIGN, PORTLESS, STOPPED, WEB_1

SERVERS = "/v2.1/servers"
ACTION = f"{SERVERS}/{WEB_1}/action"
REMOTE = f"{SERVERS}/{WEB_1}/remote-consoles"
LEGACY = {"os-getSerialConsole": {"type": "serial"}}
UNIFIED = {"remote_console": {"protocol": "serial", "type": "serial"}}


def ask(
    method: str, target: str, body: Any = None, version: str | None = None, **client: Any
) -> Answer:
    """The answer to a request for that microversion."""
    headers = {} if version is None else {"OpenStack-API-Version": f"compute {version}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = b"" if body is None else json.dumps(body).encode()
    return ApiClient(**client).ask(method, target, data, headers)


def names(answer: Answer) -> list[str]:
    """Of the servers in a list."""
    return [server["name"] for server in answer.json["servers"]]


def test_legacy_action() -> None:
    """Up to 2.5 the action gives a WebSocket URL, which nova's clients dial."""
    for version in (None, "2.1", "2.5"):
        answer = ask("POST", ACTION, LEGACY, version)
        assert answer.status == 200
        url = f"{WS_BASE_URL}?token=clear-token-1"
        assert answer.json == {"console": {"type": "serial", "url": url}}


def test_unified_route() -> None:
    """From 2.6 on the route of all consoles does."""
    for version in ("2.6", "2.8", "2.99", "latest"):
        answer = ask("POST", REMOTE, UNIFIED, version)
        assert answer.status == 200
        url = f"{WS_BASE_URL}?token=clear-token-1"
        assert answer.json == {
            "remote_console": {"protocol": "serial", "type": "serial", "url": url}
        }


@pytest.mark.parametrize(
    ("target", "body", "version"),
    [(ACTION, LEGACY, "2.6"), (ACTION, LEGACY, "latest"), (REMOTE, UNIFIED, "2.5")],
)
def test_outside_its_versions(target: str, body: Any, version: str) -> None:
    """A route does not exist outside of its microversions."""
    assert ask("POST", target, body, version).status == 404


@pytest.mark.parametrize(
    ("target", "body", "version", "says"),
    [
        (ACTION, {}, "2.1", "no such action"),
        (ACTION, {"reboot": {"type": "HARD"}}, "2.1", "no such action"),
        (ACTION, {"os-getSerialConsole": {}}, "2.1", 'lacks the member "type"'),
        (ACTION, {"os-getSerialConsole": {"type": "novnc"}}, "2.1", 'must be "serial"'),
        (ACTION, {**LEGACY, "reboot": {}}, "2.1", 'unknown member "reboot"'),
        (REMOTE, {"remote_console": {"type": "serial"}}, "2.6", 'lacks the member "protocol"'),
        (REMOTE, {}, "2.6", 'lacks the member "remote_console"'),
        (
            REMOTE,
            {"remote_console": {"protocol": "serial", "type": "novnc"}},
            "2.6",
            "Unavailable console type novnc",
        ),
        (
            REMOTE,
            {"remote_console": {"protocol": "rdp", "type": "rdp-html5"}},
            "2.6",
            "Unavailable console type rdp-html5",
        ),
        (REMOTE, {"remote_console": {"protocol": "mks", "type": "webmks"}}, "2.7", "must be"),
        (
            REMOTE,
            {"remote_console": {"protocol": "mks", "type": "webmks"}},
            "2.8",
            "Unavailable console type webmks",
        ),
        (
            REMOTE,
            {"remote_console": {"protocol": "spice", "type": "spice-direct"}},
            "2.98",
            "must be",
        ),
        (
            REMOTE,
            {"remote_console": {"protocol": "spice", "type": "spice-direct"}},
            "2.99",
            "Unavailable console type spice-direct",
        ),
        (REMOTE, {"remote_console": {**UNIFIED["remote_console"], "x": 1}}, "2.6", "unknown"),
    ],
)
def test_bad_bodies(target: str, body: Any, version: str, says: str) -> None:
    """The schema of the version counts, and then that only serial consoles are to be had."""
    answer = ask("POST", target, body, version)
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert says in answer.message


@pytest.mark.parametrize(
    ("uuid", "status"), [(ABSENT, 404), (FOREIGN, 404), (STOPPED, 409), (PORTLESS, 400)]
)
def test_other_instances(uuid: str, status: int) -> None:
    """What keeps a console from opening has nova's codes."""
    assert ask("POST", f"{SERVERS}/{uuid}/remote-consoles", UNIFIED, "2.6").status == status
    assert ask("POST", f"{SERVERS}/{uuid}/action", LEGACY).status == status


def test_who_may() -> None:
    """A reader gets no URL, and without a credential there is nothing but the versions."""
    assert ask("POST", REMOTE, UNIFIED, "2.6", key="reader-key").status == 403
    assert ask("POST", REMOTE, UNIFIED, "2.6", key=None).status == 401
    assert ask("GET", SERVERS, key=None).status == 401
    assert ask("GET", "/", key=None).status == 200


def test_version_headers() -> None:
    """Every answer says which version it is of, errors too, and that it depends on the header."""
    for answer, version in (
        (ask("GET", SERVERS, version="2.42"), "2.42"),
        (ask("GET", SERVERS), "2.1"),
        (ask("POST", REMOTE, UNIFIED, "2.5"), "2.5"),
    ):
        assert answer.headers["OpenStack-API-Version"] == f"compute {version}"
        assert answer.headers["X-OpenStack-Nova-API-Version"] == version
        assert answer.headers.get_all("Vary") == [
            "OpenStack-API-Version",
            "X-OpenStack-Nova-API-Version",
        ]
    refused = ask("GET", SERVERS, version="2.200")
    assert refused.status == 406
    assert "Minimum is 2.1" in refused.json["computeFault"]["message"]


def test_versions() -> None:
    """The root and the version's own document have what keystoneauth looks for."""
    root = ask("GET", "/", key=None).json["versions"]
    for target in ("/v2.1", "/v2.1/"):
        version = ask("GET", target, key=None).json["version"]
        assert version["media-types"]
        assert [version | {"media-types": None}] == [one | {"media-types": None} for one in root]
    assert (root[0]["id"], root[0]["status"]) == ("v2.1", "CURRENT")
    assert (root[0]["min_version"], root[0]["version"]) == ("2.1", "2.104")
    assert root[0]["links"] == [{"rel": "self", "href": "http://api.test:8774/v2.1/"}]


def test_servers_are_found_by_name() -> None:
    """As clients ask: a part of the name, or all of it between ^ and $; of their own projects."""
    everything = names(ask("GET", SERVERS))
    assert everything == sorted(everything)
    assert "foreign" not in everything
    assert names(ask("GET", f"{SERVERS}?name=web")) == ["web-1"]
    assert names(ask("GET", f"{SERVERS}?name=%5Eweb-1%24")) == ["web-1"]
    assert names(ask("GET", f"{SERVERS}?name=%5Eweb%24")) == []
    assert names(ask("GET", f"{SERVERS}?name=%5Eeb")) == []
    assert names(ask("GET", f"{SERVERS}?name=.*")) == []
    assert "foreign" in names(ask("GET", f"{SERVERS}?all_tenants=1", key="admin-key"))


def test_pages() -> None:
    """A client that pages gets every server once, and an empty page at the end."""
    everything = ask("GET", SERVERS).json["servers"]
    seen: list[Any] = []
    while page := ask(
        "GET", f"{SERVERS}?limit=1" + (f"&marker={seen[-1]['id']}" if seen else "")
    ).json["servers"]:
        seen += page
    assert seen == everything
    assert names(ask("GET", f"{SERVERS}?limit=-1")) == names(ask("GET", SERVERS))
    assert ask("GET", f"{SERVERS}?marker=none").status == 400
    assert ask("GET", f"{SERVERS}?limit=many").status == 400


def test_a_server() -> None:
    """One by id, and in the detailed list, look alike."""
    server = ask("GET", f"{SERVERS}/{WEB_1}").json["server"]
    assert (server["name"], server["status"], server["tenant_id"]) == ("web-1", "ACTIVE", "demo")
    assert server["addresses"] == {"internal": [{"addr": "198.51.100.5", "version": 4}]}
    assert server["links"][0]["href"] == f"http://api.test:8774/v2.1/servers/{WEB_1}"
    assert server in ask("GET", f"{SERVERS}/detail").json["servers"]
    assert ask("GET", f"{SERVERS}/{STOPPED}").json["server"]["OS-EXT-STS:vm_state"] == "stopped"
    for unknown in (ABSENT, FOREIGN, "web-1"):
        assert ask("GET", f"{SERVERS}/{unknown}").status == 404


def test_where_a_token_leads() -> None:
    """For administrators, from 2.31 on; an unknown one is not found."""
    client = ApiClient(key="admin-key")
    url = client.post(
        REMOTE, json.dumps(UNIFIED).encode(), {"OpenStack-API-Version": "compute 2.6"}
    )
    token = url.json["remote_console"]["url"].partition("=")[2]

    def look(version: str, token: str = token, query: str = "") -> Answer:
        target = f"/v2.1/os-console-auth-tokens/{token}{query}"
        return client.ask("GET", target, b"", {"OpenStack-API-Version": f"compute {version}"})

    assert look("2.30").status == 400
    assert look("2.31").json == {
        "console": {
            "instance_uuid": WEB_1,
            "host": "192.0.2.1",
            "port": 10000,
            "internal_access_path": None,
        }
    }
    assert look("2.99").json["console"]["tls_port"] is None
    assert look("2.98", query="?x=1").status == 200
    assert look("2.99", query="?x=1").status == 400
    assert look("2.31", token="unknown").status == 404
    client.key = "member-key"
    assert look("2.31").status == 403
