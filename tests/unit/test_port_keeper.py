"""consoled.compute.port_keeper: the books follow the domains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cells import outcome
from port_world import HOST, World, uuid
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, capturedLogs

from consoled.compute.port_keeper import TOGETHER
from consoled.compute.reconciling import HostPorts, Plan
from consoled.errors import Unavailable


@pytest.fixture
def world() -> World:
    """An empty host with ten ports."""
    return World()


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What is logged in the test."""
    with capturedLogs() as captured:
        yield captured


def reconcile(world: World, name: str | None = None) -> Plan:
    return outcome(world.keeper.reconcile(None if name is None else uuid(name)))


def told(events: list[LogEvent], name: str) -> list[str]:
    """The lines of that event."""
    return [event["log_format"].format_map(event) for event in events if event.get("event") == name]


def test_ports_in_use_are_adopted(world: World, events: list[LogEvent]) -> None:
    """Those of running and of stopped domains, inside of the range and outside; one line each."""
    world.hypervisor.define("a", 10000, 9000)
    world.hypervisor.define("b", 10001, active=False)
    reconcile(world)
    assert world.books() == {
        9000: (uuid("a"), 1, True),
        10000: (uuid("a"), 0, True),
        10001: (uuid("b"), 0, True),
    }
    assert told(events, "ports_adopted") == [
        "a names ports 9000, 10000 of rack1 in its XML: noted as its own "
        "(outside of 10000:10010: 9000)",
        "b names ports 10001 of rack1 in its XML: noted as its own",
    ]


def test_a_vanished_domain_is_released(world: World, events: list[LogEvent]) -> None:
    """On delete its ports come back; while it is only stopped they do not."""
    world.hypervisor.define("a", 10000, 10001)
    reconcile(world)
    world.hypervisor.define("a", 10000, 10001, active=False)
    assert reconcile(world) == Plan()
    assert set(world.books()) == {10000, 10001}
    del world.hypervisor.domains["a"]
    reconcile(world, "a")
    assert world.books() == {}
    assert told(events, "port_released") == [
        f"port {10000 + index} of rack1 is free again, it was serial port {index} of {uuid('a')}: "
        "there is no such domain any more"
        for index in (0, 1)
    ]


def test_a_changed_domain(world: World) -> None:
    """What it does not name any more comes back, and what it names now is its own."""
    world.hypervisor.define("a", 10000, 10001)
    reconcile(world)
    world.hypervisor.define("a", 10001, 10005)
    reconcile(world, "a")
    assert world.books() == {10001: (uuid("a"), 0, True), 10005: (uuid("a"), 1, True)}


def test_a_restart_loses_and_leaks_nothing(world: World) -> None:
    """What happened while no daemon ran is found; a reservation that nobody used has its time."""
    world.hypervisor.define("a", 10000)
    reconcile(world)
    outcome(world.allocator.allocate(uuid("c"), [0]))
    world.hypervisor.define("b", 10002)
    del world.hypervisor.domains["a"]
    world.restart()
    reconcile(world)
    assert world.books() == {10001: (uuid("c"), 0, False), 10002: (uuid("b"), 0, True)}


def test_a_reservation_expires(world: World) -> None:
    """By the database's clock; until then nothing takes it back."""
    outcome(world.allocator.allocate(uuid("c"), [0]))
    assert reconcile(world) == Plan()
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE port_allocations SET since = since - 600")
    assert [one.row.port for one in reconcile(world).released] == [10000]


def test_a_clash_is_told_once(world: World, events: list[LogEvent]) -> None:
    """An operator reads which domains, which port, and what to do; again when it came back."""
    world.hypervisor.define("a", 10000)
    world.hypervisor.define("b", 10000, active=False)
    for name in (None, None, "a", "b"):
        assert len(reconcile(world, name).clashes) == (name != "a")
    [line] = told(events, "port_clash")
    assert line == (
        f"the XML of b names port 10000 of rack1 for its serial port 0, and {uuid('a')} has it: "
        "the one that starts last will not; give b another"
    )
    world.hypervisor.define("b", 10001)
    reconcile(world)
    world.hypervisor.define("b", 10000)
    reconcile(world)
    assert len(told(events, "port_clash")) == 2


def test_an_xml_that_cannot_be_read(world: World) -> None:
    """The domain keeps what it has, and the others are looked at."""
    world.hypervisor.define("a", 10000)
    reconcile(world)
    world.hypervisor.hide("a")
    world.hypervisor.define("b", 10001)
    reconcile(world)
    assert set(world.books()) == {10000, 10001}


def test_what_changes_meanwhile_is_left_alone(world: World) -> None:
    """A port that was given out anew after the books were read is not taken back."""
    world.hypervisor.define("a", 10000)
    reconcile(world)
    del world.hypervisor.domains["a"]

    def in_between(found: HostPorts) -> Deferred[HostPorts]:
        world.allocator.settled = lambda: succeed(HOST)
        assert outcome(world.allocator.allocate(uuid("a"), [0])) == [10000]
        return succeed(found)

    world.hypervisor.answer = in_between
    assert reconcile(world) == Plan()
    assert world.books() == {10000: (uuid("a"), 0, True)}


def test_many_changes(world: World) -> None:
    """They are made in several transactions, so that none is long."""
    ports = range(20000, 20000 + 2 * TOGETHER + 10)
    world.hypervisor.define("a", *ports)
    assert len(reconcile(world).adopted) == len(ports)
    assert set(world.books()) == set(ports)
    world.hypervisor.define("a")
    assert len(reconcile(world).released) == len(ports)
    assert world.books() == {}


def test_settled_after_the_first_round(world: World) -> None:
    """Whoever asks for a port before it has the round made; one that is under way is enough."""
    world.hypervisor.away = True
    with pytest.raises(Unavailable):
        outcome(world.keeper.settled())
    world.hypervisor.away = False
    world.hypervisor.define("a", 10000)
    waiting: list[Deferred[HostPorts]] = []

    def later(_: HostPorts) -> Deferred[HostPorts]:
        waiting.append(Deferred())
        return waiting[-1]

    world.hypervisor.answer = later
    world.hypervisor.asked.clear()
    part, whole = world.keeper.reconcile(uuid("a")), world.keeper.reconcile()
    settled = world.keeper.settled()
    found = HostPorts(HOST, tuple(world.hypervisor.domains.values()))
    waiting[0].callback(found)
    # A look at one domain is no round.
    assert not settled.called
    waiting[1].callback(found)
    assert outcome(settled) == HOST
    assert world.hypervisor.asked == [uuid("a"), None]
    assert set(world.books()) == {10000}
    outcome(part), outcome(whole)
    assert outcome(world.keeper.settled()) == HOST
    assert world.hypervisor.asked == [uuid("a"), None]


def test_free_ports_are_counted(world: World) -> None:
    """After each look: ports of the range that are reserved or named, by whomever."""
    seen: list[tuple[str, int, int]] = []
    world.keeper.count = lambda *facts: seen.append(facts)
    world.hypervisor.define("a", 10000, 9000)
    reconcile(world)
    outcome(world.allocator.allocate(uuid("c"), [0, 1]))
    world.hypervisor.define("a", 10005, 10006)
    reconcile(world, "a")
    del world.hypervisor.domains["a"]
    reconcile(world)
    assert seen == [(HOST, 9, 1), (HOST, 6, 4), (HOST, 8, 2)]


def test_one_look_at_a_time(world: World) -> None:
    """Two that overlapped would undo what the other one did."""
    waiting: list[Deferred[HostPorts]] = []

    def later(_: HostPorts) -> Deferred[HostPorts]:
        waiting.append(Deferred())
        return waiting[-1]

    world.hypervisor.answer = later
    first, second = world.keeper.reconcile(), world.keeper.reconcile(uuid("a"))
    assert world.hypervisor.asked == [None]
    waiting[0].callback(HostPorts(HOST, ()))
    assert outcome(first) == Plan()
    assert world.hypervisor.asked == [None, uuid("a")]
    waiting[1].callback(HostPorts(HOST, ()))
    assert outcome(second) == Plan()
