"""consoled.openstack.calls: users' calls to other services, with and without a service's word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from attrs import define
from cells import memory_database
from cloud import SECTION, Cloud
from fakes import result
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import Unauthorized as KeystoneUnauthorized
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher

from consoled import errors
from consoled.log import render
from consoled.model import Caller
from consoled.openstack.calls import STOP_PATIENCE, ServiceCalls
from consoled.openstack.parts import OpenStackParts
from consoled.openstack.service_user import KNOWN_FOR, YOUNG
from consoled.openstack.values import UserToken
from consoled.options import load
from consoled.workers import InlineWorker

MIA = UserToken("mias-token", "demo", "mia")
FRESH = "fresh-token"


def image(adapter: Adapter) -> Any:
    """What most tests ask for."""
    return adapter.get("/images/1").json()["id"]


class Hung(InlineWorker):
    """A worker whose one call never comes back."""

    def __init__(self) -> None:
        self.given: list[Deferred[Any]] = []

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Never answers."""
        self.given.append(Deferred())
        return self.given[-1]

    def stop(self) -> Any:
        """Waits for the call."""
        return Deferred()


@define
class World:
    """A cloud, and what asks it."""

    cloud: Cloud
    clock: Clock
    calls: ServiceCalls
    events: list[LogEvent]

    def ask(self, user: UserToken | None = MIA, **further: Any) -> Deferred[Any]:
        """Asks Glance for the image."""
        return self.calls.ask("image", user, further.pop("fn", image), **further)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """A service vouches; Mia's token has expired."""
    cloud, clock, events = Cloud(), Clock(), []
    own = cloud.user(tmp_path / "c.conf", clock.seconds)
    cloud.expired.add(MIA.value)
    cloud.good.add(FRESH)
    calls = ServiceCalls(own, True, InlineWorker(), InlineWorker(), clock, jitter=lambda: 1 - 1e-9)
    globalLogPublisher.addObserver(events.append)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(events.append))
    calls.start()
    return World(cloud, clock, calls, events)


def test_an_expired_token_with_a_services_word(world: World) -> None:
    """The user's token goes as it is, and consoled's own beside it: one for all calls."""
    assert [result(world.ask()) for _ in range(3)] == ["1"] * 3
    [*asked] = world.cloud.to("glance")
    assert {(one.url, one.user, one.service) for one in asked} == {
        ("http://glance:9292/v2/images/1", MIA.value, "own-1")
    }
    assert world.cloud.logins == 1
    assert MIA.value not in {one.user for one in world.cloud.to("keystone")}


def test_without_a_services_word(world: World) -> None:
    """The expired token alone is refused, and what to do is said; a fresh one is taken."""
    world.calls.vouch = False
    with pytest.raises(errors.TokenRefused, match="has expired or was taken back") as caught:
        result(world.ask())
    assert MIA.value not in str(caught.value)
    assert result(world.ask(UserToken(FRESH, "demo", "mia"))) == "1"
    assert {one.service for one in world.cloud.to("glance")} == {None}


def test_consoleds_own_question(world: World) -> None:
    """An admin's call carries neither a user's token nor a service token."""
    assert result(world.ask(None)) == "1"
    assert [(one.user, one.service) for one in world.cloud.to("glance")] == [("own-1", None)]
    world.cloud.good.clear()
    with pytest.raises(errors.Unavailable, match="consoled's own user; look at its roles"):
        result(world.ask(None))


def test_a_service_token_that_was_taken_back(world: World) -> None:
    """It is fetched again, once, and the call succeeds."""
    result(world.ask())
    world.cloud.good.discard("own-1")
    world.clock.advance(YOUNG)
    assert result(world.ask()) == "1"
    assert world.cloud.logins == 2
    assert [one.service for one in world.cloud.to("glance")] == ["own-1", "own-1", "own-2"]


def test_a_refusal_after_the_refresh(world: World) -> None:
    """A token that no service's word helps is asked about twice, and not a third time."""
    result(world.ask())
    world.clock.advance(YOUNG)
    before = len(world.cloud.to("glance"))
    with pytest.raises(errors.TokenRefused):
        result(world.ask(UserToken("forged", "demo", "mia")))
    assert (len(world.cloud.to("glance")) - before, world.cloud.logins) == (2, 2)
    with pytest.raises(errors.TokenRefused):
        result(world.ask(UserToken("forged", "demo", "mia")))
    assert world.cloud.logins == 2


@pytest.mark.parametrize(
    "trouble",
    [
        500,
        503,
        429,
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ReadTimeout("silent"),
    ],
)
def test_troubles_that_pass(world: World, trouble: int | Exception) -> None:
    """Server errors, silence and broken connections are asked again after a while."""
    world.cloud.troubles = [trouble, trouble]
    asked = world.ask()
    assert not asked.called
    world.clock.pump([1.0, 2.0])
    assert result(asked) == "1"
    lines = [render(event) for event in world.events if event.get("event") == "service_asked_again"]
    assert len(lines) == 2
    assert MIA.value not in "".join(lines)


def test_troubles_that_stay(world: World) -> None:
    """After the last try the error names the service, and what it did."""
    world.cloud.troubles = [503] * 10
    asked = world.ask()
    world.clock.pump([1.0, 2.0, 4.0, 8.0, 16.0])
    with pytest.raises(errors.Unavailable, match=r"Glance .* answers with 503; try again"):
        result(asked)
    assert len(world.cloud.to("glance")) == 6
    assert not world.clock.getDelayedCalls()


def test_retry_after(world: World) -> None:
    """A service that says when it is back is not asked before."""
    world.cloud.troubles, world.cloud.retry_after = [503], 40
    asked = world.ask()
    world.clock.advance(39)
    assert not asked.called
    world.clock.advance(1)
    assert result(asked) == "1"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, errors.Forbidden, "Glance .* does not allow that to the user"),
        (404, errors.NotFound, "does not have what was asked for"),
        (409, errors.ServiceRefused, r"answers with 409: no, \*\*\*\.$"),
        (413, errors.ServiceRefused, "answers with 413"),
    ],
)
def test_refusals(world: World, status: int, kind: type[Exception], words: str) -> None:
    """What asking again would not change is told at once; no token is in the words."""
    world.cloud.troubles = [status]
    with pytest.raises(kind, match=words) as caught:
        result(world.ask())
    assert MIA.value not in str(caught.value)


def test_not_repeated(world: World) -> None:
    """A call that is not repeated fails with its first trouble."""
    world.cloud.troubles = [503]
    with pytest.raises(errors.Unavailable):
        result(world.ask(repeat=False))
    assert len(world.cloud.to("glance")) == 1


def test_a_stream_that_is_refused(world: World) -> None:
    """A body that cannot be sent twice is not; the next call has a new service token."""
    sent: list[bytes] = []

    def upload(adapter: Adapter) -> None:
        body = b"".join(iter([b"once"]))
        sent.append(body)
        adapter.put("/images/1/file", data=body, allow_reauth=False)

    result(world.ask())
    world.cloud.good.discard("own-1")
    world.clock.advance(YOUNG)
    with pytest.raises(errors.TokenRefused):
        result(world.ask(fn=upload, repeat=False))
    assert (sent, world.cloud.logins) == ([b"once"], 1)
    result(world.ask(fn=upload, repeat=False))
    assert world.cloud.logins == 2


def test_what_fn_says_itself_stays(world: World) -> None:
    """Errors of fn's own pass, and answers of its own to a service's errors, too."""

    def mine(adapter: Adapter) -> str:
        raise errors.Conflict("mine")

    def known(adapter: Adapter) -> str:
        try:
            return image(adapter)
        except KeystoneUnauthorized:
            return "known"

    with pytest.raises(errors.Conflict, match="mine"):
        result(world.ask(fn=mine))
    assert result(world.ask(UserToken("forged", None, None), fn=known)) == "known"


def test_keystone_away(world: World) -> None:
    """It is asked again, and the error says that it is Keystone who does not answer."""
    world.cloud.login = 503
    asked = world.ask()
    world.clock.advance(1)
    assert not asked.called
    world.cloud.login = 201
    world.clock.advance(2)
    assert result(asked) == "1"
    world.cloud.good.clear()
    world.clock.advance(400)
    world.cloud.login = 503
    asked = world.ask()
    world.clock.pump([1.0, 2.0, 4.0, 8.0, 16.0])
    with pytest.raises(errors.Unavailable, match=r"^Keystone answers with 503, so Glance"):
        result(asked)


def test_keystone_refuses_consoled(world: World) -> None:
    """That is the operator's to mend: it is said which section, and not asked again."""
    world.cloud.login = 401
    with pytest.raises(errors.Unavailable, match=r"look at \[service_user\]"):
        result(world.ask())
    assert not world.clock.getDelayedCalls()


def test_a_service_that_is_absent(world: World) -> None:
    """It is said once in the log what is left out, until the service has been there again."""
    assert not result(world.calls.has("network"))
    for _ in range(2):
        with pytest.raises(errors.ServiceAbsent, match="catalog has no endpoint of Neutron"):
            result(world.calls.ask("network", MIA, image))
    said = [event for event in world.events if event.get("event") == "service_absent"]
    assert [json.loads(render(event))["message"].split(". ")[1] for event in said] == [
        "Left out without it: the addresses that Neutron knows."
    ]
    assert result(world.calls.has("image"))


def test_cancelling(world: World) -> None:
    """Whoever does not want an answer any more ends the waits, too."""
    world.cloud.troubles = [503]
    asked = world.ask()
    asked.cancel()
    with pytest.raises(CancelledError):
        result(asked)
    assert not world.clock.getDelayedCalls()


def test_stopping(world: World) -> None:
    """What waits is told so, and nothing more is asked."""
    world.cloud.troubles = [503]
    asked = world.ask()
    result(world.calls.stop())
    for answer in (asked, world.ask(), world.calls.has("image")):
        with pytest.raises(errors.Unavailable, match="consoled is stopping"):
            result(answer)
    assert not world.clock.getDelayedCalls()


def test_stopping_with_a_hung_thread(world: World) -> None:
    """A service that never answers holds up no stop."""
    world.calls.long = Hung()
    asked = world.ask(repeat=False)
    ended = world.calls.stop()
    with pytest.raises(errors.Unavailable):
        result(asked)
    assert not ended.called
    world.clock.advance(STOP_PATIENCE)
    assert ended.called


def test_a_token_is_shown_nowhere() -> None:
    """Neither the caller nor what a call is made of has it in its repr."""
    caller = Caller("mia", "demo", token="mias-token")
    user = UserToken.of(caller)
    assert user == MIA
    assert "mias-token" not in repr(caller) + repr(user)
    assert UserToken.of(Caller("mia", "demo")) is None


def test_the_token_itself(world: World) -> None:
    """Whoever hands requests on gets the service token, and none while Keystone is away."""
    assert result(world.calls.service_token()) == "own-1"
    world.cloud.login = 503
    world.calls.own.refused("own-1")
    world.clock.advance(YOUNG)
    world.calls.own.refused("own-1")
    assert result(world.calls.service_token()) is None


def test_put_together(tmp_path: Path) -> None:
    """As the daemon has it: the token is for others only where consoled vouches."""
    path = tmp_path / "c.conf"
    for vouch in (True, False):
        path.write_text(f"{SECTION}send_service_user_token = {vouch}\n")
        made = OpenStackParts.of(load("cell1", [path], {}), MemoryReactorClock(), memory_database())
        assert made.calls is not None
        assert (made.service_token is not None, made.keeper, len(made.parts)) == (vouch, None, 1)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("away", "words"),
    [
        (503, "Keystone answers with 503"),
        (requests.exceptions.ConnectionError("refused"), "Keystone cannot be reached"),
        (requests.exceptions.ConnectTimeout("silent"), "Keystone does not answer in time"),
        (requests.exceptions.SSLError("unknown"), r"Keystone does not come to terms over TLS"),
    ],
)
def test_keystone_is_away_altogether(
    world: World, away: int | Exception, words: str, known: bool
) -> None:
    """From the first question on, or later: it is said what it does, and it is asked again."""
    if known:
        result(world.ask())
        world.clock.advance(KNOWN_FOR + 1)
    world.cloud.away = away
    asked = world.ask()
    world.clock.pump([1.0, 2.0, 4.0, 8.0, 16.0])
    with pytest.raises(errors.Unavailable, match=words):
        result(asked)
    world.cloud.away = None
    assert result(world.ask()) == "1"


def test_an_answer_that_is_none(world: World) -> None:
    """A page of somebody's in between is no answer of the service's."""
    world.cloud.page = True
    asked = world.ask()
    world.clock.pump([1.0, 2.0, 4.0, 8.0, 16.0])
    with pytest.raises(errors.Unavailable, match="gives an answer that cannot be used"):
        result(asked)
