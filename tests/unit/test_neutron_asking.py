"""Neutron among those who know addresses: on whose behalf, before whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from fake_neutron import FakeCalls, port
from fakes import ABSENT, WEB_1, FakeDriver, make_instance, result
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from consoled.db import node_groups as rows
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import (
    BackendUnreachable,
    Forbidden,
    ServiceAbsent,
    ServiceRefused,
    TokenRefused,
    Unavailable,
)
from consoled.model import SERIAL, SHELL, ConsoleAuthToken, Instance, InstanceState, hash_token
from consoled.openstack.networks import REST, Networks
from consoled.openstack.values import UserToken
from consoled.reaching.addresses import AllAddresses
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.reaching.book import GroupBook
from consoled.reaching.commands import ProxyCommand
from consoled.reaching.finding import CellWay, Destinations, RouteFinder, Rules
from consoled.reaching.logins import Logins
from consoled.reaching.values import Member, NodeGroup, Traits
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.ssh.values import Login, NoKeys, ProxyNode
from consoled.workers import InlineWorker

GATEWAY = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0010"
TIMEOUT = 4.0
MIA = UserToken("secret-mia", "demo", "mia")
ADA = UserToken("secret-ada", "ops", "ada")
MIAS = Behalf(MIA)

WEB = make_instance(WEB_1, "web-1", addresses=())
GATE = make_instance(GATEWAY, "gateway", addresses=())


@define(eq=False)
class Hypervisor:
    """What the driver knows of addresses.

    :ivar asked: how often.
    """

    known: tuple[str, ...] = ()
    error: Exception | None = None
    asked: int = 0

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The inventory's word first, as the drivers have it."""
        self.asked += 1
        if self.error is not None:
            return fail(self.error)
        return succeed(instance.addresses or self.known)


@define(eq=False)
class World:
    """Both, and what combines them."""

    clock: Clock = field(factory=Clock)
    calls: FakeCalls = field(factory=FakeCalls)
    hypervisor: Hypervisor = field(factory=Hypervisor)
    networks: Networks = field(init=False)
    all: AllAddresses = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.networks = Networks(self.calls, self.clock, TIMEOUT)
        self.all = AllAddresses(self.hypervisor, self.networks)
        self.calls.neutron.ports.append(port(1, WEB_1, "10.0.0.5"))
        self.calls.neutron.ports.append(port(2, GATEWAY, "10.0.0.9"))
        self.calls.neutron.float(2, "203.0.113.9")

    def of(self, instance: Instance = WEB, behalf: Behalf = MIAS, **how: Any) -> Any:
        """The addresses."""
        return result(self.all.of(instance, behalf, **how))


@pytest.fixture
def world() -> World:
    """Neutron knows an instance and a gateway."""
    return World()


@contextmanager
def logged() -> Iterator[list[str]]:
    """The events meanwhile."""
    events: list[str] = []

    def note(event: LogEvent) -> None:
        if "event" in event:
            events.append(event["event"])

    globalLogPublisher.addObserver(note)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(note)


def test_the_order_of_trust(world: World) -> None:
    """Inventory, Neutron, hypervisor; whoever is trusted less is neither added nor asked."""
    world.hypervisor.known = ("192.0.2.66",)
    assert world.of() == ("10.0.0.5",)
    assert world.hypervisor.asked == 0
    listed = evolve(WEB, addresses=("198.51.100.7",))
    assert world.of(listed) == ("198.51.100.7",)
    assert len(world.calls.users) == 1
    assert world.of(evolve(WEB, uuid=ABSENT)) == ("192.0.2.66",)


def test_without_keystone(world: World) -> None:
    """Everything is as it was: only the driver is asked."""
    world.hypervisor.known = ("192.0.2.66",)
    alone = AllAddresses(world.hypervisor, None)
    assert result(alone.of(WEB, MIAS, outside=True)) == ("192.0.2.66",)
    stopped = evolve(WEB, state=InstanceState.STOPPED)
    assert world.of(stopped) == ("192.0.2.66",)
    assert world.calls.users == []


def test_on_whose_behalf(world: World) -> None:
    """The user's in the user's project; for another project's, or without a user, as consoled."""
    world.of()
    world.of(behalf=Behalf(ADA))
    world.of(behalf=NOBODY)
    world.of(behalf=Behalf(UserToken("secret", None, "system")))
    assert world.calls.users == [MIA, None, None, None]
    assert "secret" not in repr(world.calls.users)


def test_an_instance_of_nobody_s(world: World) -> None:
    """Neutron is not asked: any project could have made the port that it would name."""
    assert world.of(evolve(WEB, project_id=None)) == ()
    assert world.calls.users == []


def test_neutron_is_absent(world: World) -> None:
    """It is as if it were not meant: no error, and none of its own in the log."""
    world.calls.error = ServiceAbsent("not in the catalog")
    with logged() as events:
        assert world.of() == ()
        world.hypervisor.known = ("192.0.2.66",)
        assert world.of() == ("192.0.2.66",)
    assert events == []


def test_neutron_is_away(world: World) -> None:
    """The others serve, and are asked first for a while; it is said once, as is that it is back."""
    world.hypervisor.known = ("192.0.2.66",)
    world.calls.error = Unavailable("Neutron is away")
    with logged() as events:
        assert [world.of() for _ in range(3)] == [("192.0.2.66",)] * 3
        assert len(world.calls.users) == 1
        world.clock.advance(REST)
        assert world.of() == ("192.0.2.66",)
        assert len(world.calls.users) == 2
        world.calls.error = None
        world.hypervisor.known = ()
        assert world.of() == ("10.0.0.5",)
        assert world.of() == ("10.0.0.5",)
    assert events == ["neutron_away", "neutron_back"]


def test_nobody_is_left(world: World) -> None:
    """Somebody who should know does not answer: that is said, and not that there is no address."""
    world.calls.error = Unavailable("Neutron is away")
    with pytest.raises(Unavailable, match="Neutron is away"):
        world.of()
    world.calls.error = None
    world.hypervisor.error = Unavailable("The hypervisor does not answer")
    assert world.of() == ("10.0.0.5",)
    with pytest.raises(Unavailable, match="hypervisor"):
        world.of(evolve(WEB, uuid=ABSENT))


@pytest.mark.parametrize(
    "error", [TokenRefused("token refused"), Forbidden("forbidden"), ServiceRefused("refused")]
)
def test_neutron_refuses(world: World, error: Exception) -> None:
    """The others serve; where they know nothing the reason is told, and nobody has to log in."""
    world.calls.error = error
    world.hypervisor.known = ("192.0.2.66",)
    with logged() as events:
        assert world.of() == ("192.0.2.66",)
        world.hypervisor.known = ()
        with pytest.raises(BackendUnreachable, match=f"{WEB_1}.*{error}"):
            world.of()
    assert events == ["neutron_refused"] * 2
    assert world.calls.users == [MIA, MIA]


def test_neutron_hangs(world: World) -> None:
    """Somebody waits for a connection: it is given up in time, and asked last for a while."""
    world.calls.silent = True
    world.hypervisor.known = ("192.0.2.66",)
    waiting = world.all.of(WEB, MIAS)
    assert not waiting.called
    world.clock.advance(TIMEOUT)
    assert result(waiting) == ("192.0.2.66",)
    assert world.calls.given_up == 1
    assert world.of() == ("192.0.2.66",)
    assert len(world.calls.users) == 1


def test_an_answer_that_is_none(world: World) -> None:
    """It counts as a refusal."""
    del world.calls.neutron.ports[0]["fixed_ips"]
    world.calls.neutron.ports[0]["fixed_ips"] = "nonsense"
    with pytest.raises(BackendUnreachable, match="does not answer as Neutron does"):
        world.of()


# Ways


@define(eq=False)
class Ways:
    """Node groups over that world.

    :ivar standing: the places to which a connection stands.
    """

    world: World
    finder: RouteFinder
    engine: Any
    standing: set[tuple[str, int]]

    def group(self, name: str, *members: Member, **traits: Any) -> None:
        """A proxy group, known at once."""
        hosts = traits.pop("hosts", ())
        values = {"is_proxy": True, "user_name": "jump", "known_hosts": ()} | traits
        with self.engine.begin() as connection:
            rows.create(connection, NodeGroup(name, Traits(name, **values), members, hosts))
        result(Deferred.fromCoroutine(self.finder.book.refresh()))

    def hosts(self, behalf: Behalf = MIAS, instance: Instance = WEB) -> list[list[str]]:
        """The addresses on each way to the instance's compute host."""
        found = result(self.finder.to_host(instance, behalf))
        return [[node.host for node in route] for route in found]

    def command(self, text: str) -> None:
        """Sets ``[ssh_proxy] proxy_command``."""
        self.finder.rules = evolve(self.finder.rules, command=ProxyCommand.parse(text))


@pytest.fixture
def ways(world: World, tmp_path: Path) -> Iterator[Ways]:
    """Two instances that Neutron knows, and no groups yet."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    metadata.create_all(engine)
    driver, standing = FakeDriver(), set[tuple[str, int]]()
    driver.known[:] = [WEB, GATE]
    database = CellDatabase(engine, InlineWorker())
    finder = RouteFinder(
        book=GroupBook(database, world.clock),
        driver=driver,
        addresses=world.all,
        logins=Logins(),
        rules=Rules(networks=("10.9.0.0/24",)),
        cell=CellWay(),
        seconds=world.clock.seconds,
        networks=world.networks,
        stands=lambda host, port: (host, port) in standing,
    )
    yield Ways(world, finder, engine, standing)
    database.stop()


def test_the_first_node_is_dialled_from_outside(ways: Ways) -> None:
    """At its floating address; a node behind another one at its fixed address."""
    ways.group("gates", Member(GATEWAY), hosts=("rack1",))
    assert ways.hosts() == [["203.0.113.9"]]
    ways.group("edge", Member(address="10.9.0.1"))
    ways.group("inner", Member(WEB_1), proxy_group_id="edge", hosts=("rack2",))
    assert ways.hosts(instance=evolve(GATE, host="rack2")) == [["10.9.0.1", "10.0.0.5"]]


def test_who_dials_looks_it_up(ways: Ways) -> None:
    """What was found out counts while a connection to it stands, and not after a migration."""
    ways.group("gates", Member(GATEWAY), hosts=("rack1",))
    asked = ways.world.calls.users
    assert ways.hosts() == ways.hosts() == [["203.0.113.9"]]
    assert len(asked) == 2
    ways.standing.add(("203.0.113.9", 22))
    ways.world.calls.neutron.floatingips[0]["floating_ip_address"] = "203.0.113.10"
    assert ways.hosts() == [["203.0.113.9"]]
    assert len(asked) == 2
    assert ways.hosts(Behalf(MIA, anew=True)) == [["203.0.113.10"]]
    ways.standing.clear()
    assert ways.hosts() == [["203.0.113.10"]]
    assert len(asked) == 4
    ways.standing.add(("203.0.113.10", 22))
    ways.world.clock.advance(31)
    assert ways.hosts() == [["203.0.113.10"]]
    assert len(asked) == 5


def test_a_gateway_whose_address_nobody_tells(ways: Ways) -> None:
    """The next member stands in for it."""
    ways.group("gates", Member(GATEWAY), Member(address="10.9.0.1"), hosts=("rack1",))
    ways.world.calls.error = TokenRefused("expired")
    assert ways.hosts() == [["10.9.0.1"]]


def test_the_command_has_the_gateway_s_networks(ways: Ways) -> None:
    """Its fixed address, network and router; where metadata say them, nobody is asked."""
    ways.command("ip netns exec qrouter-{router_id} nc {host} {port} {network_id}")
    ways.group("gates", Member(GATEWAY), hosts=("rack1",))
    neutron = ways.world.calls.neutron
    with pytest.raises(BackendUnreachable):
        ways.hosts()
    owner = "network:router_interface"
    neutron.ports.append(port(9, "8c1f", "10.0.0.1", device_owner=owner))
    [route] = result(ways.finder.to_host(WEB, MIAS))
    assert route[0].command == (
        *("ip", "netns", "exec", "qrouter-8c1f", "nc", "10.0.0.9", "22", "net-1"),
    )
    ways.standing.add(("10.0.0.9", 22))
    neutron.asked.clear()
    assert result(ways.finder.to_host(WEB, MIAS)) == [route]
    assert neutron.asked == []
    told = evolve(WEB, metadata={"router_id": "0a0a", "network_id": "0b0b"})
    [route] = result(ways.finder.to_host(told, Behalf(anew=False)))
    assert route[0].command is not None
    assert (route[0].command[3], route[0].command[-1]) == ("qrouter-0a0a", "0b0b")
    assert neutron.asked == []


def test_the_command_of_the_cell_s_nodes(ways: Ways) -> None:
    """A node that is no instance is reached by the networks of the target."""
    ways.command("reach {network_id} {host}")
    ways.finder.cell = CellWay((ProxyNode("10.9.0.7", 22, Login("j", NoKeys(), HostKeys())),))
    [route] = result(ways.finder.to_host(WEB, MIAS))
    assert route[0].command == ("reach", "net-1", "10.9.0.7")
    ways.world.calls.error = Forbidden("no")
    with pytest.raises(BackendUnreachable), logged() as events:
        ways.hosts()
    assert events == ["neutron_refused", "no_proxy_route"]


def test_an_instance_is_dialled_as_the_way_to_it_is(ways: Ways) -> None:
    """Directly at its floating address; through a node at its fixed one."""
    destinations = Destinations(ways.finder)
    assert result(destinations.of(GATE, MIAS)) == ("203.0.113.9", "10.0.0.9")
    ways.group("edge", Member(address="10.9.0.1"), hosts=("rack1",))
    assert result(destinations.of(GATE, MIAS)) == ("10.0.0.9",)
    ways.group("gates", Member(GATEWAY))
    assert result(destinations.of(GATE, MIAS)) == ("203.0.113.9", "10.0.0.9")


def test_shells_are_at_addresses_of_neutron_s(ways: Ways) -> None:
    """Of a gateway at the floating one first, of what is behind it at the fixed one."""
    ways.group("gates", Member(GATEWAY), hosts=("rack1",))
    found = result(ways.finder.shells(GATE, MIAS))
    assert [node.host for node in found] == ["203.0.113.9", "10.0.0.9"]
    found = result(ways.finder.shells(WEB, MIAS))
    assert [node.host for node in found] == ["10.0.0.5"]
    assert set(ways.world.calls.users) == {MIA}


def token(console_type: str = SERIAL) -> ConsoleAuthToken:
    """A console token."""
    return ConsoleAuthToken(
        token_hash=hash_token("clear"),
        instance_uuid=WEB_1,
        index=0,
        host="127.0.0.1",
        port=10000,
        generation=1,
        access_url="",
        expires=0,
        console_type=console_type,
    )


def test_whose_sessions_need_the_user_s_token(ways: Ways) -> None:
    """Shells always; serial consoles where an instance may be on the way, or its networks are."""
    finder = ways.finder
    result(finder.to_host(WEB))
    assert (finder.needs_user(token()), finder.needs_user(token(SHELL))) == (False, True)
    ways.group("edge", Member(address="10.9.0.1"), hosts=("rack1",))
    assert not finder.needs_user(token())
    ways.command("reach {network_id} {host}")
    assert finder.needs_user(token())
    ways.command("reach {host}")
    ways.group("gates", Member(GATEWAY))
    assert finder.needs_user(token())
    finder.networks = None
    assert not finder.needs_user(token(SHELL))


def test_a_connection_that_stands() -> None:
    """The pool knows host and port, in whichever way they are reached, while a connection is
    there."""
    pool = SSHPool(Clock(), InlineWorker())
    edge, inner = (ProxyNode(h, 22, Login("j", NoKeys(), HostKeys())) for h in ("::1", "::2"))
    hop = pool._hop((edge, inner))
    assert not pool.stands("::2", 22)
    carrier: Any = object()
    hop.carriers.append(carrier)
    assert pool.stands("::2", 22)
    assert not pool.stands("::1", 22)
    assert not pool.stands("::2", 2222)
