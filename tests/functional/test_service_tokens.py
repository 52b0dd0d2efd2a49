"""Real Glance, Cinder and Neutron, asked for a user whose token has expired meanwhile.

Each request goes out as consoled sends it (:class:`consoled.openstack.calls.ServiceCalls`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from keystoneauth1.adapter import Adapter
from requests import Response
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from consoled.errors import TokenRefused
from consoled.openstack.calls import ServiceCalls
from consoled.openstack.cinder import volume_image_metadata
from consoled.openstack.glance import image_properties
from consoled.openstack.service_user import YOUNG, ServiceUser
from consoled.openstack.values import UserToken
from consoled.options import load
from consoled.workers import InlineWorker
from tools.lab.cinder import Cinder
from tools.lab.daemon import render_config
from tools.lab.glance import Glance
from tools.lab.keystone import Keystone, User
from tools.lab.neutron import Neutron

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PORTS = {"hw_serial_port_count": "3"}
ADDRESS = "10.0.0.17"
KINDS = ("image", "block-storage", "network")
PLACES = {"image": "/images", "block-storage": "/volumes", "network": "/ports"}
WINDOW = 172800
"""Seconds for which Keystone takes an expired token with a service's word, as is its default."""


@define
class Own:
    """One consoled: its calls, and what they sent.

    :ivar sent: the answers to all requests, which name these.
    """

    calls: ServiceCalls
    clock: Clock
    sent: list[Response] = field(factory=list)

    def ask(self, kind: str, user: UserToken | None, fn: Callable[[Adapter], Any]) -> Any:
        """What the service answers.

        :raises consoled.errors.ConsoledError: what becomes of its refusal.
        """
        return outcome(self.calls.ask(kind, user, fn))

    def logins(self) -> int:
        """How often Keystone was asked for a token."""
        return sum(answer.url.endswith("/auth/tokens") for answer in self.sent)

    def tokens(self) -> tuple[str | None, str | None]:
        """The user's and the service's token of the last request."""
        headers = self.sent[-1].request.headers
        return headers.get("X-Auth-Token"), headers.get("X-Service-Token")


@define
class World:
    """A cloud, somebody who has a bit of everything in it, and questions about that.

    :ivar questions: by the kind of service: what to ask, and the right answer.
    """

    keystone: Keystone
    folder: Path
    mia: User
    mo: User
    service: User
    admin: User
    questions: dict[str, tuple[Callable[[Adapter], Any], Any]]

    def own(self, user: User, *, vouch: bool = True) -> Own:
        """A consoled whose ``[service_user]`` is this one."""
        path = self.folder / f"{user.name}.conf"
        section = {
            "auth_type": "password",
            "auth_url": self.keystone.url,
            "username": user.name,
            "password": user.password,
            "project_name": user.project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        }
        path.write_text(render_config({"service_user": section}))
        clock = Clock()
        found = ServiceUser.of(load("cell1", [path], {}), clock.seconds)
        assert found is not None
        worker = InlineWorker()
        own = Own(ServiceCalls(found, vouch, short=worker, long=worker, clock=clock), clock)
        found.session.session.hooks["response"].append(lambda r, *_, **__: own.sent.append(r))
        return own

    def token(self, life: float | None = None) -> UserToken:
        """A token of mia's; see :meth:`tools.lab.keystone.Keystone.token`."""
        return UserToken(self.keystone.token(self.mia, life), self.mia.project_id, self.mia.id)


def outcome(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One cloud for all tests."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")))
        keystone = stack.enter_context(Keystone(short / "keystone"))
        demo = keystone.project("demo")
        mia, mo = (keystone.user(name, "demo", demo, ["member"]) for name in ("mia", "mo"))
        admin = keystone.service_user("consoled")
        glance = stack.enter_context(Glance(short / "glance", keystone))
        cinder = stack.enter_context(Cinder(short / "cinder", keystone))
        neutron = stack.enter_context(Neutron(short / "neutron", keystone))
        image = glance.image(mia, properties=PORTS)
        volume = cinder.volume(mia, server=WEB, image_properties=PORTS)
        network = neutron.network(mia, "10.0.0.0/24")
        neutron.plug(mia, network, WEB, [ADDRESS])
        yield World(
            keystone,
            tmp_path_factory.mktemp("conf"),
            mia=mia,
            mo=mo,
            service=keystone.user("vouching", "service", admin.project_id, ["service"]),
            admin=admin,
            questions={
                "image": (lambda adapter: image_properties(adapter, image), PORTS),
                "block-storage": (lambda adapter: volume_image_metadata(adapter, volume), PORTS),
                "network": (first_address, ADDRESS),
            },
        )


def first_address(adapter: Adapter) -> Any:
    """What Neutron has given to the instance."""
    [port] = adapter.get("/ports", params={"device_id": WEB}).json()["ports"]
    return port["fixed_ips"][0]["ip_address"]


@pytest.mark.parametrize("kind", KINDS)
def test_expired_token(world: World, kind: str) -> None:
    """An expired token is refused alone, counts with a service's word, and not with anybody's."""
    question, answer = world.questions[kind]
    alone = world.own(world.service, vouch=False)
    vouched = world.own(world.service)
    ordinary = world.own(world.mo)
    for own in (alone, vouched):
        fresh = world.token()
        assert own.ask(kind, fresh, question) == answer
        assert own.tokens()[0] == fresh.value
    assert alone.tokens()[1] is None
    expired = world.token(-5)
    for own in (alone, ordinary):
        with pytest.raises(TokenRefused, match="expired or was taken back"):
            own.ask(kind, expired, question)
    # keystonemiddleware says of such a word: "not a valid service token".
    assert ordinary.tokens()[1] not in (None, expired.value)
    assert vouched.ask(kind, expired, question) == answer
    user, service = vouched.tokens()
    assert user == expired.value
    assert service not in (None, user)


@pytest.mark.parametrize("kind", KINDS)
def test_word_counts_for_a_while(world: World, kind: str) -> None:
    """A service's word counts as long as Keystone's window says, and never for a revoked token."""
    question, answer = world.questions[kind]
    own = world.own(world.service)
    assert own.ask(kind, world.token(60 - WINDOW), question) == answer
    with pytest.raises(TokenRefused):
        own.ask(kind, world.token(-60 - WINDOW), question)
    revoked = world.token()
    world.keystone.revoke(revoked.value)
    with pytest.raises(TokenRefused):
        own.ask(kind, revoked, question)


@pytest.mark.parametrize("kind", KINDS)
def test_as_ourselves(world: World, kind: str) -> None:
    """A call of consoled's own carries neither a user's token nor a service token."""
    own = world.own(world.admin)
    assert own.ask(kind, None, lambda adapter: adapter.get(PLACES[kind]).status_code) == 200
    user, service = own.tokens()
    assert service is None
    assert own.ask(kind, world.token(-5), world.questions[kind][0]) == world.questions[kind][1]
    assert own.tokens()[1] == user


def test_one_service_token(world: World) -> None:
    """It is fetched once for all services, and again when it is refused."""
    own = world.own(world.service)
    expired = world.token(-5)
    for kind, (question, answer) in world.questions.items():
        assert own.ask(kind, expired, question) == answer
    assert own.logins() == 1
    first = own.tokens()[1]
    assert first is not None
    world.keystone.revoke(first)
    own.clock.advance(2 * YOUNG)
    for kind, (question, answer) in world.questions.items():
        assert own.ask(kind, expired, question) == answer
    assert own.logins() == 2
    assert own.tokens()[1] not in (None, first)
