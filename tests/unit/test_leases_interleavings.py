"""Two owners never: whatever the order of statements, answers, stalls, losses and crashes.

Three replicas with clocks of their own rate and offset share one database. Hypothesis decides
when each transaction lands, when its answer arrives or is lost, who is stopped and for how
long. After every step, at that one moment of the world's time, at most one lease of a console
is valid in all processes that are alive: also in a stopped one, because that is what it would
see if it woke up now.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lease_world import WEB, Call, Node, World
from twisted.internet.defer import CancelledError

from consoled.errors import Unavailable
from consoled.leasing.cell import CellLease
from consoled.leasing.values import Timings

RATES = (0.96, 1.04, 1.0)
"""Clocks may differ by less than silence / validity."""

REPLICAS = st.integers(0, len(RATES) - 1)
CALLS = st.integers(0, 20)


class Interleavings(RuleBasedStateMachine):
    """See the module."""

    timings = Timings()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(timings=self.timings)
        self.nodes = [self.start(number) for number in range(len(RATES))]
        self.adrift: list[Call] = []
        self.epoch = 0
        self.seen: set[CellLease] = set()

    def start(self, number: int) -> Node:
        """A new process in that place."""
        name = f"r{next(self.world.numbers)}"
        return self.world.node(name, rate=RATES[number], offset=number * 1000.0)

    # Time

    @rule(
        seconds=st.sampled_from([0.5, 1, 2, 4, 8, 13, 16]),
        answers=st.sampled_from(["prompt", "late", "none"]),
    )
    def time_passes(self, seconds: float, answers: str) -> None:
        """For whoever is not stopped, with a database that answers, or lands only, or is away."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.answer(answers)
            self.world.advance(min(1.0, end - self.world.now))
        self.answer(answers)
        if answers == "late":
            self.answer("prompt")

    def answer(self, answers: str) -> None:
        """Each replica has one transaction at a time, in turn, until there are none."""
        if answers == "late":
            for node in self.nodes:
                for call in node.wire.calls:
                    call.land()
        while answers == "prompt":
            busy = [node for node in self.nodes if node.wire.calls and not node.stalled]
            if not busy:
                break
            for node in busy:
                node.wire.calls.pop(0).reply()

    # Processes

    @rule(number=REPLICAS)
    def stop_or_continue(self, number: int) -> None:
        """SIGSTOP, SIGCONT."""
        node = self.nodes[number]
        if node.stalled:
            node.resume()
        else:
            node.stalled = True

    @rule(number=REPLICAS)
    def crash_and_restart(self, number: int) -> None:
        """SIGKILL; what it had sent may land later."""
        node = self.nodes[number]
        self.adrift += [call for call in node.wire.calls if not call.landed]
        self.world.crash(node)
        self.nodes[number] = self.start(number)

    @rule(number=REPLICAS, prompt=st.booleans())
    def network(self, number: int, prompt: bool) -> None:
        """From now on calls of that replica are answered at once, or wait."""
        self.nodes[number].wire.prompt = prompt

    @rule(what=st.sampled_from(["stop", "cut off", "crash"]), seconds=st.integers(0, 20))
    def the_owner_falls(self, what: str, seconds: int) -> None:
        """It happens to whoever holds the console, and the others go on, and want it."""
        for number, node in enumerate(self.nodes):
            if any(lease.valid for lease in node.held):
                if what == "stop":
                    node.stalled = True
                elif what == "cut off":
                    node.wire.prompt = False
                else:
                    self.crash_and_restart(number)
        for _ in range(seconds):
            self.world.advance(1)
        self.everybody_wants_it()

    # Transactions

    @rule(number=REPLICAS, index=CALLS, fate=st.sampled_from(["lands", "is answered", "is lost"]))
    def a_call(self, number: int, index: int, fate: str) -> None:
        """One of those that wait, in any order.

        When it is lost the replica hears of an error: it has landed, lands later, or never.
        """
        node = self.nodes[number]
        if not node.wire.calls or (node.stalled and fate != "lands"):
            return
        call = node.wire.calls[index % len(node.wire.calls)]
        if fate == "lands":
            call.land()
            return
        node.wire.calls.remove(call)
        if fate == "is answered":
            call.reply()
        else:
            self.adrift += [] if call.landed else [call]
            call.lose()

    @precondition(lambda self: self.adrift)
    @rule(index=CALLS)
    def a_lost_one_lands(self, index: int) -> None:
        """Long after everybody has given up on it."""
        self.adrift.pop(index % len(self.adrift)).land()

    # Sessions

    @rule(number=REPLICAS, leave=st.booleans())
    def take(self, number: int, leave: bool) -> None:
        """A viewer asks for the console; some go away at once."""
        node = self.nodes[number]
        if node.stalled:
            return
        taking = node.take()
        if leave:
            taking.addErrback(lambda gone: gone.trap(CancelledError))
            taking.cancel()

    @rule()
    def everybody_wants_it(self) -> None:
        """As many viewers as there are replicas."""
        for number in range(len(self.nodes)):
            self.take(number, leave=False)

    @rule(number=REPLICAS, everybody=st.booleans())
    def release(self, number: int, everybody: bool) -> None:
        """Sessions that were told to end, or all of them, have closed their sockets."""
        node = self.nodes[number]
        told = {session for session, _, _ in node.ended}
        for lease in list(node.held):
            if not node.stalled and (everybody or lease.claim.session_id in told):
                node.held.remove(lease)
                node.leases.release(lease)

    @rule(number=REPLICAS)
    def disconnect(self, number: int) -> None:
        """An operator clears the instance."""
        node = self.nodes[number]
        if not node.stalled:
            asking = node.leases.request_disconnect("ada", "out", instance_uuid=WEB)
            asking.addErrback(lambda lost: lost.trap(Unavailable))

    # What must hold

    @invariant()
    def nobody_shares_the_console(self) -> None:
        """At most one valid lease, at every moment of the world's time."""
        valid = [lease for node in self.nodes for lease in node.held if lease.valid]
        assert len(valid) <= 1, [lease.claim for lease in valid]

    @invariant()
    def epochs_grow(self) -> None:
        """Whoever has the console now has a greater epoch than everybody before."""
        for node in self.nodes:
            for lease in node.held:
                if lease.valid and lease not in self.seen:
                    self.seen.add(lease)
                    assert lease.epoch > self.epoch
                    self.epoch = lease.epoch

    def teardown(self) -> None:
        """When all is well again, the console can be had: nothing is stuck for ever."""
        for call in self.adrift:
            call.land()
        for node in self.nodes:
            node.resume()
            node.wire.prompt = False
        for _ in range(2):
            for number in range(len(self.nodes)):
                self.release(number, everybody=True)
            self.time_passes(20, answers="prompt")
        self.nodes[0].wire.prompt = True
        assert self.nodes[0].lease().valid


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
