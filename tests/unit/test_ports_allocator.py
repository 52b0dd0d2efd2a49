"""consoled.compute.ports: which port a serial port gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cells import outcome
from port_world import ADDRESS, HOST, World, uuid
from sqlalchemy import Connection
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, capturedLogs

from consoled.db import instances, ports
from consoled.db import port_rows as rows
from consoled.errors import BadRequest, SocketPortRangeExhausted, Unavailable
from consoled.model import Console, Instance, InstanceState


@pytest.fixture
def world() -> World:
    """An empty host with ten ports."""
    return World()


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What is logged in the test."""
    with capturedLogs() as captured:
        yield captured


def allocate(world: World, name: str, *indexes: int) -> list[int]:
    return outcome(world.allocator.allocate(uuid(name), indexes or (0,)))


def named(events: list[LogEvent], name: str) -> list[LogEvent]:
    return [event for event in events if event.get("event") == name]


def test_each_console_has_its_own_port(world: World) -> None:
    """Nobody gets a port that somebody else has."""
    assert allocate(world, "a", 0, 1) == [10000, 10001]
    assert allocate(world, "b", 1, 0) == [10002, 10003]
    assert world.books() == {
        10000: (uuid("a"), 0, False),
        10001: (uuid("a"), 1, False),
        10002: (uuid("b"), 1, False),
        10003: (uuid("b"), 0, False),
    }


def test_who_has_a_port_keeps_it(world: World) -> None:
    """Asked again, also by a daemon that has just started, it is the same one."""
    first = allocate(world, "a", 0)
    world.restart()
    assert allocate(world, "a", 0, 1) == [*first, 10001]
    assert allocate(world, "a", 1) == [10001]


def test_a_port_in_use_is_not_tested(world: World) -> None:
    """A domain that runs listens there itself."""
    world.hypervisor.define("a", 10004)
    world.taken = {10004}
    assert allocate(world, "a", 0, 1) == [10004, 10000]
    assert world.tested == [10000]


def test_a_port_of_before_the_first_start_is_never_given_out(world: World) -> None:
    """A domain's port, also a stopped one's, is in the books before anything is given out."""
    world.hypervisor.define("o", 10000, active=False)
    assert allocate(world, "a") == [10001]
    world.hypervisor.away = True
    world.restart()
    with pytest.raises(Unavailable):
        allocate(world, "b")


def test_a_foreign_listener_is_skipped_and_remembered(world: World, events: list[LogEvent]) -> None:
    """It is tested once, and again when it may have gone."""
    world.taken = {10000, 10001, 10002}
    assert allocate(world, "a") == [10003]
    assert world.tested == [10000, 10001, 10002, 10003]
    assert [event["port"] for event in named(events, "port_taken")] == [10000, 10001, 10002]
    world.tested.clear()
    for name in "bcdefg":
        allocate(world, name)
    assert world.tested == [*range(10004, 10010)]
    outcome(world.allocator.give_back(uuid("c"), [10005]))
    world.clock.advance(301)
    world.taken = {10000}
    assert allocate(world, "h") == [10001]
    assert world.tested[-2:] == [10000, 10001]


def test_a_port_that_came_back_is_not_given_out_at_once(world: World) -> None:
    """The search goes on where it ended, so an old token's port rests for as long as it can."""
    assert allocate(world, "a") == [10000]
    assert outcome(world.allocator.give_back(uuid("a"), [10000])) == [10000]
    assert [allocate(world, name) for name in "bcdefghij"] == [
        [port] for port in range(10001, 10010)
    ]
    assert allocate(world, "k") == [10000]


def test_exhaustion(world: World, events: list[LogEvent]) -> None:
    """400 with advice, one line with the range for the operator, and nothing half done."""
    for name in "abcdefghi":
        allocate(world, name)
    before = world.books()
    with pytest.raises(SocketPortRangeExhausted, match="rack1 has no free port left") as caught:
        allocate(world, "z", 0, 1)
    assert isinstance(caught.value, BadRequest)
    assert caught.value.status == 400
    assert world.books() == before
    [event] = named(events, "port_range_exhausted")
    assert (event["host"], str(event["ports"])) == (HOST, "10000:10010")
    assert allocate(world, "z") == [10009]


def test_exhaustion_by_others(world: World, events: list[LogEvent]) -> None:
    """Those that were found taken before get another chance first, and the log counts them."""
    world.taken = set(range(10000, 10009))
    assert allocate(world, "a") == [10009]
    world.tested.clear()
    with pytest.raises(SocketPortRangeExhausted):
        allocate(world, "b")
    assert sorted(world.tested) == [*range(10000, 10009)]
    [event] = named(events, "port_range_exhausted")
    assert event["foreign"] == 9
    assert world.books() == {10009: (uuid("a"), 0, False)}
    world.taken.remove(10004)
    assert allocate(world, "b") == [10004]


def test_the_next_port_after_a_failed_start(world: World) -> None:
    """libvirt could not bind it: the domain gets another one, and nobody gets that one now."""
    assert allocate(world, "a", 0, 1) == [10000, 10001]
    world.hypervisor.define("a", 10000, 10001, active=False)
    outcome(world.keeper.reconcile())
    assert outcome(world.allocator.next_after(uuid("a"), 1, 10001)) == 10002
    assert world.books() == {
        10000: (uuid("a"), 0, True),
        10001: (uuid("a"), 1, True),
        10002: (uuid("a"), 1, False),
    }
    world.hypervisor.define("a", 10000, 10002)
    outcome(world.keeper.reconcile(uuid("a")))
    assert world.books() == {10000: (uuid("a"), 0, True), 10002: (uuid("a"), 1, True)}
    assert allocate(world, "a", 0, 1) == [10000, 10002]
    assert outcome(world.allocator.next_after(uuid("z"), 0, 10003)) == 10004
    outcome(world.allocator.give_back(uuid("z"), [10004]))
    for name, port in zip("bcdefg", [*range(10005, 10010), 10004], strict=True):
        assert allocate(world, name) == [port]


def test_a_reservation_that_could_not_be_bound_ends(world: World) -> None:
    """No XML was seen to name it, so nothing holds it."""
    assert allocate(world, "a") == [10000]
    assert outcome(world.allocator.next_after(uuid("a"), 0, 10000)) == 10001
    assert set(world.books()) == {10001}


def test_a_reservation_that_somebody_else_took(world: World) -> None:
    """Between two tries a stranger came: the serial port gets another one."""
    assert allocate(world, "a") == [10000]
    world.taken = {10000}
    assert allocate(world, "a") == [10001]
    assert set(world.books()) == {10000, 10001}


def test_given_back(world: World) -> None:
    """A reservation ends; a port that an XML names stays, and so does somebody else's."""
    world.hypervisor.define("a", 10000)
    allocate(world, "a", 0, 1)
    assert outcome(world.allocator.give_back(uuid("a"), [10000, 10001])) == [10001]
    assert outcome(world.allocator.give_back(uuid("b"), [10000])) == []
    assert world.books() == {10000: (uuid("a"), 0, True)}


def test_a_test_that_cannot_be_made(world: World) -> None:
    """The compute host does not answer: that is said, and nothing stays reserved."""

    def is_free(port: int) -> bool:
        raise Unavailable(f"Port {port} cannot be tested.")

    world.allocator.is_free = is_free
    with pytest.raises(Unavailable, match="Port 10000 cannot be tested"):
        allocate(world, "a", 0, 1)
    assert world.books() == {}


def test_cancelled(world: World) -> None:
    """Nobody waits for the port any more: it is given back."""

    class Stuck:
        """A worker that never answers."""

        def run(self, *_: object) -> Deferred[bool]:
            return Deferred()

    outcome(world.keeper.reconcile())
    world.allocator.worker = Stuck()  # type: ignore[assignment]  # run() is all that is used
    waiting = world.allocator.allocate(uuid("a"), [0])
    assert set(world.books()) == {10000}
    waiting.cancel()
    with pytest.raises(CancelledError):
        outcome(waiting)
    assert world.books() == {}


def test_a_generation_grows_with_each_owner(world: World) -> None:
    """An old tenant's token does not open what is at its port now, even before it is asked for."""
    old = Instance(uuid("o"), "old", "demo", HOST, InstanceState.RUNNING)

    def claimed(connection: Connection, console: Console) -> int:
        instances.upsert(connection, old, "libvirt")
        return ports.claim(connection, old.uuid, console, 10000)

    place = (ADDRESS, 10000)
    console = Console(0, *place)
    assert outcome(world.database.run(claimed, console)) == 1
    allocate(world, "a")
    assert outcome(world.database.read(ports.generation_of, *place)) == 2
    assert outcome(world.database.run(claimed, console)) == 3
    assert allocate(world, "a") == [10000]
    assert outcome(world.database.read(ports.generation_of, *place)) == 3


def test_a_console_that_is_there_already_keeps_its_generation(world: World) -> None:
    """A port that is adopted is its console's own: open sessions and tokens live on."""
    own = Instance(uuid("a"), "a", "demo", HOST, InstanceState.RUNNING)

    def claimed(connection: Connection) -> int:
        instances.upsert(connection, own, "libvirt")
        return ports.claim(connection, own.uuid, Console(0, ADDRESS, 10000), 10000)

    assert outcome(world.database.run(claimed)) == 1
    world.hypervisor.define("a", 10000)
    outcome(world.keeper.reconcile())
    assert set(world.books()) == {10000}
    assert outcome(world.database.run(claimed)) == 1


def test_segments() -> None:
    """The range may have gaps, which are never given out."""
    world = World("10000:10002,10005:10006")
    assert [allocate(world, name) for name in "abc"] == [[10000], [10001], [10005]]
    with pytest.raises(SocketPortRangeExhausted):
        allocate(world, "d")


def test_a_large_range_that_is_nearly_full() -> None:
    """The one free port is found, wherever it is and wherever the search begins."""
    world = World("10000:13000")
    order = rows.Order(HOST, ADDRESS, uuid("a"), tuple(range(2999)), world.ports)
    outcome(world.database.run(rows.reserve, order))
    outcome(world.database.run(rows.give_back, HOST, uuid("a"), [10007]))
    assert [allocate(world, "b"), allocate(world, "c")] == [[12999], [10007]]


def test_nothing_is_wanted(world: World) -> None:
    """A domain without serial ports gets none."""
    assert outcome(world.allocator.allocate(uuid("a"), [])) == []
