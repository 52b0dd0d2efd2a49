"""consoled.leasing.cell: each rule of the lease protocol, on clocks moved by hand."""

from __future__ import annotations

import time

import pytest
from cells import outcome
from lease_world import WEB, Node, World
from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from consoled.db import instances, leases, replicas
from consoled.errors import ConsoleBusy, NotFound, Unavailable
from consoled.leasing.cell import DISCONNECTED
from consoled.leasing.values import ConsoleKey, LeaseRow, Taking

KEY = ConsoleKey(WEB, 0)


def row(world: World) -> LeaseRow:
    """The console's lease as the database has it."""
    found = outcome(world.cell.read(leases.look, KEY))
    assert found is not None
    return found


def close_sessions(node: Node) -> None:
    """What sessions do that were told to end: close their sockets, give their leases back."""
    told = {session for session, _, _ in node.ended}
    for lease in [lease for lease in node.held if lease.claim.session_id in told]:
        outcome(node.leases.release(lease))


def two() -> tuple[World, Node, Node]:
    """A cell with replicas a and b, whose clocks show very different times."""
    world = World()
    return world, world.node("a"), world.node("b", offset=1e6)


def test_take_and_release() -> None:
    """A lease is valid while it is held; each taking is a new epoch."""
    world, a, b = two()
    first = a.lease()
    assert first.valid
    assert (first.epoch, first.seized) == (1, False)
    assert outcome(a.leases.release(first)) is None
    assert not first.valid
    second = b.lease()
    assert (second.epoch, second.seized) == (2, False)
    outcome(a.leases.release(first))
    assert second.valid
    assert row(world).claim == second.claim


@pytest.mark.parametrize("other", [0, 1])
def test_a_held_console_is_busy(other: int) -> None:
    """For its own replica as for others; the error knows who, its text names nobody."""
    _world, a, b = two()
    held = a.lease(user="alice")
    (a, b)[other].take(user="bob")
    (error,) = (a, b)[other].refused
    assert isinstance(error, ConsoleBusy)
    assert (error.user_id, error.project_id) == ("alice", "demo")
    assert error.session_id == held.claim.session_id
    assert error.since is not None
    assert "alice" not in str(error)
    assert held.valid


def test_nobody_is_alone_before_the_first_look() -> None:
    """A viewer that comes to a replica in its first moment is sent on as one that comes later."""
    world, a, _ = two()
    held = a.lease()
    late = Node(world, "c")
    late.wire.prompt = False
    late.leases.start()
    asked = late.leases.elsewhere(WEB, 0, None)
    # Before its own first beat and look have come back.
    late.wire.calls.pop().reply()
    assert outcome(asked).claim == held.claim


def test_an_unknown_console() -> None:
    """Its instance was deleted since the URL was made."""
    _world, a, _ = two()
    a.take(index=9)
    assert isinstance(a.refused[0], NotFound)


def test_beats_keep_a_lease_for_ever() -> None:
    """Long after the validity of one beat; the other replica sees the beats and waits."""
    world, a, b = two()
    lease = a.lease()
    world.advance(300)
    assert lease.valid
    assert a.ended == []
    b.take()
    assert isinstance(b.refused[0], ConsoleBusy)


def test_a_dead_owner_is_free_within_15_seconds() -> None:
    """SIGKILL (D4): not before its validity must have ended, and in the time promised."""
    world, a, b = two()
    world.advance(100)
    lease = a.lease()
    world.crash(a)
    world.advance(9)
    b.take()
    assert isinstance(b.refused[0], ConsoleBusy)
    world.advance(5.5)
    assert not lease.valid
    taken = b.lease()
    assert taken.valid
    assert (taken.epoch, taken.seized) == (2, True)


def test_an_observer_that_comes_late_counts_for_itself() -> None:
    """A replica that starts after the crash judges by what it has seen, not by any time."""
    world = World()
    a = world.node("a")
    a.lease()
    world.crash(a)
    world.advance(60)
    b = world.node("b")
    world.advance(11)
    b.take()
    assert isinstance(b.refused[0], ConsoleBusy)
    world.advance(3)
    assert b.lease().valid


def test_a_look_that_is_answered_late_condemns_nobody() -> None:
    """The beat that was seen has gone on since: the UPDATE finds nothing."""
    world, a, b = two()
    lease = a.lease()
    b.wire.prompt = False
    world.advance(1)
    (poll,) = b.wire.calls
    poll.land()
    world.advance(15)
    b.wire.prompt = True
    poll.reply()
    world.advance(5)
    assert lease.valid
    assert a.leases.replica_id == "a-1"


def test_two_that_come_at_the_same_moment() -> None:
    """F8: both have asked, one gets it; the other finds it busy, whoever hears first."""
    world, a, b = two()
    a.wire.prompt = b.wire.prompt = False
    a.take()
    b.take()
    b.wire.calls[0].land()
    a.wire.flush()
    b.wire.flush()
    assert b.held[0].valid
    assert isinstance(a.refused[0], ConsoleBusy)
    assert row(world).epoch == 1


def test_a_console_that_came_free_again_is_asked_for_again() -> None:
    """Somebody was faster between look and UPDATE, and is gone already."""
    world, a, _ = two()
    a.wire.prompt = False
    a.take()
    (first,) = a.wire.calls
    first.landed, first.outcome = True, Taking(None, row=LeaseRow(KEY, 1, None, owner_dead=False))
    a.wire.flush()
    assert a.held[0].valid
    assert row(world).claim == a.held[0].claim


def test_consoles_that_always_come_free_again() -> None:
    """It is asked for three times, then called busy."""
    _world, a, _ = two()
    a.wire.prompt = False
    a.take()
    for _ in range(3):
        (call,) = a.wire.calls
        call.landed, call.outcome = True, Taking(None, row=LeaseRow(KEY, 1, None, owner_dead=False))
        a.wire.calls.remove(call)
        call.reply()
    assert isinstance(a.refused[0], ConsoleBusy)


def test_a_console_whose_socket_is_not_closed_yet_is_not_taken() -> None:
    """What this process has lost by being silent it does not take back before it has closed it."""
    world, a, _ = two()
    lease = a.lease()
    a.wire.away = True
    world.advance(16)
    a.wire.away = False
    world.advance(3)
    assert not lease.valid
    a.take(user="bob")
    assert isinstance(a.refused[0], ConsoleBusy)
    close_sessions(a)
    taken = a.lease(user="bob")
    assert (taken.valid, taken.seized) == (True, False)


def test_a_stopped_owner_wakes_up_without_its_lease() -> None:
    """F13: invalid in the first moment, before any timer, beat or answer."""
    world, a, b = two()
    lease = a.lease()
    a.stalled = True
    world.advance(10)
    assert not lease.valid
    assert a.ended == []
    world.advance(5)
    theirs = b.lease()
    a.resume()
    assert [code for _, code, _ in a.ended] == [1013]
    close_sessions(a)
    assert theirs.valid
    assert row(world).claim == theirs.claim


def test_a_stopped_owner_that_nobody_declared_dead() -> None:
    """Alone in its cell it does not get back what it had, but may take it anew."""
    world = World()
    a = world.node("a")
    lease = a.lease()
    a.stalled = True
    world.advance(11)
    a.resume()
    world.advance(3)
    assert not lease.valid
    assert len(a.ended) == 1
    a.take()
    assert isinstance(a.refused[0], ConsoleBusy), "its socket is not closed yet"
    close_sessions(a)
    again = a.lease()
    assert again.valid
    assert again.epoch == 2


def test_an_answer_that_arrives_after_the_end_extends_nothing() -> None:
    """The beat was committed in time; the replica learned of it too late."""
    world = World()
    a = world.node("a")
    lease = a.lease()
    a.wire.prompt = False
    world.advance(2)
    a.stalled = True
    world.advance(9)
    a.wire.flush()
    assert not lease.valid
    assert len(a.ended) == 1


def test_validity_counts_from_before_the_beat_was_sent() -> None:
    """A slow answer does not make it longer."""
    world = World()
    a = world.node("a")
    lease = a.lease()
    a.wire.prompt = False
    world.advance(2)
    sent = world.now
    world.advance(6)
    a.wire.flush()
    world.advance(sent + 9.75 - world.now)
    assert lease.valid
    a.wire.calls.clear()
    world.advance(0.25)
    assert not lease.valid


def test_database_away() -> None:
    """D1: sessions live on for the validity, then end with a reason; new ones are refused."""
    world, a, b = two()
    lease = a.lease()
    a.wire.away = b.wire.away = True
    world.advance(7)
    assert lease.valid
    a.take(user="bob")
    assert isinstance(a.refused.pop(), Unavailable)
    world.advance(23)
    assert not lease.valid
    ((session, code, reason),) = a.ended
    assert (session, code) == (lease.claim.session_id, 1013)
    assert "database" in reason
    close_sessions(a)
    a.take()
    assert isinstance(a.refused.pop(), Unavailable)
    a.wire.away = b.wire.away = False
    world.advance(4)
    assert b.lease().valid


def test_declared_dead_means_a_new_id() -> None:
    """A beat that changes no row ends every session at once, and registers anew."""
    world = World(consoles=2)
    a = world.node("a")
    leases_of_a = [a.lease(0), a.lease(1)]
    assert a.leases.replica_id == "a-1"
    outcome(world.cell.run(replicas.end, "a-1"))
    world.advance(2)
    assert a.leases.replica_id == "a-2"
    assert len(a.ended) == 2
    assert not any(lease.valid for lease in leases_of_a)
    close_sessions(a)
    assert a.lease(0).valid


def test_what_an_own_former_incarnation_held_is_not_seized() -> None:
    """A replica that was cut off has closed its sockets itself: its port is not in doubt."""
    world = World()
    a = world.node("a")
    a.lease()
    outcome(world.cell.run(replicas.end, "a-1"))
    world.advance(3)
    assert a.leases.replica_id == "a-2"
    a.leases._held.clear()  # its line is closed, and the database did not hear of it
    assert not a.lease().seized


def test_the_end_of_one_session_that_fails_does_not_keep_the_others() -> None:
    """Whatever a session does when it is told, the next one is told too."""
    world = World(consoles=2)
    a = world.node("a")
    a.lease(0)
    a.lease(1)
    told: list[ConsoleKey] = []

    def fail(key: ConsoleKey, code: int, reason: str) -> None:
        told.append(key)
        raise RuntimeError("a mistake")

    a.leases.lose = fail
    outcome(world.cell.run(replicas.end, "a-1"))
    with capturedLogs() as logs:
        world.advance(2)
    assert len(told) == 2
    assert len([log for log in logs if "log_failure" in log]) == 2


def test_a_take_whose_commit_is_unknown_is_read_back() -> None:
    """D3: it had landed, so it is ours."""
    _world, a, b = two()
    a.wire.prompt = False
    a.take()
    (update,) = a.wire.calls
    update.land()
    update.lose()
    a.wire.calls.pop(1).reply()
    assert a.held[0].valid
    # Nobody has said from whom it was taken.
    assert a.held[0].seized
    b.take()
    assert isinstance(b.refused[0], ConsoleBusy)


def test_a_take_that_lands_after_it_was_read_back() -> None:
    """It was refused; when the row turns up all the same, a poll gives it back."""
    world, a, b = two()
    a.wire.prompt = False
    a.take()
    (update,) = a.wire.calls
    update.lose()
    a.wire.calls.pop(1).reply()
    assert isinstance(a.refused[0], Unavailable)
    update.land()
    assert not row(world).free
    a.wire.prompt = True
    world.advance(3)
    assert row(world).free
    assert b.lease().valid


def test_a_take_that_takes_longer_than_the_standing() -> None:
    """A COMMIT that is heard of after the end gives nothing, and is given back."""
    world = World()
    a = world.node("a")
    a.wire.prompt = False
    a.take()
    (update,) = a.wire.calls
    a.wire.calls.clear()
    a.stalled = True
    world.advance(11)
    update.reply()
    a.wire.flush()
    assert isinstance(a.refused[0], Unavailable)
    assert row(world).free
    assert row(world).epoch == 1


def test_a_release_that_is_not_heard() -> None:
    """It does not fail, and a later poll repeats it."""
    world, a, b = two()
    lease = a.lease()
    a.wire.away = True
    assert outcome(a.leases.release(lease)) is None
    assert not lease.valid
    a.wire.away = False
    world.advance(3)
    assert b.lease().valid


def test_takes_and_releases_under_way_are_not_repaired() -> None:
    """While the database is slow the poll does not take away what is just being taken."""
    world = World()
    a = world.node("a")
    world.advance(1)
    a.wire.prompt = False
    a.take()
    (update,) = a.wire.calls
    a.wire.calls.clear()
    update.land()
    for _ in range(5):
        world.advance(1)
        a.wire.flush()
    update.reply()
    lease = a.held[0]
    assert lease.valid
    assert row(world).claim == lease.claim


def test_a_deleted_instance_ends_its_sessions() -> None:
    """The row went by the foreign key: the session is told, once."""
    world, a, _ = two()
    lease = a.lease()
    outcome(world.cell.run(instances.remove, WEB))
    world.advance(3)
    assert not lease.valid
    assert a.ended == [(lease.claim.session_id, 4413, "This console does not exist any more.")]
    world.advance(10)
    assert len(a.ended) == 1


@pytest.mark.parametrize("asker", [0, 1])
def test_a_forced_disconnect(asker: int) -> None:
    """F9: from any replica, by session; the owner's poll carries it within a second or so."""
    world, a, b = two()
    lease = a.lease()
    world.advance(5)
    node = (a, b)[asker]
    asked = outcome(
        node.leases.request_disconnect("ada", "maintenance", session_id=lease.claim.session_id)
    )
    assert [one.claim for one in asked] == [lease.claim]
    if node is a:
        assert len(a.ended) == 1, "its own session ends at once"
    world.advance(5)
    assert a.ended == [(lease.claim.session_id, DISCONNECTED, "maintenance")]
    assert lease.valid, "until the session has closed its socket"
    close_sessions(a)
    assert b.lease().valid


def test_a_disconnect_of_an_instance() -> None:
    """All of its sessions, wherever they are."""
    world = World(consoles=2)
    a, b = world.node("a"), world.node("b")
    a.lease(0)
    b.lease(1)
    asked = outcome(a.leases.request_disconnect("ada", "moving", instance_uuid=WEB))
    world.advance(1)
    assert len(asked) == 2
    assert [len(a.ended), len(b.ended)] == [1, 1]
    with pytest.raises(ValueError, match="name a session or an instance"):
        a.leases.request_disconnect("ada", "moving")


def test_sessions_of_all_replicas_are_listed() -> None:
    """With who, where and at which epoch; dead ones are none."""
    world = World(consoles=2)
    a, b = world.node("a"), world.node("b")
    a.lease(0, "alice")
    b.lease(1, "bob")
    listed = outcome(a.leases.sessions())
    assert [(one.holder.user_id, one.url) for one in listed] == [
        ("alice", "http://a/"),
        ("bob", "http://b/"),
    ]
    assert outcome(a.leases.sessions("unknown")) == []
    world.crash(b)
    world.advance(14)
    assert [one.holder.user_id for one in outcome(a.leases.sessions(WEB))] == ["alice"]


def test_stopping_frees_everything_at_once() -> None:
    """What no session gave back stays in the dead replica's name: free, and known as seized."""
    world, a, b = two()
    lease = a.lease()
    with capturedLogs():
        outcome(a.leases.stop())
    assert not lease.valid
    assert [code for _, code, _ in a.ended] == [1013]
    taken = b.lease()
    assert taken.seized
    outcome(a.leases.release(lease))
    assert row(world).claim == taken.claim
    a.take()
    assert isinstance(a.refused[0], Unavailable)
    assert a.clock.getDelayedCalls() == []


def test_stopping_after_all_was_given_back() -> None:
    """The next owner has nothing to yank."""
    _world, a, b = two()
    outcome(a.leases.release(a.lease()))
    outcome(a.leases.stop())
    assert not b.lease().seized


def test_stopping_without_a_database() -> None:
    """It ends; the others find out by themselves."""
    world, a, b = two()
    a.lease()
    a.wire.away = True
    outcome(a.leases.stop())
    assert a.clock.getDelayedCalls() == []
    world.nodes.remove(a)
    world.advance(14)
    assert b.lease().seized


def test_stopping_waits_for_what_is_under_way() -> None:
    """The database's worker may stop after it."""
    world = World()
    a = world.node("a")
    a.wire.prompt = False
    world.advance(2)
    stopped = a.leases.stop()
    assert not stopped.called
    a.wire.flush()
    assert stopped.called


def test_the_first_request_waits_for_the_registration() -> None:
    """A daemon that has just started refuses nobody for that."""
    world = World()
    a = Node(world, "a")
    a.wire.prompt = False
    a.take()
    a.leases.start()
    assert (a.held, a.refused) == ([], [])
    a.wire.flush()
    assert a.held[0].valid


def test_a_registration_whose_commit_is_unknown() -> None:
    """The same id is tried again, so no ghost is left."""
    world = World()
    a = Node(world, "a")
    world.nodes.append(a)
    a.wire.prompt = False
    a.leases.start()
    a.wire.calls[0].land()
    a.wire.calls[0].lose()
    assert a.leases.replica_id is None
    a.wire.calls.clear()
    a.wire.prompt = True
    world.advance(2)
    assert a.leases.replica_id == "a-1"
    assert len(outcome(world.cell.read(replicas.peers))) == 1


def test_an_id_that_died_before_it_was_used() -> None:
    """Registered, unheard of, declared dead: the next id it is."""
    world = World()
    a = Node(world, "a")
    world.nodes.append(a)
    a.wire.prompt = False
    a.leases.start()
    a.wire.calls[0].land()
    a.wire.calls[0].lose()
    outcome(world.cell.run(replicas.end, "a-1"))
    a.wire.calls.clear()
    a.wire.prompt = True
    world.advance(4)
    assert a.leases.replica_id == "a-2"


def test_a_mistake_in_a_round_does_not_end_the_loops() -> None:
    """It is logged, and the next beat and poll come in time."""
    world, a, _b = two()
    lease = a.lease()
    database, a.leases._heart.database = a.leases._heart.database, None  # type: ignore[assignment]  # the mistake
    a.leases._lookout.database = None  # type: ignore[assignment]  # the mistake
    with capturedLogs() as logs:
        world.advance(3)
    assert {log["log_format"].partition(";")[0] for log in logs if "log_failure" in log} == {
        "the heartbeat failed",
        "the poll of the cell failed",
    }
    a.leases._heart.database = a.leases._lookout.database = database
    world.advance(30)
    assert lease.valid


def test_the_wall_clock_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: nothing of the protocol has a use for it, so a step of it does nothing."""
    world, a, b = two()

    def asked() -> float:
        raise AssertionError("the wall clock was asked")

    monkeypatch.setattr(time, "time", asked)
    lease = a.lease()
    world.advance(30)
    assert lease.valid
    world.crash(a)
    world.advance(14)
    assert b.lease().valid


class Cancelling(SynchronousTestCase):
    """A viewer that leaves while its console is being taken."""

    def test_nothing_is_left_behind(self) -> None:
        """The take goes on in its worker; what it gets is given back."""
        world, a, b = two()
        a.wire.prompt = False
        taking = a.leases.take(WEB, 0, "gone")
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        a.wire.flush()
        assert row(world).free
        assert row(world).epoch == 1
        assert b.lease().valid

    def test_a_refusal_after_it_is_nobody_s(self) -> None:
        """Nobody is there to hear of it, and nothing is logged."""
        _world, a, b = two()
        b.lease()
        a.wire.prompt = False
        taking = a.leases.take(WEB, 0, "gone")
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        a.wire.flush()
        assert self.flushLoggedErrors() == []
