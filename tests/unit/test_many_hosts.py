"""consoled.compute.many_hosts: several compute hosts answer as one driver, none for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from attrs import define, evolve, field
from cells import instance, outcome
from fakes import FakeDriver
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs

from consoled.compute.many_hosts import ManyHosts
from consoled.errors import Conflict, NotFound, Unavailable
from consoled.interfaces import BreakControl
from consoled.model import Instance, InstanceState

UUID = instance(1).uuid


def on(host: str, state: InstanceState = InstanceState.RUNNING, number: int = 1) -> Instance:
    """An instance as a host has it."""
    return evolve(instance(number), host=host, state=state)


@define(eq=False)
class Host(FakeDriver):
    """One host's driver.

    :ivar freed: what was done to its ports.
    :ivar can_break: whether it sends BREAK.
    """

    freed: list[str] = field(factory=list)
    can_break: bool = True
    running: bool = False

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """It can."""
        self.freed.append(f"free {index}")
        return succeed(True)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """Always the same."""
        return succeed(frozenset({1}))

    def send_break(self, instance_uuid: str, index: int) -> Deferred[None]:
        """It can."""
        self.freed.append(f"break {index}")
        return succeed(None)

    @property
    def breaks(self) -> BreakControl | None:
        """Itself."""
        return self if self.can_break else None

    def start(self) -> None:
        """It was started."""
        self.running = True

    def stop(self) -> Deferred[None]:
        """It was stopped."""
        self.running = False
        return succeed(None)


@define(eq=False)
class World:
    """Two hosts, and what the rows say."""

    one: Host = field(factory=lambda: Host([]))
    two: Host = field(factory=lambda: Host([]))
    rows: dict[str, str] = field(factory=dict)
    away: bool = False
    asked: list[tuple[str, ...]] = field(factory=list)
    driver: ManyHosts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.driver = ManyHosts({"kvm1": self.one, "kvm2": self.two}, self._homes)

    def _homes(self, uuids: Sequence[str]) -> Deferred[Mapping[str, str]]:
        self.asked.append(tuple(uuids))
        if self.away:
            return fail(Unavailable("The database is away."))
        return succeed({uuid: self.rows[uuid] for uuid in uuids if uuid in self.rows})


@pytest.fixture
def world() -> World:
    """Two hosts without domains."""
    return World()


def test_all_are_listed(world: World) -> None:
    """Those of both hosts, by name; no row is asked for where each is on one host."""
    a, b = evolve(on("kvm2"), name="a"), evolve(on("kvm1", number=2), name="b")
    world.one.known, world.two.known = [b], [a]
    assert outcome(world.driver.instances()) == [a, b]
    assert world.asked == []


def test_a_host_that_is_away_is_left_out(world: World) -> None:
    """The rest is listed; where nobody answers, the question fails."""
    world.one.known, world.two.error = [on("kvm1")], Unavailable("It is away.")
    assert outcome(world.driver.instances()) == [on("kvm1")]
    world.one.error = Unavailable("It is away.")
    with pytest.raises(Unavailable):
        outcome(world.driver.instances())


def test_an_error_inside_is_not_hidden(world: World) -> None:
    """It is no absence of a host, when nobody else has the answer; else it is in the log."""
    world.one.error, world.two.error = ZeroDivisionError(), Unavailable("It is away.")
    with pytest.raises(ZeroDivisionError):
        outcome(world.driver.instance(UUID))
    world.two.error, world.two.known = None, [on("kvm2")]
    with capturedLogs() as events:
        assert outcome(world.driver.instances()) == [on("kvm2")]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("first", "second", "home", "wanted"),
    [
        (InstanceState.STOPPED, InstanceState.RUNNING, "kvm1", "kvm2"),
        (InstanceState.PAUSED, InstanceState.RUNNING, "kvm1", "kvm2"),
        (InstanceState.RUNNING, InstanceState.PAUSED, "kvm1", "kvm1"),
        (InstanceState.STOPPED, InstanceState.STOPPED, "kvm2", "kvm2"),
        (InstanceState.STOPPED, InstanceState.STOPPED, "kvm1", "kvm1"),
        (InstanceState.STOPPED, InstanceState.PAUSED, None, "kvm2"),
    ],
)
def test_a_domain_on_both(
    world: World, first: InstanceState, second: InstanceState, home: str | None, wanted: str
) -> None:
    """The one that runs counts, then the one that the row names; listed or alone, once."""
    world.one.known, world.two.known = [on("kvm1", first)], [on("kvm2", second)]
    if home is not None:
        world.rows[UUID] = home
    assert outcome(world.driver.instance(UUID)).host == wanted
    assert [one.host for one in outcome(world.driver.instances())] == [wanted]


def test_the_row_s_host_is_asked_first(world: World) -> None:
    """Where it runs there nobody else is asked, so nobody else can hang."""
    world.one.known, world.two.pending = [on("kvm1")], []
    world.rows[UUID] = "kvm1"
    assert outcome(world.driver.instance(UUID.upper())) == on("kvm1")
    assert world.two.pending == []


def test_whoever_runs_it_answers_for_all(world: World) -> None:
    """Without a row, and without the database: a host that hangs is not waited for."""
    world.away = True
    world.one.known, world.one.pending = [on("kvm1", InstanceState.STOPPED)], []
    world.two.known = [on("kvm2")]
    assert outcome(world.driver.instance(UUID)) == on("kvm2")
    assert world.one.cancelled == 1


def test_nobody_has_it(world: World) -> None:
    """It is not there only if all hosts say so."""
    with pytest.raises(NotFound):
        outcome(world.driver.instance(UUID))
    world.two.error = Unavailable("It is away.")
    with pytest.raises(Unavailable):
        outcome(world.driver.instance(UUID))


def test_its_own_host_is_silent(world: World) -> None:
    """A stopped copy elsewhere says nothing of it; one that runs does."""
    world.rows[UUID] = "kvm1"
    world.one.error = Unavailable("It is away.")
    world.two.known = [on("kvm2", InstanceState.STOPPED)]
    with pytest.raises(Unavailable):
        outcome(world.driver.instance(UUID))
    world.two.known = [on("kvm2")]
    assert outcome(world.driver.instance(UUID)) == on("kvm2")


def test_a_row_of_another_daemon_s_host(world: World) -> None:
    """It names none of these: all of them are asked."""
    world.rows[UUID], world.two.known = "kvm9", [on("kvm2")]
    assert outcome(world.driver.instance(UUID)) == on("kvm2")


def test_cancelled(world: World) -> None:
    """Whoever asked does not wait any more: nobody's question is left."""
    world.one.pending, world.two.pending = [], []
    world.one.known, world.two.known = [on("kvm1")], [on("kvm2")]
    for ask in (world.driver.instances, lambda: world.driver.instance(UUID)):
        asked: Deferred[Any] = ask()
        asked.cancel()
        with pytest.raises(CancelledError):
            outcome(asked)
    assert (world.one.cancelled, world.two.cancelled) == (2, 2)


def test_ports_go_to_the_right_host(world: World) -> None:
    """Freed, looked at and sent a BREAK where the instance runs, whatever its row says."""
    world.rows[UUID], world.two.known = "kvm1", [on("kvm2")]
    assert outcome(world.driver.free_port(UUID, 1)) is True
    assert outcome(world.driver.held_ports(UUID)) == {1}
    assert world.driver.breaks is not None
    outcome(world.driver.breaks.send_break(UUID, 0))
    assert (world.one.freed, world.two.freed) == ([], ["free 1", "break 0"])


def test_ports_of_nobody(world: World) -> None:
    """Nothing is known of them and nothing is freed; a BREAK is refused."""
    assert outcome(world.driver.free_port(UUID, 1)) is False
    assert outcome(world.driver.held_ports(UUID)) == frozenset()
    with pytest.raises(Conflict, match="takes a BREAK now"):
        outcome(world.driver.send_break(UUID, 0))
    world.one.error = world.two.error = Unavailable("It is away.")
    assert outcome(world.driver.free_port(UUID, 1)) is False
    with pytest.raises(Unavailable):
        outcome(world.driver.send_break(UUID, 0))


def test_breaks_where_a_host_can(world: World) -> None:
    """One that cannot refuses its own instances only."""
    world.one.can_break = False
    world.one.known = [on("kvm1")]
    assert world.driver.breaks is not None
    with pytest.raises(Conflict):
        outcome(world.driver.send_break(UUID, 0))
    world.two.can_break = False
    assert world.driver.breaks is None


def test_start_and_stop(world: World) -> None:
    """All hosts' drivers begin and end with it."""
    world.driver.start()
    assert world.one.running
    assert world.two.running
    outcome(world.driver.reload())
    outcome(world.driver.stop())
    assert not (world.one.running or world.two.running)
    assert world.driver.name == "fake"
