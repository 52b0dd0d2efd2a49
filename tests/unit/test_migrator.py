"""consoled.compute.migration: ports before, the move, the books afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from attrs import define, evolve, field
from migration_lab import PTY, UUID, WEB, FakeEngine, FakePorts, FakeSite
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from consoled.compute.libvirt.client import ClientError
from consoled.compute.migration import migrator as module
from consoled.compute.migration.engine import INTERVAL, ThreadedEngine
from consoled.compute.migration.migrator import Migrator
from consoled.compute.migration.values import (
    Leaving,
    Migration,
    MigrationEnded,
    Moved,
    Order,
    Progress,
    State,
    migration_view,
)
from consoled.errors import (
    BadRequest,
    Conflict,
    InstanceNotRunning,
    NotFound,
    SocketPortRangeExhausted,
    Unavailable,
)
from consoled.workers import InlineWorker


@define(eq=False)
class World:
    """Two hosts, an engine, and everything that was told."""

    engine: FakeEngine = field(factory=FakeEngine)
    here: FakeSite = field(factory=lambda: FakeSite("kvm1", FakePorts(10000)))
    there: FakeSite = field(factory=lambda: FakeSite("kvm2", FakePorts(20000)))
    told: list[Migration] = field(factory=list)
    migrator: Migrator = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.migrator = Migrator(self.engine, self.told.append)

    def start(self, **changes: Any) -> Any:
        """Begins one; the migration, or its error."""
        there = self.there.site(**changes)
        return now(self.migrator.start("web-1", self.here.site(), there, {"user_id": "ada"}))

    def find(self) -> Any:
        """What is known of it."""
        return now(self.migrator.find(UUID, "web-1", self.here.site()))

    def cancel(self) -> Any:
        """Asks for its end."""
        return now(self.migrator.cancel(UUID, "web-1", self.here.site()))


def now(deferred: Deferred[Any]) -> Any:
    """What it has fired with; an error is raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


@pytest.fixture
def world() -> World:
    """A domain with two ports on kvm1."""
    return World()


def test_the_order(world: World) -> None:
    """Both XMLs name the destination's places, and the peer is the URI for other hosts."""
    begun = world.start(inbound_address="198.51.100.2")
    assert (begun.state, begun.source, begun.destination) == (State.MIGRATING, "kvm1", "kvm2")
    assert begun.ports == (Moved(0, 20000), Moved(1, 20001))
    [order] = world.engine.orders
    assert (order.source_uri, order.peer_uri) == (
        "qemu+tls://kvm1/system",
        "qemu+ssh://kvm2/system",
    )
    assert order.inbound_address == "198.51.100.2"
    for xml in (order.xml, order.kept_xml):
        assert xml is not None
        assert 'host="kvm2.example.org" service="20000"' in xml
        assert 'service="20001"' in xml
        assert "hunter2" in xml
    assert "hunter2" not in repr(order)
    assert "hunter2" not in repr(WEB)


def test_success(world: World) -> None:
    """Both hosts are looked at again: the row and its tokens move, the source's ports go."""
    with capturedLogs() as events:
        world.start()
        world.engine.report(Progress(1.5, 100, 25, 50))
        assert world.find().progress.percent == 75
        assert world.here.looked == []
        world.engine.running.callback(None)
    assert world.find().state is State.COMPLETED
    assert (world.there.looked, world.here.looked) == ([UUID], [UUID])
    assert world.there.ports.given == [20000, 20001]
    named = [(event["event"], event["instance_uuid"]) for event in events if "event" in event]
    assert named == [("migration_started", UUID), ("migration_completed", UUID)]
    assert next(event["user_id"] for event in events if "event" in event) == "ada"
    assert [one.state for one in world.told][-1] is State.COMPLETED


@pytest.mark.parametrize(
    ("ended", "state", "error"),
    [
        (MigrationEnded("operation failed: no room"), State.FAILED, "operation failed: no room"),
        (MigrationEnded("aborted", cancelled=True), State.CANCELLED, None),
    ],
)
def test_failure_and_cancel(
    world: World, ended: Exception, state: State, error: str | None
) -> None:
    """The destination's ports come back."""
    world.start()
    world.engine.running.errback(ended)
    found = world.find()
    assert (found.state, found.error) == (state, error)
    assert world.there.ports.given == []
    assert world.there.looked == [UUID]


@pytest.mark.parametrize("lost", [Unavailable("libvirt was lost."), CancelledError()])
def test_an_end_that_nobody_knows(world: World, lost: Exception) -> None:
    """The guest may be there, so its ports are not given back: a reservation ends by itself."""
    world.start()
    world.engine.running.errback(lost)
    assert world.find().state is State.FAILED
    assert "may go on without consoled" in world.find().error
    assert world.there.ports.given == [20000, 20001]


def test_an_error_of_our_own(world: World) -> None:
    """It is in the log, and the migration is over: the next one may begin."""
    world.start()
    with capturedLogs() as events:
        world.engine.running.errback(ZeroDivisionError())
    assert "Something went wrong inside consoled" in world.find().error
    assert any("log_failure" in event for event in events)
    assert world.start().state is State.MIGRATING


def test_a_destination_that_cannot_be_looked_at(world: World) -> None:
    """Nor are they where the destination's XML could not be looked at; the end is told."""
    world.start()
    world.there.away = True
    world.engine.running.errback(MigrationEnded("lost"))
    assert world.find().state is State.FAILED
    assert world.there.ports.given == [20000, 20001]


def test_one_at_a_time(world: World) -> None:
    """A second one is refused until the first is over, whoever drives that."""
    world.start()
    with pytest.raises(Conflict, match="migrates already"):
        world.start()
    world.engine.running.errback(MigrationEnded("no"))
    world.engine.found = evolve(WEB, busy=True)
    with pytest.raises(Conflict, match="migrates already"):
        world.start()
    world.engine.found = WEB
    assert world.start().state is State.MIGRATING


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (None, NotFound),
        (evolve(WEB, active=False), InstanceNotRunning),
        (evolve(WEB, live="<domain>"), Conflict),
    ],
)
def test_what_does_not_migrate(world: World, found: Leaving | None, error: type[Exception]) -> None:
    """It is refused before anything is allocated, and can be asked for again."""
    world.engine.found = found
    for _ in range(2):
        with pytest.raises(error):
            world.start()
    assert world.there.ports.given == []
    assert world.engine.orders == []


def test_refusals(world: World) -> None:
    """No port left, the same host, a hypervisor that is away: each is said."""
    with pytest.raises(BadRequest, match="on kvm1 already"):
        world.start(name="kvm1")
    world.there.ports.full = True
    with pytest.raises(SocketPortRangeExhausted):
        world.start()
    world.engine.away = True
    with pytest.raises(Unavailable):
        world.start()


def test_a_domain_without_tcp_ports(world: World) -> None:
    """One whose consoles are a pty migrates without an allocation, a transient one too."""
    world.there.ports.full = True
    world.engine.found = evolve(WEB, live=PTY, kept=None)
    assert world.start().ports == ()
    assert world.engine.orders[0].kept_xml is None


def test_cancel(world: World) -> None:
    """libvirt is asked; what came of it is found later; one that is over cannot be."""
    with pytest.raises(NotFound):
        world.cancel()
    world.start()
    assert world.cancel().state is State.MIGRATING
    assert world.engine.aborted == [("qemu+tls://kvm1/system", UUID)]
    world.engine.can_abort = False
    with pytest.raises(Conflict, match="at this moment"):
        world.cancel()
    world.engine.running.callback(None)
    with pytest.raises(Conflict, match="over: completed"):
        world.cancel()


def test_somebody_else_s(world: World) -> None:
    """What virsh or nova drives is shown while it is under way, and can be cancelled."""
    with pytest.raises(NotFound, match="web-1 does not migrate"):
        world.find()
    world.engine.foreign = Progress(1, 10, 5)
    found = world.find()
    assert (found.state, found.source, found.destination) == (State.MIGRATING, "kvm1", None)
    world.cancel()
    assert len(world.engine.aborted) == 1
    with pytest.raises(NotFound):
        now(world.migrator.find(UUID, "web-1", None))


def test_only_so_many_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are over go, the oldest first."""
    monkeypatch.setattr(module, "REMEMBERED", 1)
    for number in range(3):
        world.engine.found = evolve(WEB, uuid=f"{UUID[:-1]}{number}")
        world.start()
        world.engine.running.callback(None)
    known = []
    for number in range(3):
        with suppress(NotFound):
            known.append(now(world.migrator.find(f"{UUID[:-1]}{number}", "web-1", None)).uuid[-1])
    assert known == ["1", "2"]


def test_the_view() -> None:
    """As REST and scripts get it."""
    one = Migration(UUID, "web-1", "kvm1", "kvm2", (Moved(0, 20000),))
    assert migration_view(evolve(one, progress=Progress(1.23456, 200, 50, 10))) == {
        "server_id": UUID,
        "domain": "web-1",
        "source": "kvm1",
        "destination": "kvm2",
        "state": "migrating",
        "ports": [{"index": 0, "port": 20000}],
        "progress": {
            "percent": 75,
            "elapsed": 1.235,
            "bytes_total": 200,
            "bytes_remaining": 50,
            "bytes_per_second": 10,
        },
        "error": None,
        "warnings": [],
    }
    assert migration_view(evolve(one, state=State.COMPLETED))["progress"]["percent"] == 100


def test_libvirt_s_figures() -> None:
    """Total, remaining and rates of memory and disks; without a total nothing is known."""
    stats = {
        "time_elapsed": 1500,
        "data_total": 400,
        "data_remaining": 100,
        "memory_bps": 7,
        "disk_bps": 5,
    }
    assert Progress.of(stats) == Progress(1.5, 400, 100, 12)
    assert Progress.of(stats).percent == 75
    assert Progress.of({"memory_total": 8, "memory_remaining": 2}).percent == 75
    assert Progress.of({}).percent == 0


class Libvirt:
    """Implements what is used of :class:`consoled.compute.libvirt.migrating.LibvirtMigrations`."""

    def __init__(self) -> None:
        self.performing: Any = None
        self.error: Exception | None = None

    def perform(self, order: Order) -> None:
        """At once, or with an error."""
        if self.error is not None:
            raise self.error

    def progress(self, uri: str, uuid: str) -> Progress | None:
        """Always the same."""
        return Progress(1, 10, 5)

    def abort(self, uri: str, uuid: str) -> bool:
        """Done."""
        return True


class SlowWorker(InlineWorker):
    """What is performed waits until the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    def run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Now, or later."""
        if fn.__name__ != "perform":
            return super().run(fn, *args, **kwargs)
        later: Deferred[None] = Deferred()
        self.waiting.append(later)
        return later.addCallback(lambda _: fn(*args, **kwargs))


ORDER = Order(UUID, "web-1", "qemu:///a", "qemu:///b", None, "<domain/>", None)


def test_the_threaded_engine_reports() -> None:
    """At once and every second, until the migration is over; then nothing is asked any more."""
    clock, worker, reports = Clock(), SlowWorker(), []
    engine = ThreadedEngine(clock, Libvirt(), lambda name: worker)  # type: ignore[arg-type]  # as far as it is used
    done = engine.run(ORDER, reports.append)
    clock.advance(INTERVAL)
    clock.advance(INTERVAL)
    assert reports == [Progress(1, 10, 5)] * 3
    worker.waiting[0].callback(None)
    assert now(done) is None
    clock.advance(INTERVAL)
    assert len(reports) == 3
    assert clock.getDelayedCalls() == []
    assert now(engine.abort("qemu:///a", UUID)) is True
    assert now(engine.progress("qemu:///a", UUID)) == Progress(1, 10, 5)


def test_the_threaded_engine_fails() -> None:
    """libvirt's refusal is told as it is; a libvirt that was lost is Unavailable."""
    libvirt = Libvirt()
    engine = ThreadedEngine(Clock(), libvirt, lambda name: InlineWorker())  # type: ignore[arg-type]  # as far as it is used
    libvirt.error = MigrationEnded("no")
    with pytest.raises(MigrationEnded):
        now(engine.run(ORDER, lambda _: None))
    libvirt.error = ClientError("end of file")
    with pytest.raises(Unavailable, match="end of file"):
        now(engine.run(ORDER, lambda _: None))
