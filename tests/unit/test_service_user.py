"""consoled.openstack.service_user: one token for all calls, and where services are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from attrs import define
from cloud import KEYSTONE, OWN_PROJECT, Cloud
from keystoneauth1.exceptions import Unauthorized

from consoled.openstack.service_user import (
    ABSENT_FOR,
    KNOWN_FOR,
    YOUNG,
    LoginFailed,
    OneCall,
    ServiceUser,
)
from consoled.options import load


@define
class World:
    """A cloud, consoled's own user in it, and a clock."""

    cloud: Cloud
    own: ServiceUser
    now: float = 1000.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One without anything asked yet."""
    cloud = Cloud()
    now: Callable[[], float] = lambda: made.now  # noqa: E731  # It needs what is made with it.
    made = World(cloud, cloud.user(tmp_path / "c.conf", now))
    return made


def test_one_token_for_all(world: World) -> None:
    """It is fetched when it is first needed, and once."""
    assert world.cloud.logins == 0
    assert {world.own.token() for _ in range(5)} == {"own-1"}
    assert world.cloud.logins == 1


def test_a_token_that_is_about_to_expire(world: World) -> None:
    """A new one is fetched before services would refuse the old one."""
    world.cloud.life = 60.0
    assert [world.own.token(), world.own.token()] == ["own-1", "own-2"]


def test_a_refused_token_is_fetched_anew_once(world: World) -> None:
    """Of several calls that had the refused one, the first fetches, and the others find it."""
    token = world.own.token()
    world.now += YOUNG
    assert [world.own.refused(token) for _ in range(3)] == [True, True, True]
    assert (world.own.token(), world.cloud.logins) == ("own-2", 2)
    assert world.own.refused(token)
    assert (world.own.token(), world.cloud.logins) == ("own-2", 2)


def test_a_young_token_is_not_given_up(world: World) -> None:
    """Whoever sends bad tokens of users cannot make consoled log in each time."""
    token = world.own.token()
    assert not world.own.refused(token)
    assert world.own.token() == token


def test_one_renewal_a_call(world: World) -> None:
    """One call fetches one new token at most, however often it is refused."""
    call = OneCall(world.own)
    assert not call.invalidate()
    call.get_token(world.own.session)
    world.now += YOUNG
    assert call.invalidate()
    call.get_token(world.own.session)
    world.now += YOUNG
    assert not call.invalidate()
    assert world.cloud.logins == 2


def test_the_catalog_is_remembered(world: World) -> None:
    """It is looked at when it is old; one that lacked a service sooner."""

    def looks() -> int:
        return sum(one.url.endswith("/auth/catalog") for one in world.cloud.sent)

    for _ in range(3):
        assert world.own.url("image", "demo") == "http://glance:9292/v2"
    assert looks() == 1
    assert world.own.url("network", "demo") is None
    assert looks() == 1
    world.cloud.catalog["network"] = "http://neutron:9696"
    world.now += ABSENT_FOR + 1
    assert world.own.url("network", "demo") == "http://neutron:9696/v2.0"
    assert looks() == 2
    world.now += KNOWN_FOR
    del world.cloud.catalog["image"]
    assert world.own.url("image", "demo") == "http://glance:9292/v2"
    world.now += 1
    assert world.own.url("image", "demo") is None
    assert world.cloud.logins == 1


def test_a_catalog_for_a_token_that_was_taken_back(world: World) -> None:
    """The catalog is asked again with a new token."""
    world.own.token()
    world.cloud.good.clear()
    world.now += YOUNG
    assert world.own.url("image", None) == "http://glance:9292/v2"
    assert world.cloud.logins == 2


def test_cinders_old_endpoint(world: World) -> None:
    """The project in it is that of whoever is asked about."""
    world.cloud.catalog = {"volumev3": f"http://cinder:8776/v3/{OWN_PROJECT}"}
    assert world.own.url("block-storage", "demo") == "http://cinder:8776/v3/demo"
    assert world.own.own_url("block-storage") == f"http://cinder:8776/v3/{OWN_PROJECT}"


@pytest.mark.parametrize("status", [401, 503])
def test_a_login_that_fails(world: World, status: int) -> None:
    """Keystone's no, and its silence, are told apart by the cause; the password is in neither."""
    world.cloud.login = status
    with pytest.raises(LoginFailed) as caught:
        world.own.token()
    assert isinstance(caught.value.__cause__, Unauthorized) == (status == 401)
    with pytest.raises(LoginFailed):
        world.own.url("image", None)
    assert "sesame" not in repr(caught.value) + repr(world.own) + repr(caught.value.__cause__)


def test_a_region_and_an_interface(tmp_path: Path) -> None:
    """Only what the section names is asked."""
    cloud = Cloud()
    for more, found in (
        ("region_name = RegionOne\n", True),
        ("region_name = RegionTwo\n", False),
        ("valid_interfaces = admin\n", False),
        ("valid_interfaces = admin, public\n", True),
    ):
        own = cloud.user(tmp_path / "c.conf", lambda: 0.0, more)
        assert (own.url("image", None) is not None) == found, more


def test_services_leave_nothing_behind(tmp_path: Path) -> None:
    """A cookie that comes with one user's answer does not go with another's question."""
    own = Cloud().user(tmp_path / "c.conf", lambda: 0.0)
    jar = own.session.session.cookies
    jar.set_cookie_if_ok(
        requests.cookies.create_cookie("id", "mia", domain="glance"),
        requests.cookies.MockRequest(requests.Request("GET", "http://glance/").prepare()),
    )
    assert len(jar) == 0
    assert own.session.timeout == 30.0
    assert own.session.redirect == 3


def test_the_user_of_keystone_authtoken(tmp_path: Path) -> None:
    """It is consoled's own where [service_user] names nobody; without Keystone there is none."""
    path = tmp_path / "c.conf"
    path.write_text("")
    assert ServiceUser.of(load("cell1", [path], {}), lambda: 0.0) is None
    path.write_text(
        "[api]\nauth_strategy = keystone\n[keystone_authtoken]\nauth_type = password\n"
        f"auth_url = {KEYSTONE}\nusername = consoled\npassword = sesame\n"
        "user_domain_id = default\nproject_name = service\nproject_domain_id = default\n"
        "interface = admin\nregion_name = RegionTwo\nhttp_connect_timeout = 7\n"
        "[service_user]\ntimeout = 9\n"
    )
    own = ServiceUser.of(load("cell1", [path], {}), lambda: 0.0)
    assert own is not None
    assert (own.interfaces, own.region) == (("admin", "internal", "public"), "RegionTwo")
    assert own.session.timeout == 7


def test_the_region_of_keystone_authtoken(tmp_path: Path) -> None:
    """It is the region of all services, unless [service_user] names another one."""
    path = tmp_path / "c.conf"
    for more, region in (("", "RegionTwo"), ("region_name = RegionOne\n", "RegionOne")):
        path.write_text(
            "[api]\nauth_strategy = keystone\n[service_user]\nauth_section = keystone_authtoken\n"
            f"{more}[keystone_authtoken]\nauth_type = password\nauth_url = {KEYSTONE}\n"
            "username = consoled\npassword = sesame\nregion_name = RegionTwo\n"
        )
        own = ServiceUser.of(load("cell1", [path], {}), lambda: 0.0)
        assert own is not None
        assert own.region == region
