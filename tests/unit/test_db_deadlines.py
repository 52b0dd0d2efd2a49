"""consoled.db.deadlines: one timer for the answers that do not come."""

from __future__ import annotations

from collections import deque

from attrs import define, field
from twisted.internet.task import Clock

from consoled.db.deadlines import Deadlines
from consoled.db.grouping import Call
from consoled.errors import Unavailable


@define
class Watched:
    """Calls that have 8 seconds each."""

    clock: Clock = field(factory=Clock)
    queue: deque[Call] = field(factory=deque)
    told: list[object] = field(factory=list)
    deadlines: Deadlines = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.deadlines = Deadlines(self.clock, 8.0, lambda: Unavailable("away"))

    def call(self) -> Call:
        """A call that is watched from now on."""
        call = Call(len, (), self.queue)
        call.answer.addErrback(lambda failure: self.told.append(failure.value))
        self.queue.append(call)
        self.deadlines.watch(call)
        return call

    @property
    def timers(self) -> int:
        """How many calls wait for their time."""
        return len(self.clock.getDelayedCalls())


def test_each_has_its_own_time() -> None:
    """A call that nobody answers is given up after its time, and no earlier one's."""
    world = Watched()
    world.call()
    world.clock.advance(5)
    world.call()
    world.clock.advance(3)
    assert [str(error) for error in world.told] == ["away"]
    world.clock.advance(4.9)
    assert len(world.told) == 1
    world.clock.advance(0.2)
    assert len(world.told) == 2
    assert world.timers == 0


def test_what_still_waits_is_taken_back() -> None:
    """A call that is given up before its turn is not carried out later."""
    world = Watched()
    world.call()
    world.clock.advance(8)
    assert not world.queue


def test_answered_ones_cost_nothing() -> None:
    """Thousands of answers leave one timer behind, and none when its time is over."""
    world = Watched()
    for _ in range(1000):
        world.call().answer.callback(None)
        world.clock.advance(0.001)
    assert world.timers == 1
    world.clock.advance(8)
    assert (world.told, world.timers) == ([], 0)


def test_a_late_answer_is_for_nobody() -> None:
    """A call that was given up stays so; whoever answers it looks first."""
    world = Watched()
    call = world.call()
    world.clock.advance(8)
    assert call.answer.called


def test_the_end() -> None:
    """Nothing is watched after it, and no timer is left."""
    world = Watched()
    world.call()
    world.deadlines.stop()
    assert world.timers == 0
