"""The routes about tokens that were issued: who sees them, who takes them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from api_client import ApiClient
from attrs import define, evolve, field
from fakes import FOREIGN, OWNERLESS, WEB_1
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs

from consoled.errors import Unavailable
from consoled.model import ConsoleAuthToken, TokenRecord

OURS = "aa" * 32
THEIRS = "bb" * 32
NOBODYS = "cc" * 32
TWIN_1 = "dd" * 31 + "01"
TWIN_2 = "dd" * 31 + "02"


def record(token_hash: str, uuid: str, owner: str | None) -> TokenRecord:
    """A token for an instance of that project."""
    token = ConsoleAuthToken(
        token_hash=token_hash,
        instance_uuid=uuid,
        index=1,
        host="192.0.2.1",
        port=10001,
        generation=1,
        access_url="http://127.0.0.1:6083/serial.html",
        expires=1_767_225_600,
        project_id="demo",
        user_id="mia",
        options={"rights": "see_holder"},
    )
    return TokenRecord(token, owner, created_at=1_767_225_000, used=False)


@define
class MemoryStore:
    """Implements :class:`consoled.interfaces.TokenStore`.

    :ivar away: whether the database is.
    :ivar slippery: whether a token is gone between the look and the revocation.
    """

    records: list[TokenRecord] = field(
        factory=lambda: [
            record(OURS, WEB_1, "demo"),
            record(THEIRS, FOREIGN, "other"),
            record(NOBODYS, OWNERLESS, None),
        ]
    )
    away: bool = False
    slippery: bool = False

    def named(self, prefix: str) -> Deferred[list[TokenRecord]]:
        """By the beginning of the hash."""
        if self.away:
            return fail(Unavailable("The database is away."))
        return succeed([r for r in self.records if r.token.token_hash.startswith(prefix)])

    def revoke(self, token: ConsoleAuthToken) -> Deferred[bool]:
        """Forgets it."""
        if self.slippery:
            return succeed(False)
        self.records = [r for r in self.records if r.token.token_hash != token.token_hash]
        return succeed(True)


VIEW = {
    "id": OURS[:12],
    "server_id": WEB_1,
    "console_index": 1,
    "console_type": "serial",
    "role": "writer",
    "user_id": "mia",
    "project_id": "demo",
    "created_at": "2025-12-31T23:50:00Z",
    "expires_at": "2026-01-01T00:00:00Z",
    "used": False,
}


def hashes(store: MemoryStore) -> list[str]:
    """What the store still has."""
    return [r.token.token_hash for r in store.records]


@pytest.mark.parametrize("key", ["reader-key", "member-key", "admin-key"])
@pytest.mark.parametrize("digits", [12, 20, 64])
def test_a_token_by_its_prefix(key: str, digits: int) -> None:
    """The project's readers see what a token is for; the whole hash is in no answer."""
    answer = ApiClient(key=key, store=MemoryStore()).get(f"/v1/tokens/{OURS[:digits]}")
    assert (answer.status, answer.json) == (200, {"token": VIEW})
    assert OURS.encode() not in answer.body


def test_a_used_token() -> None:
    """A token that has opened its one session says so."""
    used = evolve(record(OURS, WEB_1, "demo"), used=True)
    answer = ApiClient(store=MemoryStore([used])).get(f"/v1/tokens/{OURS[:12]}")
    assert answer.json == {"token": VIEW | {"used": True}}


def test_an_observers_token() -> None:
    """A token to watch with says so."""
    ours = record(OURS, WEB_1, "demo")
    watching = evolve(ours, token=evolve(ours.token, options={"role": "observer"}))
    answer = ApiClient(store=MemoryStore([watching])).get(f"/v1/tokens/{OURS[:12]}")
    assert answer.json == {"token": VIEW | {"role": "observer"}}


@pytest.mark.parametrize("key", ["member-key", "admin-key"])
def test_revoking(key: str) -> None:
    """A member of the project takes a token back: 204 without a body, and an audit line."""
    store = MemoryStore()
    with capturedLogs() as events:
        answer = ApiClient(key=key, store=store).ask("DELETE", f"/v1/tokens/{OURS[:12]}")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert hashes(store) == [THEIRS, NOBODYS]
    (event,) = [e for e in events if e.get("event") == "token_revoked"]
    assert (event["token_id"], event["instance_uuid"], event["index"]) == (OURS[:12], WEB_1, 1)
    assert OURS not in repr(events)


@pytest.mark.parametrize(
    ("key", "method", "prefix", "status"),
    [
        ("member-key", "GET", THEIRS[:12], 404),
        ("member-key", "DELETE", THEIRS[:12], 404),
        ("member-key", "DELETE", NOBODYS[:12], 404),
        ("projectless-key", "DELETE", NOBODYS[:12], 404),
        ("admin-key", "DELETE", "ee" * 6, 404),
        ("member-key", "DELETE", "ee" * 6, 404),
        ("reader-key", "DELETE", OURS[:12], 403),
        ("roleless-key", "GET", OURS[:12], 403),
        (None, "DELETE", OURS[:12], 401),
        ("admin-key", "DELETE", OURS[:11], 404),
        ("admin-key", "DELETE", OURS + "0", 404),
        ("admin-key", "DELETE", "A" * 12, 404),
        ("admin-key", "DELETE", "%25" * 12, 404),
        ("admin-key", "DELETE", "clear-token-1", 404),
        ("admin-key", "DELETE", "%D9%A1" * 12, 404),
    ],
)
def test_refusals(key: str | None, method: str, prefix: str, status: int) -> None:
    """Who may not act on a token changes nothing."""
    store = MemoryStore()
    answer = ApiClient(key=key, store=store).ask(method, f"/v1/tokens/{prefix}")
    assert answer.status == status
    assert hashes(store) == [OURS, THEIRS, NOBODYS]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_words_do_not_tell_absent_from_hidden(method: str) -> None:
    """Another project's token is refused with the words for one that is not there."""
    texts = set()
    for prefix in (THEIRS[:12], NOBODYS[:12], "ee" * 6):
        answer = ApiClient(store=MemoryStore()).ask(method, f"/v1/tokens/{prefix}")
        texts.add(answer.message.replace(prefix, "X"))
    assert texts == {"Token X could not be found."}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_ambiguous_prefix(method: str) -> None:
    """Several tokens are a 409 that says how many, and more digits name one of them."""
    twins = [record(TWIN_1, WEB_1, "demo"), record(TWIN_2, WEB_1, "demo")]
    store = MemoryStore(twins)
    client = ApiClient(store=store)
    answer = client.ask(method, f"/v1/tokens/{TWIN_1[:12]}")
    assert answer.status == 409
    assert answer.message == f"2 tokens have hashes that begin with {'d' * 12}; give more digits."
    assert hashes(store) == [TWIN_1, TWIN_2]
    assert client.ask(method, f"/v1/tokens/{TWIN_1}").status in (200, 204)


def test_a_hidden_twin_is_not_counted() -> None:
    """Another project's token of the same prefix is no reason to ask for more digits."""
    twins = [record(TWIN_1, WEB_1, "demo"), record(TWIN_2, FOREIGN, "other")]
    store = MemoryStore(twins)
    assert ApiClient(store=store).ask("DELETE", f"/v1/tokens/{'d' * 12}").status == 204
    assert hashes(store) == [TWIN_2]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_tokens_that_are_kept_elsewhere(method: str) -> None:
    """With nova's or memcached's tokens the routes say that they cannot."""
    answer = ApiClient(store=None).ask(method, f"/v1/tokens/{OURS[:12]}")
    assert (answer.status, answer.fault) == (400, "badRequest")
    assert "not in its own database" in answer.message


def test_a_database_that_is_away() -> None:
    """It is a 503, with the time to try again."""
    answer = ApiClient(store=MemoryStore(away=True)).get(f"/v1/tokens/{OURS[:12]}")
    assert answer.status == 503
    assert "Retry-After" in answer.headers


def test_a_token_that_expires_while_it_is_taken_back() -> None:
    """Whoever was slower is told that there is no such token."""
    client = ApiClient(store=MemoryStore(slippery=True))
    assert client.ask("DELETE", f"/v1/tokens/{OURS[:12]}").status == 404


def test_the_other_methods() -> None:
    """The routes know GET and DELETE; a token is never made by its hash."""
    answer: Any = ApiClient(store=MemoryStore()).post(f"/v1/tokens/{OURS[:12]}")
    headers: Mapping[str, str] = answer.headers
    assert answer.status == 405
    assert headers["Allow"] == "DELETE, GET, HEAD, OPTIONS"
