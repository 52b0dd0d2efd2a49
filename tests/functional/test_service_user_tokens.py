"""consoled's own user with a real Keystone and a real Glance: how often Keystone is asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from attrs import define, field
from keystoneauth1.adapter import Adapter
from requests.adapters import HTTPAdapter
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from consoled.errors import Unavailable
from consoled.openstack.calls import ServiceCalls
from consoled.openstack.service_user import YOUNG, ServiceUser
from consoled.openstack.values import UserToken
from consoled.options import load
from consoled.workers import InlineWorker
from tools.lab.glance import Glance
from tools.lab.keystone import Keystone, User

T = TypeVar("T")


class Counting(HTTPAdapter):
    """A session's connections, which count the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **further: Any) -> Any:
        """Sends it."""
        self.seen.append(f"{request.method} {request.path_url}")
        return super().send(request, *args, **further)

    @property
    def logins(self) -> int:
        """How often consoled's own user has logged in."""
        return self.seen.count("POST /v3/auth/tokens")


@define
class World:
    """A Keystone, a Glance behind it, and a user whose token has expired."""

    keystone: Keystone
    own: User
    image_id: str
    expired: UserToken
    folder: Path
    clock: Clock = field(factory=Clock)

    def calls(
        self, *, vouch: bool = True, own: User | None = None
    ) -> tuple[ServiceCalls, Counting]:
        """What consoled asks with, its configuration read, and what counts that."""
        own = own or self.own
        path = self.folder / "consoled.conf"
        path.write_text(
            f"[service_user]\nsend_service_user_token = {vouch}\nauth_type = password\n"
            f"auth_url = {self.keystone.url}\nusername = {own.name}\npassword = {own.password}\n"
            f"project_name = {own.project}\nuser_domain_id = default\n"
            "project_domain_id = default\nregion_name = RegionOne\n"
        )
        settings = load("cell1", [path], {})
        user = ServiceUser.of(settings, self.clock.seconds)
        assert user is not None
        counting = Counting()
        user.session.session.mount("http://", counting)
        vouches = settings.service_user.send_service_user_token
        worker = InlineWorker()
        return ServiceCalls(user, vouches, worker, worker, self.clock), counting

    def image(self, adapter: Adapter) -> str:
        """Asks for the image."""
        return str(adapter.get(f"/images/{self.image_id}").json()["name"])


def found(deferred: Deferred[T]) -> T:
    """What a Deferred holds that has fired."""
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    [one] = outcome
    if isinstance(one, Failure):
        one.raiseException()
    value: T = one
    return value


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")))
        keystone = stack.enter_context(Keystone(short / "k"))
        glance = stack.enter_context(Glance(short / "g", keystone))
        demo = keystone.project("demo")
        mia = keystone.user("mia", "demo", demo, ["member"])
        yield World(
            keystone,
            keystone.service_user("consoled"),
            glance.image(mia, "cirros"),
            UserToken(keystone.token(mia, life=-5), demo, mia.id),
            tmp_path_factory.mktemp("conf"),
        )


def test_one_token_for_all_calls(world: World) -> None:
    """Several calls on behalf of a user whose token has expired cost one login, and one look at
    the catalog; Glance checks for itself what it gets."""
    calls, counting = world.calls()
    names = {found(calls.ask("image", world.expired, world.image)) for _ in range(3)}
    assert names == {"cirros"}
    asked_keystone = [one for one in counting.seen if "/images/" not in one]
    assert sorted(asked_keystone) == ["GET /v3", "GET /v3/auth/catalog", "POST /v3/auth/tokens"]


def test_threads_do_not_stampede(world: World) -> None:
    """Whoever needs the token while it is fetched waits for it, and so it is when it is refused."""
    calls, counting = world.calls()
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: calls.own.token(), range(16)))
        assert (len(tokens), counting.logins) == (1, 1)
        world.clock.advance(YOUNG)
        [token] = tokens

        def again(_: int) -> str:
            calls.own.refused(token)
            return calls.own.token()

        assert len(set(pool.map(again, range(16)))) == 1
    assert counting.logins == 2


def test_a_service_token_that_is_taken_back(world: World) -> None:
    """It is fetched again once, and the call succeeds."""
    calls, counting = world.calls()
    assert found(calls.ask("image", world.expired, world.image)) == "cirros"
    world.keystone.revoke(calls.own.token())
    world.clock.advance(YOUNG)
    assert found(calls.ask("image", world.expired, world.image)) == "cirros"
    assert counting.logins == 2


def test_a_disabled_user_of_consoleds(world: World) -> None:
    """Keystone's refusal of consoled itself is the operator's to mend, and not repeated."""
    zoe = world.keystone.user("zoe", "demo", world.expired.project_id or "", ["member"])
    world.keystone.enable(zoe, enabled=False)
    calls, counting = world.calls(own=zoe)
    with pytest.raises(Unavailable, match=r"Keystone does not let consoled's own user in"):
        found(calls.ask("image", world.expired, world.image))
    assert counting.logins == 1


def test_near_the_end_of_a_token(world: World) -> None:
    """A token that has less time left than keystoneauth wants is not used any more."""
    calls, counting = world.calls()
    first = calls.own.token()
    calls.own._plugin.MIN_TOKEN_LIFE_SECONDS = 3601
    assert calls.own.token() != first
    assert counting.logins == 2


def test_a_service_that_is_not_there(world: World) -> None:
    """Keystone's catalog decides what there is."""
    calls, _ = world.calls()
    assert found(calls.has("image"))
    assert not found(calls.has("network"))
