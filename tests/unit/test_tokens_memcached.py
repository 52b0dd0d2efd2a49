"""consoled.tokens.memcached and fallback: the retired service's tokens."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from attrs import define, evolve, field
from cells import ALICE, PLACE, instance, memory_database, outcome
from fakes import FakeAuthority, FakeDriver
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from consoled.errors import (
    BadRequest,
    ConfigError,
    InstanceNotRunning,
    TokenInvalid,
    Unavailable,
)
from consoled.model import NO_GENERATION, OBSERVER, Console, InstanceState, IssuedToken, hash_token
from consoled.tokens import oslo_region
from consoled.tokens.database import DatabaseAuthority
from consoled.tokens.fallback import FallbackAuthority
from consoled.tokens.memcached import MemcachedAuthority
from consoled.workers import InlineWorker

URL = "ws://127.0.0.1:6083/"
CLEAR = "b3a1c0de-0000-4000-8000-00000000feed"
NOW = 1_767_225_600.75
INFO: dict[str, Any] = {
    "token": CLEAR,
    "instance_uuid": instance().uuid,
    "console_type": "serial",
    "host": PLACE[0],
    "port": PLACE[1],
    "internal_access_path": None,
    "access_url": f"{URL}?token={CLEAR}",
    "last_activity_at": NOW,
}


@define
class DictCache:
    """Texts in a dictionary; it can forget and be away, as memcached can."""

    held: dict[str, str | bytes] = field(factory=dict)
    keeps: bool = True
    away: bool = False

    def get(self, key: str) -> str | bytes | None:
        if self.away:
            raise Unavailable("memcached is not available now")
        return self.held.get(key)

    def set(self, key: str, text: str) -> None:
        if self.keeps:
            self.held[key] = text


@pytest.fixture
def cache() -> DictCache:
    return DictCache()


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver([instance()])


@pytest.fixture
def authority(cache: DictCache, driver: FakeDriver) -> MemcachedAuthority:
    return MemcachedAuthority(cache, InlineWorker(), driver, ttl=600, seconds=lambda: NOW)


def issue(authority: MemcachedAuthority) -> IssuedToken:
    return outcome(authority.issue(instance(), instance().consoles[0], ALICE, URL))


def test_the_layout_is_the_old_service_s(cache: DictCache, authority: MemcachedAuthority) -> None:
    """The token's connect info, and the instance's list of tokens, as JSON."""
    first, second = issue(authority).clear, issue(authority).clear
    assert uuid.UUID(first).version == 4
    assert json.loads(cache.held[first]) == INFO | {
        "token": first,
        "access_url": f"{URL}?token={first}",
    }
    assert json.loads(cache.held[instance().uuid]) == [first, second]


def test_lost_tokens_leave_the_list(cache: DictCache, authority: MemcachedAuthority) -> None:
    """The list holds what is still there, as the old service kept it short."""
    lost, kept = issue(authority).clear, issue(authority).clear
    del cache.held[lost]
    new = issue(authority).clear
    assert json.loads(cache.held[instance().uuid]) == [kept, new]


@pytest.mark.parametrize("held", ["no json", "{}", '"x"', "[1, null]", b"\xff"])
def test_a_broken_list_begins_anew(
    cache: DictCache, authority: MemcachedAuthority, held: str | bytes
) -> None:
    """Nothing that lies there keeps a token from being issued."""
    cache.held[instance().uuid] = held
    issued = issue(authority)
    assert json.loads(cache.held[instance().uuid]) == [issued.clear]


def test_a_legacy_token_opens(cache: DictCache, authority: MemcachedAuthority) -> None:
    """Place and base URL come from the info, the index from the driver, expiry from its stamp."""
    cache.held[CLEAR] = json.dumps(INFO)
    token = outcome(authority.validate(CLEAR))
    assert (token.instance_uuid, token.index, token.host, token.port) == (
        instance().uuid,
        0,
        *PLACE,
    )
    assert (token.access_url, token.expires) == (URL, int(NOW) + 600)
    assert (token.generation, token.user_id) == (NO_GENERATION, None)
    assert (token.token_hash, token.left) == (hash_token(CLEAR), int(NOW) + 600 - NOW)


def test_an_issued_token_opens(authority: MemcachedAuthority) -> None:
    """Issue and check agree on everything."""
    issued = issue(authority)
    assert outcome(authority.validate(issued.clear)) == issued.token


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "another"},
        {"console_type": "novnc"},
        {"instance_uuid": None},
        {"instance_uuid": instance(2).uuid},
        {"host": "192.0.2.7"},
        {"port": None},
        {"port": "many"},
        {"last_activity_at": None},
        {"last_activity_at": True},
        {"last_activity_at": -5},
        {"last_activity_at": 1e300},
        {"internal_access_path": "/x\r\n"},
        {"access_url": "ws://h/ x"},
    ],
    ids=str,
)
def test_info_that_opens_nothing(
    cache: DictCache, authority: MemcachedAuthority, changes: dict[str, Any]
) -> None:
    """Another token's, another type's, somewhere else, or broken: refused in a few words."""
    cache.held[CLEAR] = json.dumps(INFO | changes)
    with capturedLogs() as events, pytest.raises(TokenInvalid) as caught:
        outcome(authority.validate(CLEAR))
    assert CLEAR not in repr((events, caught.value))


def test_an_instance_s_uuid_is_no_token(cache: DictCache, authority: MemcachedAuthority) -> None:
    """Its list lies under a key of the same kind, and opens nothing."""
    issue(authority)
    assert instance().uuid in cache.held
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(instance().uuid))


@given(st.text() | st.binary() | st.none())
def test_whatever_lies_there(held: str | bytes | None) -> None:
    """Any bytes under a key are a refusal, never a failure."""
    cache = DictCache({} if held is None else {CLEAR: held})
    authority = MemcachedAuthority(cache, InlineWorker(), FakeDriver([instance()]), 600)
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(CLEAR))


@pytest.mark.parametrize("clear", ["", "a b", "é", "x" * 513])
def test_an_impossible_token_is_not_asked_for(
    cache: DictCache, authority: MemcachedAuthority, clear: str
) -> None:
    """Even while memcached is away the answer is that it is not valid."""
    cache.away = True
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(clear))


def test_a_stopped_instance_opens_nothing(
    cache: DictCache, driver: FakeDriver, authority: MemcachedAuthority
) -> None:
    """A place alone is no right: the instance must run now."""
    cache.held[CLEAR] = json.dumps(INFO)
    driver.known = [evolve(instance(), state=InstanceState.STOPPED)]
    with pytest.raises(InstanceNotRunning):
        outcome(authority.validate(CLEAR))


def test_memcached_away_is_not_a_refusal(cache: DictCache, authority: MemcachedAuthority) -> None:
    """Neither at a check, nor at issue: nobody gets a URL that cannot work."""
    cache.away = True
    with pytest.raises(Unavailable):
        outcome(authority.validate(CLEAR))
    with pytest.raises(Unavailable):
        issue(authority)
    cache.away, cache.keeps = False, False
    with pytest.raises(Unavailable, match="does not keep"):
        issue(authority)


def test_no_room_for_a_role(authority: MemcachedAuthority) -> None:
    """A token to watch with is refused: kept without its role, it would let its user type."""
    with pytest.raises(BadRequest, match="memcached, which has no room for a role"):
        outcome(authority.issue(instance(), instance().consoles[0], ALICE, URL, role=OBSERVER))


def test_a_console_without_a_port(authority: MemcachedAuthority) -> None:
    """There is no room for one there; the words say what to do."""
    with pytest.raises(BadRequest, match="memcached, which has no room for a console"):
        outcome(authority.issue(instance(), Console(0, "", None), ALICE, URL))


def test_no_secret_in_reprs(cache: DictCache, authority: MemcachedAuthority) -> None:
    """memcached holds clear tokens: what holds it shows none of them."""
    issued = issue(authority)
    assert issued.clear in repr(cache.held)
    assert issued.clear not in repr((authority, issued))


def test_only_cached_values_are_unpickled() -> None:
    """A pickle that names anything else is refused before anything is called."""
    import io
    import pickle

    names = [b"cos\nsystem\n.", b"cbuiltins\neval\n.", b"cdogpile.cache.api\nNO_VALUE\n."]
    for text in names:
        with pytest.raises(pickle.UnpicklingError):
            oslo_region.ValueUnpickler(io.BytesIO(text)).load()


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator reads what to install."""
    monkeypatch.setitem(__import__("sys").modules, "oslo_cache", None)
    with pytest.raises(ConfigError, match=r"pip install 'consoled\[memcached\]'"):
        oslo_region.OsloRegion.open(["127.0.0.1:11211"], 600)


@pytest.fixture
def both(authority: MemcachedAuthority) -> FallbackAuthority:
    """A new database beside the old memcached, the fallback on."""
    return FallbackAuthority(DatabaseAuthority(memory_database(), 600, "fake"), authority)


def test_new_tokens_go_to_the_database_only(cache: DictCache, both: FallbackAuthority) -> None:
    """memcached gets nothing, and the token opens with the fallback on or off."""
    issued = outcome(both.issue(instance(), instance().consoles[0], ALICE, URL))
    assert cache.held == {}
    assert outcome(both.validate(issued.clear)) == issued.token
    both.legacy = None
    assert outcome(both.validate(issued.clear)) == issued.token


def test_the_fallback_is_asked_until_it_is_off(cache: DictCache, both: FallbackAuthority) -> None:
    """A legacy token opens while it is on, and is refused when it is off."""
    cache.held[CLEAR] = json.dumps(INFO)
    assert outcome(both.validate(CLEAR)).port == PLACE[1]
    both.legacy = None
    with pytest.raises(TokenInvalid):
        outcome(both.validate(CLEAR))


def test_an_outage_of_the_database_is_not_passed_on(both: FallbackAuthority) -> None:
    """Only a token that the database does not know is asked of memcached."""
    legacy = FakeAuthority(error=AssertionError("it was asked"))
    fallback = FallbackAuthority(FakeAuthority(error=Unavailable("away")), legacy)
    with pytest.raises(Unavailable):
        outcome(fallback.validate(CLEAR))


def test_an_outage_of_memcached_harms_no_token_of_the_database(
    cache: DictCache, both: FallbackAuthority
) -> None:
    """A known token opens; an unknown one cannot be judged now."""
    issued = outcome(both.issue(instance(), instance().consoles[0], ALICE, URL))
    cache.away = True
    assert outcome(both.validate(issued.clear)) == issued.token
    with pytest.raises(Unavailable):
        outcome(both.validate(CLEAR))
