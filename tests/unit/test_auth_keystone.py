"""consoled.auth.keystone: whom Keystone knows, remembered for a while and asked once at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import result
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from consoled.auth import keystone
from consoled.auth.keystone import Identified, KeystoneIdentity
from consoled.errors import Unauthorized, Unavailable
from consoled.model import Caller

MIA = Caller("mia", "demo", frozenset({"member"}))
NOW = 1_767_225_600.0


class Waiting:
    """A worker that does what it is asked when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Remembers it."""
        answer: Deferred[Any] = Deferred()
        self.asked.append((lambda: fn(*args, **kwargs), answer))
        return answer

    def work(self) -> int:
        """Does all of it; how much that was."""
        asked, self.asked = self.asked, []
        for fn, answer in asked:
            maybeDeferred(fn).chainDeferred(answer)
        return len(asked)


class World:
    """A Keystone that knows the token ``good``, and an identity that asks it."""

    def __init__(self, remember: float = 300.0, expires: float | None = NOW + 3600) -> None:
        self.clock, self.worker = Clock(), Waiting()
        self.outcome: Identified | Exception = Identified(MIA, expires)
        self.questions: list[tuple[str, str | None]] = []
        self.identity = KeystoneIdentity(
            self._validate, self.worker, self.clock, remember, lambda: NOW + self.clock.seconds()
        )

    def _validate(self, token: str, service_token: str | None) -> Identified:
        self.questions.append((token, service_token))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def ask(self, **headers: str) -> Deferred[Caller]:
        """Asks with headers whose names have underscores here."""
        sent = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        return self.identity.authenticate(sent)

    def caller(self, **headers: str) -> Caller:
        """The same, answered."""
        asked = self.ask(**headers)
        self.worker.work()
        found: Caller = result(asked)
        return found


def test_what_is_claimed_does_not_count() -> None:
    """Identity headers of the client's own are not looked at (faults.md T9)."""
    world = World()
    claims = {"X_User_Id": "root", "X_Roles": "admin", "X_Identity_Status": "Confirmed"}
    assert world.caller(X_Auth_Token="good", **claims) == MIA
    with pytest.raises(Unauthorized, match="needs a token"):
        world.caller(**claims)
    assert world.questions == [("good", None)]


def test_it_is_remembered_for_a_while() -> None:
    """Keystone is asked again when the time of its answer is over."""
    world = World(remember=300)
    for _ in range(3):
        assert world.caller(X_Auth_Token="good") == MIA
    assert len(world.questions) == 1
    world.clock.advance(300)
    assert world.caller(X_Auth_Token="good") == MIA
    assert len(world.questions) == 2


def test_never_longer_than_it_is_valid() -> None:
    """A token that expires in a minute is asked about after a minute."""
    world = World(remember=300, expires=NOW + 60)
    world.caller(X_Auth_Token="good")
    world.clock.advance(59)
    world.caller(X_Auth_Token="good")
    assert len(world.questions) == 1
    world.clock.advance(1)
    world.outcome = Unauthorized("expired")
    with pytest.raises(Unauthorized):
        world.caller(X_Auth_Token="good")


def test_a_service_s_word_belongs_to_one_request() -> None:
    """An expired token for which a service vouches is not remembered, with it or without."""
    world = World(expires=NOW - 10)
    for _ in range(2):
        assert world.caller(X_Auth_Token="good", X_Service_Token="nova's") == MIA
    assert world.questions == [("good", "nova's")] * 2
    world.outcome = Unauthorized("expired")
    with pytest.raises(Unauthorized):
        world.caller(X_Auth_Token="good")


@pytest.mark.parametrize("outcome", [Unauthorized("no"), Unavailable("away")])
def test_refusals_are_not_remembered(outcome: Exception) -> None:
    """Who was refused, or not heard, is asked about again."""
    world = World()
    world.outcome = outcome
    with pytest.raises(type(outcome)):
        world.caller(X_Auth_Token="good")
    world.outcome = Identified(MIA, None)
    assert world.caller(X_Auth_Token="good") == MIA


def test_many_at_once_ask_once() -> None:
    """Requests that come with one token before Keystone has answered share its answer."""
    world = World()
    asked = [world.ask(X_Auth_Token="good") for _ in range(5)]
    asked[2].addErrback(lambda _: None)
    asked[2].cancel()
    assert world.worker.work() == 1
    assert [result(one) for one in asked[:2] + asked[3:]] == [MIA] * 4


def test_two_tokens() -> None:
    """Which of two headers counts is not guessed."""
    world = World()
    for name in ("X-Auth-Token", "X-Service-Token"):
        headers = Headers({"X-Auth-Token": ["good"]})
        headers.setRawHeaders(name, ["good", "bad"])
        with pytest.raises(Unauthorized, match=f"more than one {name}"):
            result(world.identity.authenticate(headers))
    assert not world.worker.asked


def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded; whoever was not heard of for longest goes first."""
    monkeypatch.setattr(keystone, "MOST", 2)
    world = World()
    for token in ("a", "b", "a", "c"):
        world.caller(X_Auth_Token=token)
    assert [token for token, _ in world.questions] == ["a", "b", "c"]
    world.caller(X_Auth_Token="a")
    world.caller(X_Auth_Token="b")
    assert [token for token, _ in world.questions] == ["a", "b", "c", "b"]


def test_no_token_in_its_words() -> None:
    """Neither its repr nor its errors show a token."""
    world = World()
    world.caller(X_Auth_Token="good")
    assert "good" not in repr(world.identity)
    world.outcome = Unauthorized("Keystone does not accept the token of this request.")
    with pytest.raises(Unauthorized) as caught:
        world.caller(X_Auth_Token="s3cret")
    assert "s3cret" not in str(caught.value)


def test_a_caller_brings_the_token_of_the_request() -> None:
    """Whoever is asked on the caller's behalf gets it; it is remembered nowhere, nor shown."""
    world = World()
    callers = [world.caller(X_Auth_Token="good") for _ in range(2)]
    assert [caller.token for caller in callers] == ["good", "good"]
    assert len(world.questions) == 1
    assert "good" not in repr(callers)
    assert [known.token for _, known in world.identity._known.values()] == [None]
