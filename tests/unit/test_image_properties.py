"""Which properties an instance's image has: the domain's metadata, the request, then services."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field
from domain_lab import NOVA, WEB, ListedPorts, configurator, domain_xml, hypervisor, xml_of
from fakes import result
from image_lab import MIA, FakeCalls, FakeImages
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.image_source import Said
from consoled.compute.libvirt.configuring import Wish
from consoled.compute.libvirt.serial_devices import follows_image
from consoled.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ServiceAbsent,
    ServiceRefused,
    TokenRefused,
    Unavailable,
)
from consoled.openstack import cinder, glance
from consoled.openstack.images import SOON, ImageProperties

IMAGE = "7899d69a-dcb4-4634-b8f1-c25df4813035"
SILENT = NOVA.replace("<nova:property name='hw_serial_port_count'>2</nova:property>", "")
FROM_VOLUME = SILENT.replace(IMAGE, "")
"""As a recent nova writes it: an image without an id."""
ROOTED = (
    "<nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.0'>"
    f"<nova:root type='image' uuid='{IMAGE}'/></nova:instance>"
)
"""As an older one does, without any properties."""


def domain(metadata: str = "") -> str:
    """A domain with that metadata of nova's."""
    return domain_xml(nova=True).replace(NOVA, metadata)


def asks(said: Said | Exception) -> FakeImages:
    """Somebody who can be asked."""
    return FakeImages(said)


TWO = Said({"hw_serial_port_count": "2"})


@pytest.mark.parametrize(
    ("metadata", "image"),
    [
        (SILENT, IMAGE),
        (ROOTED, IMAGE),
        (FROM_VOLUME, None),
        (ROOTED.replace(IMAGE, "../../v2/images"), None),
        ("", None),
    ],
)
def test_the_metadata_lacks_them(metadata: str, image: str | None) -> None:
    """Glance is asked for the image that nova names; what has no id of one boots a volume."""
    images = asks(TWO)
    with hypervisor(domain(metadata)):
        change = result(configurator().enable(WEB, Wish(force=True), images.of))
    assert images.asked == [(WEB, image)]
    assert len(change.ports) == 2


@pytest.mark.parametrize(
    "wish",
    [Wish(ports=3, force=True), Wish(image={"serial_ports": "3"}, force=True)],
)
def test_the_request_wins(wish: Wish) -> None:
    """Nobody is asked, so nobody who is away is in the way."""
    images = asks(Unavailable("away"))
    with hypervisor(domain(SILENT)):
        assert len(result(configurator().enable(WEB, wish, images.of)).ports) == 3
    assert images.asked == []


def test_the_metadata_wins() -> None:
    """What nova has written there is what it goes by."""
    images = asks(Said({"hw_serial_port_count": "1"}))
    with hypervisor(domain_xml(nova=True)):
        assert len(result(configurator().enable(WEB, Wish(force=True), images.of)).ports) == 2
    assert images.asked == []


def test_other_properties_of_a_request() -> None:
    """They say nothing of serial ports, so the image's own are asked for."""
    images = asks(TWO)
    with hypervisor(domain()):
        wish = Wish(image={"os_type": "linux"})
        assert len(result(configurator().enable(WEB, wish, images.of)).ports) == 2


def test_the_flavor_caps_them() -> None:
    """Also what a service says."""
    images = asks(Said({"serial_ports": "4"}))
    ports = ListedPorts()
    with hypervisor(domain(SILENT)), pytest.raises(BadRequest, match="the flavor allows 3"):
        result(configurator(ports).enable(WEB, Wish(force=True), images.of))
    assert ports.reserved == []


@pytest.mark.parametrize("error", [Unavailable("Glance is away."), TokenRefused("Expired.")])
def test_who_knows_does_not_answer(error: Exception) -> None:
    """The domain is as it was, and no port is taken."""
    ports = ListedPorts()
    with hypervisor(domain()) as connection:
        before = xml_of(connection)
        with pytest.raises(type(error)):
            result(configurator(ports).enable(WEB, Wish(), asks(error).of))
        assert xml_of(connection) == before
    assert ports.reserved == []


def test_who_may_not_is_told_before_anybody_is_asked() -> None:
    """A domain of nova's that is not to be changed costs no call."""
    images = asks(TWO)
    with hypervisor(domain(SILENT)), pytest.raises(Conflict, match="managed by nova"):
        result(configurator().enable(WEB, Wish(), images.of))
    assert images.asked == []


def test_nothing_is_known() -> None:
    """It is one port, and whoever asked is told why."""
    images = asks(Said(warning="The image is gone."))
    with hypervisor(domain()):
        change = result(configurator().enable(WEB, Wish(), images.of))
    assert (len(change.ports), change.warnings) == (1, ("The image is gone.",))


def test_others_do_not_wait() -> None:
    """While somebody's question is open, other domains of the host are configured."""
    waiting: Deferred[Said] = Deferred()
    other = WEB[:-1] + "2"
    with hypervisor(domain(), domain_xml("web-2", other)):
        domains = configurator()
        first = domains.enable(WEB, Wish(), lambda uuid, image_id: waiting)
        assert result(domains.enable(other, Wish())).changed
        waiting.callback(TWO)
        assert len(result(first).ports) == 2


def test_it_follows_its_image() -> None:
    """The domain notes whether its number is the image's; disabling leaves nothing of that."""
    with hypervisor(domain()) as connection:
        before, domains = xml_of(connection), configurator()
        result(domains.enable(WEB, Wish(), asks(TWO).of))
        assert follows_image(xml_of(connection))
        result(domains.enable(WEB, Wish(ports=2)))
        assert not follows_image(xml_of(connection))
        result(domains.enable(WEB, Wish(image={"serial_ports": 2})))
        assert not follows_image(xml_of(connection))
        result(domains.enable(WEB, Wish()))
        assert follows_image(xml_of(connection))
        result(domains.disable(WEB))
        assert xml_of(connection) == before


def test_planned_again() -> None:
    """What its image asks for by now is added, as the ports that are there are made."""
    with hypervisor(domain()) as connection:
        ports = ListedPorts()
        domains = configurator(ports)
        result(domains.enable(WEB, Wish(log=True, tls=True), asks(Said()).of))
        change = result(domains.replan(WEB, asks(TWO).of))
        assert change is not None
        assert change.changed
        assert [(port.index, port.tls, bool(port.log)) for port in change.ports] == [
            (0, True, True),
            (1, True, True),
        ]
        assert follows_image(xml_of(connection))
        again = result(domains.replan(WEB, asks(TWO).of))
        assert again is not None
        assert not again.changed


def test_what_is_not_planned_again() -> None:
    """A domain whose number somebody chose, one without ports of consoled's, a transient one."""
    images = asks(TWO)
    with hypervisor(domain_xml()) as connection:
        domains = configurator()
        assert result(domains.replan(WEB, images.of)) is None
        result(domains.enable(WEB, Wish(ports=1)))
        assert result(domains.replan(WEB, images.of)) is None
        transient = connection.createXML(domain_xml("web-2", WEB[:-1] + "2"))
        try:
            assert result(domains.replan("web-2", images.of)) is None
        finally:
            transient.destroy()
    assert images.asked == []


def test_no_port_for_what_is_planned_again() -> None:
    """A refusal leaves the domain, and the books, as they were."""
    ports = ListedPorts()
    with hypervisor(domain()) as connection:
        result(configurator(ports).enable(WEB, Wish()))
        before, reserved = xml_of(connection), list(ports.reserved)
        with pytest.raises(TokenRefused):
            result(configurator(ports).replan(WEB, asks(TokenRefused("Expired.")).of))
        assert (xml_of(connection), ports.reserved) == (before, reserved)


@define
class World:
    """Glance and Cinder that say different things."""

    calls: FakeCalls = field(factory=lambda: FakeCalls({"image": "glance", "block-storage": "c"}))
    seen: list[tuple[str, str]] = field(factory=list)

    def ask(self, image_id: str | None = None) -> Any:
        """What is said of web-1's image."""
        question = ImageProperties(self.calls, Clock()).asking(MIA)
        assert question is not None
        return result(question(WEB, image_id))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Its services are asked as their modules ask them."""
    made = World()

    def image_properties(adapter: str, image_id: str) -> dict[str, str]:
        made.seen.append((adapter, image_id))
        return {"serial_ports": "3"}

    def boot_volume(adapter: str, uuid: str) -> Any:
        made.seen.append((adapter, uuid))
        return SimpleNamespace(image={"serial_ports": "4"})

    monkeypatch.setattr(glance, "image_properties", image_properties)
    monkeypatch.setattr(cinder, "boot_volume", boot_volume)
    return made


def test_whom_it_asks(world: World) -> None:
    """Glance about an image, Cinder about an instance without one, with the user's rights."""
    assert world.ask(IMAGE) == Said({"serial_ports": "3"})
    assert world.ask() == Said({"serial_ports": "4"})
    assert world.seen == [("glance", IMAGE), ("c", WEB)]
    assert world.calls.asked == [("image", MIA), ("block-storage", MIA)]


def test_not_booted_from_a_volume(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known then, and nothing is wrong."""
    monkeypatch.setattr(cinder, "boot_volume", lambda adapter, uuid: None)
    assert world.ask() == Said()


def test_nobody_s_rights(world: World) -> None:
    """With an API key there is no user's token to ask with."""
    assert ImageProperties(world.calls, Clock()).asking(None) is None


def test_what_they_refuse(world: World) -> None:
    """Absent services change nothing; a gone image is a warning; the rest says what to do."""
    world.calls.refused = ServiceAbsent("no Glance")
    assert world.ask(IMAGE) == Said()
    for gone in (NotFound("Glance has no such image."), Forbidden("Not yours.")):
        world.calls.refused = gone
        said = world.ask()
        assert said.properties == {}
        assert str(gone) in said.warning
        assert "Ask for a number of ports" in said.warning
    for error in (Unavailable("Glance is away."), ServiceRefused("Glance says 406.")):
        world.calls.refused = error
        with pytest.raises(type(error), match=r"Glance .* ask for a number of ports\."):
            world.ask(IMAGE)
    world.calls.refused = TokenRefused("Glance does not take it.")
    with pytest.raises(TokenRefused):
        world.ask(IMAGE)


@pytest.mark.parametrize(("image_id", "name"), [(IMAGE, "Glance"), (None, "Cinder")])
def test_nobody_waits_for_ever(image_id: str | None, name: str) -> None:
    """A request ends while a service is still asked again and again; a migration has time."""
    clock, asked = Clock(), list[Deferred[Said]]()

    def ask(*what: object) -> Deferred[Said]:
        asked.append(Deferred())
        return asked[-1]

    calls: Any = SimpleNamespace(ask=ask)
    images = ImageProperties(calls, clock)
    soon, later = images.asking_soon(MIA), images.asking(MIA)
    assert soon is not None
    assert later is not None
    answer, patient = soon(WEB, image_id), later(WEB, image_id)
    clock.advance(SOON)
    with pytest.raises(Unavailable, match=f"{name} did not say within 20 seconds"):
        result(answer)
    asked[1].callback(TWO)
    assert result(patient) == TWO
