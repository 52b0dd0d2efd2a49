r"""A session: one viewer on a line, as writer or observer, as a state machine.

::

    opening --opened--> open <--returned/viewer_lost--> away
        \                 |                              |
         \--(refused)-----+----(ended, viewer_left)------+--> closed

A session outlives its viewer's connection: while it is ``away`` its line goes on into the
ring, and whoever has its resume key, or a token of the same user, comes back to it.

Input that comes before ``open`` waits, bounded, until the console's lease is held and its
port connected; after ``closed`` it is dropped, whatever autobahn still delivers.
"""

from __future__ import annotations

from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoleBusy, ConsoledError, HeldOutside
from consoled.proxy.breaking import send_break
from consoled.proxy.core import EARLY_INPUT, SLOW_VIEWER, TAKEN_OVER, SessionCore, name_of
from consoled.proxy.limits import Stopwatch
from consoled.proxy.presence import busy, held_outside
from consoled.proxy.viewing import Comeback, SessionInputs

log = Logger()


_builder = TypeMachineBuilder(SessionInputs, SessionCore)
_opening = _builder.state("opening")
_open = _builder.state("open")
_away = _builder.state("away")
_closed = _builder.state("closed")


@_opening.upon(SessionInputs.opened).to(_open)
def _start(inputs: SessionInputs, core: SessionCore) -> None:
    core.entering = None
    assert core.viewer is not None
    viewer = core.viewer
    place = core.line.console.console.place
    carrier = core.line.console.leg.carrier
    core.audit("session_opened", "opened {place}", place=place, transport=carrier)
    core.stopwatch = Stopwatch(
        core.limits,
        core.clock,
        core.warn,
        inputs.ended,
    )
    core.stopwatch.start(core.token.left)
    core.record()
    core.attach(viewer, None)
    if core.early:
        early, core.early = core.early, b""
        viewer.transport.resumeProducing()
        core.type(early)


@_opening.upon(SessionInputs.typed).to(_opening)
def _wait(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.early += data
    if len(core.early) > EARLY_INPUT:
        assert core.viewer is not None
        core.viewer.transport.pauseProducing()


@_opening.upon(SessionInputs.refused).to(_closed)
def _refuse(inputs: SessionInputs, core: SessionCore, error: ConsoledError) -> None:
    core.entering = None
    if isinstance(error, HeldOutside):
        found = held_outside(core.token, str(error))
        core.finish(error.close_code, found.text, found)
    elif isinstance(error, ConsoleBusy):
        found = busy(
            core.token,
            user_id=error.user_id,
            project_id=error.project_id,
            since=error.since,
            here=False,
        )
        core.finish(error.close_code, found.text, found)
    else:
        core.finish(error.close_code, str(error))


@_open.upon(SessionInputs.typed).to(_open)
def _typed(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.typed(data)


@_open.upon(SessionInputs.printed).to(_open)
def _printed(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.show(data)


@_open.upon(SessionInputs.acknowledged).to(_open)
def _acknowledged(inputs: SessionInputs, core: SessionCore, count: int) -> None:
    assert core.flow is not None
    core.flow.acknowledge(count)


@_open.upon(SessionInputs.confirmed).to(_open)
def _confirmed(inputs: SessionInputs, core: SessionCore) -> None:
    core.prove()


@_open.upon(SessionInputs.pasting).to(_open)
def _pasting(inputs: SessionInputs, core: SessionCore, count: int) -> None:
    if core.writes:
        core.inlet.announce(count)


@_open.upon(SessionInputs.cancelled).to(_open)
def _cancelled(inputs: SessionInputs, core: SessionCore) -> None:
    if core.writes:
        core.inlet.cancel()


@_open.upon(SessionInputs.break_wanted).to(_open)
def _break_wanted(inputs: SessionInputs, core: SessionCore, key: str | None) -> None:
    send_break(core, key)


@_opening.upon(SessionInputs.resized).to(_opening)
@_open.upon(SessionInputs.resized).to(_open)
def _resized(inputs: SessionInputs, core: SessionCore, columns: int, rows: int) -> None:
    core.resized(columns, rows)


@_open.upon(SessionInputs.asked).to(_open)
def _asked(inputs: SessionInputs, core: SessionCore, user: str | None, seconds: float) -> None:
    core.asked_by = user
    core.asked_until = core.clock.seconds() + seconds
    core.mark(f"take-over asked by {user}" if user else "take-over given up")
    if core.viewer is not None:
        core.viewer.show_request(user, seconds)


@_open.upon(SessionInputs.handed_over).to(_open)
def _hand_over(inputs: SessionInputs, core: SessionCore) -> None:
    if core.asked_by is not None:
        inputs.ended(TAKEN_OVER, f"You handed the console over to {core.asked_by}.")


@_opening.upon(SessionInputs.ended).to(_closed)
@_open.upon(SessionInputs.ended).to(_closed)
@_away.upon(SessionInputs.ended).to(_closed)
def _ended(inputs: SessionInputs, core: SessionCore, code: int, reason: str) -> None:
    core.finish(code, reason)


@_opening.upon(SessionInputs.viewer_lost).to(_closed)
def _gave_up(inputs: SessionInputs, core: SessionCore) -> None:
    core.finish(None, "the viewer went away")


@_opening.upon(SessionInputs.viewer_left).to(_closed)
@_open.upon(SessionInputs.viewer_left).to(_closed)
def _left(inputs: SessionInputs, core: SessionCore) -> None:
    core.finish(None, "the viewer closed the console")


@_open.upon(SessionInputs.viewer_lost).to(_away)
def _linger(inputs: SessionInputs, core: SessionCore) -> None:
    core.detach()
    core.mark("detach")
    core.audit("session_lingers", "waits {seconds} s for its viewer", seconds=core.linger)
    core.await_viewer()


@_open.upon(SessionInputs.stalled).to(_away)
def _drop_slow_viewer(inputs: SessionInputs, core: SessionCore) -> None:
    # A laptop that sleeps looks the same: the console stays for it as for a lost connection.
    viewer = core.detach()
    if viewer is not None:
        viewer.dismiss(SLOW_VIEWER, "The output could not be shown fast enough for too long.")
    core.mark("detach")
    core.audit("viewer_stalled", "dropped a viewer that took no output")
    core.await_viewer()


@_away.upon(SessionInputs.returned).to(_open)
def _resume(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    core.stop_waiting()
    _adopt(inputs, core, comeback)


@_open.upon(SessionInputs.returned).to(_open)
def _replace(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    former = core.detach()
    if former is not None:
        former.dismiss(TAKEN_OVER, "This console went on in another window.")
    _adopt(inputs, core, comeback)


def _adopt(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    if comeback.token is not None:
        core.token = comeback.token
        # The key of the other window, which has lost the console, opens nothing any more.
        core.resume = None
        assert core.stopwatch is not None
        core.stopwatch.renew(comeback.token.left)
    core.mark(f"attach {name_of(core.holder)}")
    core.attach(comeback.viewer, comeback.since)
    core.audit("session_resumed", "goes on, in a new connection")


@_opening.upon(SessionInputs.returned).to(_opening)
def _replace_early(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    former, core.viewer = core.viewer, comeback.viewer
    core.early = b""
    if former is not None:
        former.dismiss(TAKEN_OVER, "This console went on in another window.")


@_closed.upon(SessionInputs.returned).to(_closed)
def _missed(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    comeback.viewer.dismiss(1013, "The session has ended at this moment. Try again.")


for _state, _event in (
    (_opening, SessionInputs.printed),
    (_opening, SessionInputs.acknowledged),
    (_opening, SessionInputs.confirmed),
    (_opening, SessionInputs.pasting),
    (_opening, SessionInputs.cancelled),
    (_opening, SessionInputs.break_wanted),
    (_opening, SessionInputs.asked),
    (_opening, SessionInputs.handed_over),
    (_opening, SessionInputs.stalled),
    (_away, SessionInputs.printed),
    (_away, SessionInputs.break_wanted),
    (_away, SessionInputs.resized),
    (_away, SessionInputs.asked),
    (_away, SessionInputs.handed_over),
    (_away, SessionInputs.typed),
    (_away, SessionInputs.acknowledged),
    (_away, SessionInputs.confirmed),
    (_away, SessionInputs.pasting),
    (_away, SessionInputs.cancelled),
    (_away, SessionInputs.viewer_lost),
    (_away, SessionInputs.viewer_left),
    (_away, SessionInputs.stalled),
    (_closed, SessionInputs.typed),
    (_closed, SessionInputs.printed),
    (_closed, SessionInputs.acknowledged),
    (_closed, SessionInputs.confirmed),
    (_closed, SessionInputs.pasting),
    (_closed, SessionInputs.cancelled),
    (_closed, SessionInputs.opened),
    (_closed, SessionInputs.break_wanted),
    (_closed, SessionInputs.resized),
    (_closed, SessionInputs.asked),
    (_closed, SessionInputs.handed_over),
    (_closed, SessionInputs.refused),
    (_closed, SessionInputs.ended),
    (_closed, SessionInputs.viewer_lost),
    (_closed, SessionInputs.viewer_left),
    (_closed, SessionInputs.stalled),
):
    _state.upon(_event).loop().returns(None)

_machine = _builder.build()


def begin_session(core: SessionCore, after: Deferred[None] | None = None) -> SessionInputs:
    """A session that goes to its line at once.

    :param after: what has to end before it may have the writer's seat.
    """
    session = core.inputs = _machine(core)
    core.since = core.clock.seconds()
    core.line.join(core)
    if core.writes and after is None:
        core.line.seat(core)

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, ConsoledError):
            log.failure("session {session_id}: cannot open", failure, session_id=core.session_id)
            error = ConsoledError("Something went wrong inside consoled. Its log says what.")
        session.refused(error)

    entering = core.entering = Deferred.fromCoroutine(_enter(core, after))
    entering.addCallbacks(lambda _: session.opened(), failed)
    return session


async def _enter(core: SessionCore, after: Deferred[None] | None) -> None:
    if after is not None:
        await after
        if core.line.writer is not None:
            raise ConsoleBusy("Somebody else was faster. Try again.")
        core.line.seat(core)
    await core.line.ready()
    await core.admit()
