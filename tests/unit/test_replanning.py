"""consoled.compute.migration.replanning: a domain's ports, planned again where it has come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, evolve, field
from domain_lab import ListedPorts, configurator, domain_xml, hypervisor, xml_of
from fakes import result
from image_lab import MIA, FakeImages, FakeKeeper
from migration_lab import UUID, WEB, FakeEngine, FakePorts, FakeSite
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from consoled.compute.image_source import Said
from consoled.compute.libvirt.configuring import Wish
from consoled.compute.migration.migrator import Migrator
from consoled.compute.migration.parts import HostMigrations
from consoled.compute.migration.replanning import LONGEST, Replanning
from consoled.compute.migration.values import Migration, MigrationEnded, State, migration_view
from consoled.errors import SocketPortRangeExhausted, TokenRefused, Unavailable
from consoled.openstack.values import UserToken

OPERATION = f"migration:me:{UUID}"


@define(eq=False)
class World:
    """A domain that follows its image, about to leave kvm1 for libvirt's test hypervisor."""

    images: FakeImages = field(factory=lambda: FakeImages(Said({"serial_ports": "2"})))
    keeper: FakeKeeper = field(factory=FakeKeeper)
    engine: FakeEngine = field(factory=FakeEngine)
    here: FakeSite = field(factory=lambda: FakeSite("kvm1", FakePorts(10000)))
    there: FakeSite = field(factory=lambda: FakeSite("kvm2", FakePorts(20000)))
    ports: ListedPorts = field(factory=ListedPorts)
    replanning: Replanning = field(init=False)
    migrator: Migrator = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.replanning = Replanning(self.images, self.keeper, "me")
        self.migrator = Migrator(self.engine)

    def configured(self, connection: Any, ports: int | None = None) -> str:
        """The domain's persistent XML, as many ports as were asked for."""
        plain = Wish(ports=ports)
        result(configurator(self.ports).enable(UUID, plain))
        kept = xml_of(connection, UUID)
        self.engine.found = evolve(WEB, kept=kept)
        return kept

    def start(self, user: UserToken | None = MIA) -> Migration:
        """Begins a migration of that user's."""
        afterwards = self.replanning.of(user, lambda: configurator(self.ports))
        here, there = self.here.site(), self.there.site()
        return result(self.migrator.start(UUID, here, there, None, afterwards))

    def end(self, outcome: Exception | None = None) -> Migration:
        """The migration comes to its end."""
        if outcome is None:
            self.engine.running.callback(None)
        else:
            self.engine.running.errback(outcome)
        return result(self.migrator.find(UUID, "web-1", None))


@pytest.fixture
def world() -> World:
    """Everything in memory."""
    return World()


def domain() -> str:
    """The domain before it was configured."""
    return domain_xml(uuid=UUID)


def test_hours_later(world: World) -> None:
    """The kept token asks, the port comes from the new host, and then the token is gone."""
    with hypervisor(domain()) as connection, capturedLogs() as events:
        world.configured(connection)
        assert world.start().state is State.MIGRATING
        assert world.keeper.kept == {OPERATION: MIA}
        assert world.keeper.seconds == LONGEST
        assert world.images.asked == []
        ended = world.end()
        assert "service='10001'" in xml_of(connection, UUID)
    assert ended.state is State.COMPLETED
    assert ended.warnings == ("It has 2 serial ports from its next start on, as its image says.",)
    assert migration_view(ended)["warnings"] == list(ended.warnings)
    assert world.images.users == [MIA]
    assert world.images.asked == [(UUID, None)]
    assert world.keeper.kept == {}
    [told] = [one for one in events if one.get("event") == "serial_ports_replanned"]
    assert (told["instance_uuid"], told["ports"]) == (UUID, "10000, 10001")
    assert not [one for one in events if MIA.value in str(one)]


def test_the_token_is_refused(world: World) -> None:
    """Its ports are as they were, no other one is taken, and the migration says why."""
    world.images.said = TokenRefused("Cinder does not take the user's token.")
    with hypervisor(domain()) as connection, capturedLogs() as events:
        kept = world.configured(connection)
        reserved = list(world.ports.reserved)
        world.start()
        ended = world.end()
        assert xml_of(connection, UUID) == kept
    assert ended.state is State.COMPLETED
    assert [one for one in ended.warnings if "Cinder does not take" in one]
    assert world.ports.reserved == reserved
    assert world.keeper.kept == {}
    assert [one for one in events if one.get("event") == "serial_ports_not_replanned"]


def test_no_port_is_left(world: World) -> None:
    """Nor is anything half-done where the new host has no port for it."""
    with hypervisor(domain()) as connection:
        kept = world.configured(connection)
        world.ports.free.clear()
        world.start()
        ended = world.end()
        assert xml_of(connection, UUID) == kept
    assert ended.state is State.COMPLETED
    assert "as they were" in ended.warnings[0]


def test_nothing_has_changed(world: World) -> None:
    """An image that asks for what there is makes no words."""
    world.images.said = Said({"serial_ports": "1"})
    with hypervisor(domain()) as connection:
        world.configured(connection)
        world.start()
        assert world.end().warnings == ()


@pytest.mark.parametrize(
    "outcome",
    [MigrationEnded("no room"), MigrationEnded("", cancelled=True), CancelledError()],
)
def test_it_does_not_come(world: World, outcome: Exception) -> None:
    """Nobody is asked then, the token is forgotten, and the reserved ports come back."""
    with hypervisor(domain()) as connection:
        world.configured(connection)
        world.start()
        assert world.end(outcome).state.over
    assert world.images.asked == []
    assert world.keeper.kept == {}
    if isinstance(outcome, MigrationEnded):
        assert world.there.ports.given == []


def test_it_does_not_even_begin(world: World) -> None:
    """Where no port is left for the domain as it is, no token stays either."""
    world.there.ports.full = True
    with hypervisor(domain()) as connection:
        world.configured(connection)
        with pytest.raises(SocketPortRangeExhausted):
            world.start()
    assert world.keeper.kept == {}


def test_only_what_follows_its_image(world: World) -> None:
    """No token is kept for a domain whose number somebody chose, nor for a transient one."""
    with hypervisor(domain()) as connection:
        world.configured(connection, ports=1)
        world.start()
        assert world.keeper.kept == {}
        assert world.end().warnings == ()
        world.engine.found = evolve(WEB, kept=None)
        world.start()
        assert world.keeper.kept == {}
        world.end()
    assert world.images.users == []


def test_without_a_user(world: World) -> None:
    """An API key has no token that could be kept, and the migration is as it was before."""
    with hypervisor(domain()) as connection:
        world.configured(connection)
        world.start(user=None)
        assert world.keeper.kept == {}
        assert world.end().state is State.COMPLETED


def test_the_token_is_not_kept_any_more(world: World) -> None:
    """After two days, say: the warning says so."""
    with hypervisor(domain()) as connection:
        world.configured(connection)
        world.start()
        world.keeper.kept.clear()
        assert "not kept any more" in world.end().warnings[0]


def test_the_database_is_away(world: World) -> None:
    """At the beginning it is an error; at the end it is told, and the migration is over."""
    with hypervisor(domain()) as connection:
        world.configured(connection)
        world.keeper.away = Unavailable("away")
        with pytest.raises(Unavailable):
            world.start()
        world.keeper.away = None
        world.start()
        world.keeper.away = Unavailable("away")
        with capturedLogs() as events:
            ended = world.end()
    assert ended.state is State.COMPLETED
    assert ended.warnings
    assert [one for one in events if "deleted when their time is over" in str(one)]


def test_an_error_of_our_own(world: World) -> None:
    """It is in the log, and the token goes nevertheless."""
    world.images.said = ZeroDivisionError()
    with hypervisor(domain()) as connection, capturedLogs() as events:
        world.configured(connection)
        world.start()
        assert "log says why" in world.end().warnings[0]
    assert [one for one in events if "log_failure" in one]
    assert world.keeper.kept == {}


def test_whoever_asked_goes_away(world: World) -> None:
    """A request that is given up while its ports are looked for leaves no token."""
    waiting: Deferred[list[int]] = Deferred()
    world.there.ports = SimpleNamespace(allocate=lambda uuid, indexes: waiting)  # type: ignore[assignment]  # all that is asked
    with hypervisor(domain()) as connection:
        world.configured(connection)
        afterwards = world.replanning.of(MIA, lambda: configurator(world.ports))
        here, there = world.here.site(), world.there.site()
        started = world.migrator.start(UUID, here, there, None, afterwards)
        assert world.keeper.kept == {OPERATION: MIA}
        started.cancel()
        with pytest.raises(CancelledError):
            result(started)
    assert world.keeper.kept == {}


def test_a_restart(world: World) -> None:
    """Tokens of this daemon's earlier migrations go when it starts; another daemon's stay."""
    theirs = f"migration:you:{UUID}"
    world.keeper.kept = {OPERATION: MIA, theirs: MIA, "archive:1": MIA}
    result(world.replanning.start())
    assert set(world.keeper.kept) == {theirs, "archive:1"}
    world.keeper.away = Unavailable("away")
    with capturedLogs() as events:
        result(world.replanning.start())
    assert [one for one in events if "earlier migrations" in str(one)]


def test_no_memory_of_the_token(world: World) -> None:
    """While the migration goes on, the token is nowhere but with the keeper."""
    replan = world.replanning.of(MIA, lambda: configurator(world.ports))
    assert replan is not None
    assert MIA.value not in repr(replan)
    with hypervisor(domain()) as connection:
        world.configured(connection)
        assert world.engine.found is not None
        assert result(replan.begin(world.engine.found))
    assert replan._user is None
    assert not result(replan.begin(world.engine.found))
    assert not result(world.replanning.of(MIA, configurator).begin(WEB))  # type: ignore[union-attr]  # there is one


def test_between_the_hosts_of_a_configuration(world: World) -> None:
    """The destination's own configurator plans; without replanning nothing is kept."""
    for replanning, kept in ((world.replanning, {OPERATION: MIA}), (None, {})):
        hosts: Any = [host("kvm1", world.here), host("kvm2", world.there)]
        hosts = Hosts(hosts)
        world.engine.found = evolve(WEB)
        with hypervisor(domain()) as connection:
            world.configured(connection)
            migrations = HostMigrations(hosts, Migrator(world.engine), replanning)
            instance: Any = SimpleNamespace(uuid=UUID, name="web-1", host="kvm1")
            result(migrations.start(instance, "kvm2", {}, MIA))
            assert world.keeper.kept == kept
            world.engine.running.callback(None)
        assert world.keeper.kept == {}


class Hosts(list[Any]):
    """Compute hosts, by their names."""

    def named(self, name: str) -> Any:
        """The one."""
        return next(one for one in self if one.name == name)


def host(name: str, site: FakeSite) -> Any:
    """A compute host, as far as it is asked."""
    looks = SimpleNamespace(keeper=SimpleNamespace(reconcile=site._look))
    return SimpleNamespace(
        name=name,
        uri=f"test://{name}",
        address="192.0.2.1",
        configured=SimpleNamespace(live_migration_uri=None, live_migration_inbound_addr=None),
        ports=SimpleNamespace(allocator=site.ports, keeper=looks.keeper),
        watch=looks,
        domains=SimpleNamespace(configurator=configurator(ListedPorts())),
    )
