"""The native routes: shapes, who sees what, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_client import BASE_URL, ApiClient
from fakes import ABSENT, FOREIGN, OWNERLESS, PORTLESS, STOPPED, WEB_1

from consoled.model import hash_token

SERVER = f"/v1/servers/{WEB_1}"
TOKENS = f"{SERVER}/consoles/1/tokens"

WEB_1_VIEW = {
    "id": WEB_1,
    "name": "web-1",
    "project_id": "demo",
    "status": "running",
    "addresses": ["198.51.100.5"],
}


@pytest.mark.parametrize("key", ["member-key", "reader-key"])
def test_the_list_of_the_own_project(key: str) -> None:
    """Members and readers see their project's instances, without the compute hosts."""
    answer = ApiClient(key=key).get("/v1/servers")
    assert answer.status == 200
    servers = answer.json["servers"]
    assert [server["name"] for server in servers] == ["portless", "stopped", "web-1"]
    assert servers[2] == WEB_1_VIEW
    assert servers[1]["status"] == "stopped"


def test_an_admin_lists_everything() -> None:
    """An admin sees all projects, what belongs to none, and the compute hosts."""
    servers = ApiClient(key="admin-key").get("/v1/servers").json["servers"]
    assert [(s["name"], s["project_id"]) for s in servers][:2] == [
        ("foreign", "other"),
        ("ownerless", None),
    ]
    assert {server["host"] for server in servers} == {"rack1"}


def test_one_server() -> None:
    """One instance has the shape of the list; an admin sees its compute host as well."""
    assert ApiClient().get(SERVER).json == {"server": WEB_1_VIEW}
    shown = ApiClient(key="admin-key").get(SERVER).json
    assert shown == {"server": WEB_1_VIEW | {"host": "rack1"}}


def test_the_consoles_of_a_server() -> None:
    """A caller sees indexes, an admin the places behind them too."""
    assert ApiClient(key="reader-key").get(f"{SERVER}/consoles").json == {
        "consoles": [
            {"index": 0, "type": "serial", "kind": "tcp", "state": "free", "in_use": False},
            {"index": 1, "type": "serial", "kind": "tcp", "state": "free", "in_use": False},
        ]
    }
    assert ApiClient(key="admin-key").get(f"{SERVER}/consoles").json["consoles"][1] == {
        "index": 1,
        "type": "serial",
        "kind": "tcp",
        "state": "free",
        "in_use": False,
        "host": "192.0.2.1",
        "port": 10001,
    }
    assert ApiClient().get(f"/v1/servers/{PORTLESS}/consoles").json == {"consoles": []}


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"token": null}', b'{"token": {}}'])
def test_a_token(body: bytes) -> None:
    """A token is made for that console: 201, its URL and when it expires."""
    client = ApiClient()
    answer = client.post(TOKENS, body)
    assert answer.status == 201
    assert answer.json == {
        "token": {
            "id": hash_token("clear-token-1")[:12],
            "url": f"{BASE_URL}?token=clear-token-1",
            "expires_at": "2026-01-01T00:00:00Z",
            "role": "writer",
            "server_id": WEB_1,
            "console_index": 1,
            "console_type": "serial",
        }
    }
    assert client.authority.issued[0].token.index == 1


def test_a_token_of_the_next_console() -> None:
    """Without an index the daemon chooses, and the answer says which console it is."""
    client = ApiClient()
    answer = client.post(f"{SERVER}/tokens")
    assert answer.status == 201
    assert answer.json["token"]["console_index"] == 0
    assert answer.json["token"]["url"] == f"{BASE_URL}?token=clear-token-1"


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("2", "no console 2; there are 0, 1"),
        ("99999", "no console 99999"),
        ("-1", "a number from 0 on"),
        ("01", "a number from 0 on"),
        ("x", "a number from 0 on"),
        ("1.0", "a number from 0 on"),
        ("9" * 5000, "a number from 0 on"),
        ("%D9%A1", "a number from 0 on"),
    ],
)
def test_an_index_that_is_none_is_a_404(index: str, says: str) -> None:
    """An index that no console has, or can have, is a 404 and never a 500."""
    answer = ApiClient().post(f"{SERVER}/consoles/{index}/tokens")
    assert (answer.status, answer.fault) == (404, "itemNotFound")
    assert says in answer.message


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tail", ["", "/consoles"])
@pytest.mark.parametrize("uuid", [ABSENT, FOREIGN, OWNERLESS, "web-1", "0", "%00", "'--"])
def test_an_instance_that_is_not_there_is_a_404(method: str, tail: str, uuid: str) -> None:
    """Absent, hidden and impossible ids are 404 on every route."""
    answer = ApiClient().ask(method, f"/v1/servers/{uuid}{tail}")
    assert answer.status == 404


def test_hidden_is_told_in_the_words_of_absent() -> None:
    """The text for another project's instance does not give it away."""
    client = ApiClient()
    texts = {
        client.get(f"/v1/servers/{uuid}").message.replace(uuid, "X") for uuid in (ABSENT, FOREIGN)
    }
    assert len(texts) == 1


def test_policy_may_reveal(tmp_path: Path) -> None:
    """Where policy reveals other projects' instances, they are 403 instead of 404."""
    policy = tmp_path / "policy.yaml"
    policy.write_text('"consoled:servers:reveal": "role:reader"\n')
    client = ApiClient(policy_file=policy)
    for tail in ("", "/consoles"):
        answer = client.get(f"/v1/servers/{FOREIGN}{tail}")
        assert (answer.status, answer.fault) == (403, "forbidden")
        assert "Policy does not allow" in answer.message
    answer = client.post(f"/v1/servers/{FOREIGN}/consoles/0/tokens")
    assert answer.status == 403
    assert client.get(f"/v1/servers/{ABSENT}").status == 404


@pytest.mark.parametrize("target", ["/v1/servers", SERVER, f"{SERVER}/consoles"])
def test_without_a_role_nothing_is_shown(target: str) -> None:
    """A caller of the project without a role gets 403, on each route."""
    answer = ApiClient(key="roleless-key").get(target)
    assert (answer.status, answer.fault) == (403, "forbidden")
    assert "consoled:" in answer.message


def test_a_reader_makes_no_token() -> None:
    """Looking is not opening."""
    client = ApiClient(key="reader-key")
    assert client.post(TOKENS).status == 403
    assert not client.authority.issued


@pytest.mark.parametrize(
    ("uuid", "status", "says"),
    [(STOPPED, 409, "is stopped"), (PORTLESS, 404, "it has no serial port")],
)
def test_a_console_that_cannot_be_opened(uuid: str, status: int, says: str) -> None:
    """A stopped instance is a 409; an instance without ports has no console of any index."""
    answer = ApiClient().post(f"/v1/servers/{uuid}/consoles/0/tokens")
    assert answer.status == status
    assert says in answer.message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"token": {"ttl": 9}}', 'token has the unknown member "ttl"; it may hold "role".'),
        (b'{"role": "observer"}', 'The body has the unknown member "role"; it may hold "token".'),
        (b'{"token": {"role": "boss"}}', 'token.role must be "writer" or "observer".'),
        (b'{"token": {"role": null}}', 'token.role must be "writer" or "observer".'),
        (b'{"token": {"role": ["observer"]}}', 'token.role must be "writer" or "observer".'),
    ],
)
def test_the_body_of_a_token_request_is_checked(body: bytes, says: str) -> None:
    """Nothing is silently ignored in the body."""
    client = ApiClient()
    answer = client.post(TOKENS, body)
    assert (answer.status, answer.message) == (400, says)
    assert not client.authority.issued


@pytest.mark.parametrize("key", ["reader-key", "member-key", "admin-key"])
@pytest.mark.parametrize("target", [TOKENS, f"{SERVER}/tokens"])
def test_a_token_to_watch_with(key: str, target: str) -> None:
    """Whoever may look at the project gets an observer's token, which says what it is."""
    client = ApiClient(key=key)
    answer = client.post(target, b'{"token": {"role": "observer"}}')
    assert (answer.status, answer.json["token"]["role"]) == (201, "observer")
    (issued,) = client.authority.issued
    assert issued.token.observes
    assert issued.token.rights == {"see_holder"}


def test_a_writer_is_what_one_is_by_default() -> None:
    """The role can be said; the rule for it is that of the other requests."""
    body = b'{"token": {"role": "writer"}}'
    assert ApiClient().post(TOKENS, body).json["token"]["role"] == "writer"
    assert ApiClient(key="reader-key").post(TOKENS, body).status == 403


def test_the_compatible_routes_know_no_role() -> None:
    """nova's bodies stay as the specification has them."""
    body = b'{"serial_console": {"role": "observer"}}'
    answer = ApiClient().post(f"/v3/servers/{WEB_1}/get-serial-console", body)
    assert answer.status == 400
