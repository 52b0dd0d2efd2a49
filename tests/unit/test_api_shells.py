"""A URL for a shell on an instance: who gets one, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from api_client import ApiClient
from attrs import evolve
from fakes import ABSENT, FOREIGN, STOPPED, WEB_1
from twisted.internet.defer import Deferred, fail, succeed

from consoled.errors import Unavailable
from consoled.model import SHELL, hash_token

TOKENS = f"/v1/servers/{WEB_1}/consoles/ssh/tokens"


def somewhere(*_: object) -> Deferred[bool]:
    """Every instance lets somebody log in."""
    return succeed(True)


def client(**changes: Any) -> ApiClient:
    """An admin's client of a cell that has shells."""
    return ApiClient(**({"key": "admin-key", "shells": somewhere} | changes))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"token": null}', b'{"token": {}}', b'{"token": {"role": "writer"}}']
)
def test_a_url_for_a_shell(body: bytes) -> None:
    """201, with a token that is for a shell of that instance and nothing else."""
    api = client()
    answer = api.post(TOKENS, body)
    assert answer.status == 201
    token = answer.json["token"]
    assert token["id"] == hash_token("clear-token-1")[:12]
    assert token["url"].endswith("?token=clear-token-1")
    assert (token["console_type"], token["server_id"], token["role"]) == (SHELL, WEB_1, "writer")
    issued = api.authority.issued[0].token
    assert (issued.console_type, issued.host, issued.port) == (SHELL, WEB_1, 1)


def test_it_carries_no_rights() -> None:
    """What an admin may do to serial consoles of others is nothing that a shell's token lets do."""
    api = client()
    api.post(TOKENS)
    assert api.authority.issued[0].token.rights == frozenset()


@pytest.mark.parametrize("key", ["member-key", "reader-key", "roleless-key"])
def test_by_default_for_administrators(key: str) -> None:
    """Whoever has the shell is logged in: its project gets it only where a policy file says so."""
    answer = client(key=key).post(TOKENS)
    assert answer.status == 403
    assert "consoled:shells:create" in answer.message


def test_policy_can_open_it(tmp_path: Any) -> None:
    """A rule in the policy file gives it to a project's members, for their own instances."""
    rules = tmp_path / "policy.yaml"
    rules.write_text('"consoled:shells:create": "rule:consoled:project-member"\n')
    api = client(key="member-key", policy_file=rules)
    assert api.post(TOKENS).status == 201
    assert api.post(f"/v1/servers/{FOREIGN}/consoles/ssh/tokens").status == 404


def test_nobody_watches() -> None:
    """There is no observer of a shell."""
    answer = client().post(TOKENS, b'{"token": {"role": "observer"}}')
    assert answer.status == 400
    assert "one of its own" in answer.message


def test_nothing_says_how_to_log_in() -> None:
    """An instance without a login gets a 400 that says what it needs."""
    answer = client(shells=lambda *_: succeed(False)).post(TOKENS)
    assert answer.status == 400
    assert "node group" in answer.message


def test_a_cell_without_shells() -> None:
    """Where tokens are kept elsewhere there is no room for one of a shell: 400."""
    answer = client(shells=None).post(TOKENS)
    assert answer.status == 400
    assert "console_tokens_backend" in answer.message


def test_the_database_is_away() -> None:
    """503 while nobody can say how to log in."""
    api = client(shells=lambda *_: fail(Unavailable("the database is away")))
    assert api.post(TOKENS).status == 503


@pytest.mark.parametrize(("uuid", "status"), [(STOPPED, 409), (ABSENT, 404), ("nonsense", 404)])
def test_the_instance(uuid: str, status: int) -> None:
    """It has to be there, and to run."""
    assert client().post(f"/v1/servers/{uuid}/consoles/ssh/tokens").status == status


def test_consoles_are_off() -> None:
    """Where the cell has no consoles it has no shells either."""
    assert client(enabled=False).post(TOKENS).status == 400


def test_an_instance_without_serial_ports() -> None:
    """A shell needs no serial port."""
    api = client()
    api.driver.known = [evolve(instance, consoles=()) for instance in api.driver.known]
    assert api.post(TOKENS).status == 201
