"""A cell of several replicas in one process: their clocks, stalls and database wires by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from cells import outcome
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.db import instances, ports
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import ConsoledError, Unavailable
from consoled.leasing.cell import CellLease, CellLeases
from consoled.leasing.values import ConsoleKey, Holder, Timings
from consoled.model import Console, Instance, InstanceState
from consoled.workers import InlineWorker

T = TypeVar("T")

WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"
STEP = 0.25
"""Seconds between two turns of the reactors."""


def quick_database() -> CellDatabase:
    """As :func:`cells.memory_database`, without the migrations: many are made."""
    engine = make_engine("sqlite://")
    metadata.create_all(engine)
    return CellDatabase(engine, InlineWorker())


def make_consoles(connection: Connection, count: int) -> None:
    """One instance with that many consoles."""
    consoles = tuple(Console(index, "192.0.2.1", 10000 + index) for index in range(count))
    web = Instance(WEB, "web", "demo", "rack1", InstanceState.RUNNING, consoles)
    instances.upsert(connection, web, "static")
    for index, console in enumerate(consoles):
        ports.claim(connection, WEB, console, 10000 + index)


@define(eq=False, repr=False)
class Call:
    """One transaction on its way.

    :ivar landed: the database has executed it, and committed.
    """

    work: Callable[[], Deferred[Any]]
    answer: Deferred[Any] = field(factory=Deferred)
    landed: bool = False
    outcome: Any = None

    def land(self) -> None:
        """The database executes and commits it."""
        if not self.landed:
            self.landed = True
            self.outcome = outcome(self.work())

    def reply(self) -> None:
        """The answer reaches the replica."""
        self.land()
        self.answer.callback(self.outcome)

    def lose(self) -> None:
        """The replica hears of an error; whether it landed, or will, nobody knows."""
        self.answer.errback(Unavailable("the test lost the answer"))


@define(eq=False, repr=False)
class Wire:
    """A replica's way to the database (implements :class:`consoled.interfaces.Database`).

    :ivar prompt: every call lands and is answered at once.
    :ivar away: every call fails, and lands nowhere.
    """

    cell: CellDatabase
    prompt: bool = True
    away: bool = False
    calls: list[Call] = field(factory=list)

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """A transaction."""
        return self._send(Call(lambda: self.cell.run(fn, *args)))

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """A transaction that reads."""
        return self._send(Call(lambda: self.cell.read(fn, *args)))

    def _send(self, call: Call) -> Deferred[Any]:
        if self.away:
            call.lose()
        elif self.prompt:
            call.reply()
        else:
            self.calls.append(call)
        return call.answer

    def flush(self) -> None:
        """Everything on its way arrives, and what comes of it too."""
        while self.calls:
            self.calls.pop(0).reply()


@define(eq=False, repr=False)
class Node:
    """One replica.

    :ivar rate: how fast its clock runs.
    :ivar offset: what its clock shows when the world begins.
    :ivar stalled: its reactor does not turn (SIGSTOP).
    :ivar ended: what its sessions were told: (session id, close code, reason).
    """

    world: World
    name: str
    rate: float = 1.0
    offset: float = 0.0
    stalled: bool = False
    wire: Wire = field(init=False)
    clock: Clock = field(factory=Clock)
    leases: CellLeases = field(init=False)
    ended: list[tuple[str, int, str]] = field(factory=list)
    held: list[CellLease] = field(factory=list)
    refused: list[ConsoledError] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        ids = itertools.count(1)
        self.wire = Wire(self.world.cell)
        self.leases = CellLeases(
            database=self.wire,
            cell="lab",
            url=f"http://{self.name}/",
            clock=self.clock,
            end=lambda *told: self.ended.append(told),
            lose=self.lose,
            timings=self.world.timings,
            seconds=self.seconds,
            make_id=lambda: f"{self.name}-{next(ids)}",
        )

    def lose(self, key: ConsoleKey, code: int, reason: str) -> None:
        """What is on a console ends: the session that holds it last."""
        holding = [lease.claim for lease in self.held if lease.claim.key == key]
        self.ended.append((holding[-1].session_id, code, reason))

    def seconds(self) -> float:
        """Its own clock; a stop does not stop it."""
        return self.offset + self.world.now * self.rate

    def take(self, index: int = 0, user: str = "alice") -> Deferred[Any]:
        """Asks for a console; what comes of it goes to ``held`` or ``refused``."""
        session = f"{self.name}-session-{next(self.world.numbers)}"
        taking = self.leases.take(WEB, index, session, holder=Holder(user, "demo"))

        def refused(failure: Any) -> None:
            failure.trap(ConsoledError)
            self.refused.append(failure.value)

        return taking.addCallbacks(self.held.append, refused)

    def lease(self, index: int = 0, user: str = "alice") -> CellLease:
        """Takes a console that it gets at once."""
        before = len(self.held)
        self.take(index, user)
        assert len(self.held) == before + 1, self.refused
        return self.held[-1]

    def resume(self) -> None:
        """SIGCONT: what was due meanwhile runs late."""
        self.stalled = False
        self.turn()

    def turn(self) -> None:
        """Its reactor catches up with its clock."""
        due = self.world.now * self.rate - self.clock.seconds()
        while due > 0:
            self.clock.advance(min(due, 60.0))
            due = self.world.now * self.rate - self.clock.seconds()
            if due < 1e-6:
                break


@define(eq=False, repr=False)
class World:
    """The time that is the same for everybody, which no replica can see."""

    consoles: int = 1
    timings: Timings = field(factory=Timings)
    now: float = 0.0
    cell: CellDatabase = field(factory=quick_database)
    nodes: list[Node] = field(factory=list)
    numbers: Any = field(factory=lambda: itertools.count(1))

    def __attrs_post_init__(self) -> None:
        outcome(self.cell.run(make_consoles, self.consoles))

    def node(self, name: str, *, rate: float = 1.0, offset: float = 0.0) -> Node:
        """A replica that starts now."""
        node = Node(self, name, rate, offset)
        node.clock.rightNow = self.now * rate
        self.nodes.append(node)
        node.leases.start()
        return node

    def crash(self, node: Node) -> None:
        """SIGKILL."""
        self.nodes.remove(node)

    def advance(self, seconds: float) -> None:
        """Time goes by for everybody."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + STEP)
            for node in list(self.nodes):
                if not node.stalled:
                    node.turn()
