r"""A session: one viewer's right to one line, as a state machine.

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

from typing import Any, Protocol

from attrs import define, field, frozen
from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoleBusy, ConsoledError
from consoled.interfaces import Driver
from consoled.model import ConsoleAuthToken
from consoled.proxy.gate import Gate, InputThrottle
from consoled.proxy.hangup import why_hung_up
from consoled.proxy.limits import SessionLimits, Stopwatch
from consoled.proxy.opening import OpenConsole, Opener
from consoled.proxy.presence import Busy, busy
from consoled.proxy.resuming import ResumeKey

log = Logger()

NORMAL = 1000
TAKEN_OVER = 4410
SLOW_VIEWER = 4414
EARLY_INPUT = 64 * 1024
"""Bytes of input that may wait for the console; more stays in the viewer's socket."""


BLIND_PATIENCE = 5.0
"""Seconds after which typing is confirmation enough of a viewer that has no words for it."""


@frozen
class Greeting:
    """What a viewer is told when its console is open.

    :ivar resume: the key by which it comes back to this session; it names the session.
    :ivar offset: the count of the line's output bytes before the next one that it gets.
    :ivar lost: output bytes between what it asked for and ``offset`` that are gone.
    :ivar unproven: whether input is held back until the guest's first byte.
    """

    resume: ResumeKey
    console: OpenConsole
    offset: int
    lost: int
    unproven: bool


class Viewer(Protocol):
    """What a session needs of its WebSocket."""

    @property
    def acknowledges(self) -> bool:
        """Whether the page says what it has shown."""

    @property
    def transport(self) -> Any:
        """The socket, a producer and a consumer."""

    def greet(self, greeting: Greeting) -> None:
        """The console is open."""

    def send(self, data: bytes) -> None:
        """Output for the viewer."""

    def warn(self, text: str) -> None:
        """A line for the person, about what will happen."""

    def dismiss(self, code: int, reason: str, busy: Busy | None = None) -> None:
        """Closes the WebSocket with a plain reason; nothing follows it."""


@frozen
class Comeback:
    """A viewer that comes to a session that is there already.

    :ivar since: the offset of the line's output that it has seen, or None for nothing.
    :ivar token: what it came with; None where its resume key opened the way.
    """

    viewer: Viewer
    since: int | None
    token: ConsoleAuthToken | None


class SessionInputs(Protocol):
    """What can happen to a session."""

    def opened(self, console: OpenConsole) -> None:
        """The console's line is connected."""

    def refused(self, error: ConsoledError) -> None:
        """The console does not open."""

    def typed(self, data: bytes) -> None:
        """Input from the viewer."""

    def printed(self, data: bytes) -> None:
        """Output of the guest."""

    def acknowledged(self, count: int) -> None:
        """The page has shown that many bytes in all."""

    def confirmed(self) -> None:
        """The person wants to type although the guest has said nothing yet."""

    def line_lost(self) -> None:
        """The console's side closed the connection."""

    def ended(self, code: int, reason: str) -> None:
        """Somebody, or a limit, ends the session."""

    def viewer_lost(self) -> None:
        """The viewer's connection broke."""

    def viewer_left(self) -> None:
        """The viewer closed its connection."""

    def stalled(self) -> None:
        """The viewer has taken no output for too long."""

    def returned(self, comeback: Comeback) -> None:
        """A viewer that the session belongs to takes it up."""


@define(eq=False)
class SessionCore:
    """The parts of one session, and what its audit line tells.

    :ivar session_id: named in lists and logs; it attaches to nothing.
    :ivar viewer: its WebSocket; None while the session is away.
    :ivar linger: seconds that it waits for its viewer to come back.
    :ivar over: whether it has ended, or will end in a moment.
    :ivar gone: fires when its line is closed and its lease given back.
    :ivar opened_at: when the console was opened, seconds since the epoch, for people.
    """

    session_id: str
    token: ConsoleAuthToken
    viewer: Viewer | None
    opener: Opener
    driver: Driver
    clock: IReactorTime
    stall_timeout: float
    linger: float
    limits: SessionLimits
    facts: dict[str, object] = field(factory=dict)
    gone: Deferred[None] = field(factory=Deferred)
    over: bool = False
    opened_at: int | None = None
    resume: ResumeKey | None = None
    opening: Deferred[OpenConsole] | None = None
    console: OpenConsole | None = None
    gate: Gate | None = None
    throttle: InputThrottle = field(factory=InputThrottle)
    stopwatch: Stopwatch | None = None
    waiting: IDelayedCall | None = None
    early: bytes = b""
    unproven: bool = False
    since: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    def type(self, data: bytes) -> None:
        """Input, to the guest."""
        assert self.console is not None
        if self.unproven and not self.insists():
            return
        self.bytes_in += len(data)
        self.console.line.write(data)

    def insists(self) -> bool:
        """Whether a viewer that cannot confirm goes on typing although it has waited."""
        if self.viewer is None or self.viewer.acknowledges:
            return False
        if self.clock.seconds() - self.since < BLIND_PATIENCE:
            return False
        self.prove()
        return True

    def prove(self) -> None:
        """From now on input goes to the guest although it has said nothing."""
        if self.unproven:
            self.unproven = False
            self.audit("session_confirmed", "types before any output, as the user wishes")

    def audit(self, event: str, sentence: str, **more: object) -> None:
        """One line about this session."""
        log.info(
            "session {session_id}: " + sentence,
            event=event,
            session_id=self.session_id,
            token_id=self.token.token_id,
            instance_uuid=self.token.instance_uuid,
            index=self.token.index,
            user_id=self.token.user_id,
            project_id=self.token.project_id,
            **self.facts,
            **more,
        )

    def attach(self, inputs: SessionInputs, viewer: Viewer, since: int | None) -> None:
        """Gives the open console to a viewer: first what it has missed, then live.

        :param since: the offset that it has seen; None shows all of the scrollback.
        """
        assert self.console is not None
        line = self.console.line
        self.viewer = viewer
        self.gate = Gate(
            line.transport,
            self.clock,
            self.stall_timeout,
            inputs.stalled,
        )
        if self.resume is None:
            self.resume = ResumeKey.make(self.session_id)
        backlog = line.ring.since(since)
        viewer.greet(
            Greeting(
                resume=self.resume,
                console=self.console,
                offset=backlog.offset,
                lost=backlog.lost,
                unproven=self.unproven,
            )
        )
        viewer.transport.registerProducer(self.gate, True)
        self.throttle.turn_to(viewer.transport)
        if backlog.data:
            self.show(backlog.data)

    def show(self, data: bytes) -> None:
        """Output, to the viewer if there is one."""
        viewer, gate = self.viewer, self.gate
        if viewer is None or gate is None:
            return
        self.bytes_out += len(data)
        viewer.send(data)
        if viewer.acknowledges:
            gate.spend(len(data))

    def detach(self) -> Viewer | None:
        """The console without its viewer, which is given back."""
        viewer, self.viewer = self.viewer, None
        gate, self.gate = self.gate, None
        self.throttle.turn_to(None)
        if gate is not None:
            gate.dismantle()
        return viewer

    def await_viewer(self, expired: Any) -> None:
        """Lingers: the console stays open for the viewer to come back."""
        assert self.console is not None
        self.waiting = self.clock.callLater(self.linger, expired)
        if self.linger:
            self.console.line.linger(True)

    def stop_waiting(self) -> None:
        """The viewer is back, or nobody waits for it any more."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None and waiting.active():
            waiting.cancel()

    def finish(self, code: int | None, reason: str, busy: Busy | None = None) -> None:
        """Closes the line and writes the last audit line.

        :param code: what the viewer is told, or None where it is gone already.
        """
        self.over = True
        opening, self.opening = self.opening, None
        if opening is not None:
            opening.cancel()
        self.stop_waiting()
        if self.stopwatch is not None:
            self.stopwatch.stop()
        viewer = self.detach()
        if code is not None and viewer is not None:
            viewer.dismiss(code, reason, busy)
        closed = succeed(None) if self.console is None else self.console.line.close()
        self.audit(
            "session_ended",
            "ended with {close_code}: {reason}",
            close_code=code,
            reason=reason,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            duration_s=round(self.clock.seconds() - self.since, 3),
        )
        # A cancelled opening has given its lease back by the time it is over.
        last: Deferred[Any] = closed if opening is None else opening
        last.addBoth(lambda _: self.gone.callback(None))


_builder = TypeMachineBuilder(SessionInputs, SessionCore)
_opening = _builder.state("opening")
_open = _builder.state("open")
_away = _builder.state("away")
_closed = _builder.state("closed")


@_opening.upon(SessionInputs.opened).to(_open)
def _start(inputs: SessionInputs, core: SessionCore, console: OpenConsole) -> None:
    core.opening = None
    core.console = console
    core.unproven = console.unproven
    core.audit("session_opened", "opened {place}", place=console.console.place)
    core.stopwatch = Stopwatch(
        core.limits,
        core.clock,
        lambda text: core.viewer.warn(text) if core.viewer is not None else None,
        inputs.ended,
    )
    assert core.viewer is not None
    viewer = core.viewer
    core.attach(inputs, viewer, None)
    core.stopwatch.start(core.token.left)
    console.line.start(inputs, core.throttle)
    if core.early:
        early, core.early = core.early, b""
        core.type(early)
        viewer.transport.resumeProducing()


@_opening.upon(SessionInputs.typed).to(_opening)
def _wait(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.early += data
    if len(core.early) > EARLY_INPUT:
        assert core.viewer is not None
        core.viewer.transport.pauseProducing()


@_opening.upon(SessionInputs.refused).to(_closed)
def _refuse(inputs: SessionInputs, core: SessionCore, error: ConsoledError) -> None:
    core.opening = None
    if isinstance(error, ConsoleBusy):
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
    assert core.stopwatch is not None
    core.stopwatch.touch()
    core.type(data)


@_open.upon(SessionInputs.printed).to(_open)
def _printed(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.unproven = False
    core.show(data)


@_away.upon(SessionInputs.printed).to(_away)
def _printed_to_nobody(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.unproven = False


@_open.upon(SessionInputs.acknowledged).to(_open)
def _acknowledged(inputs: SessionInputs, core: SessionCore, count: int) -> None:
    assert core.gate is not None
    core.gate.acknowledge(count)


@_open.upon(SessionInputs.confirmed).to(_open)
def _confirmed(inputs: SessionInputs, core: SessionCore) -> None:
    core.prove()


@_open.upon(SessionInputs.line_lost).to(_open)
@_away.upon(SessionInputs.line_lost).to(_away)
def _line_lost(inputs: SessionInputs, core: SessionCore) -> None:
    # It ends for certain: nobody comes back to it while the reason is looked for.
    core.over = True
    why = Deferred.fromCoroutine(why_hung_up(core.driver, core.token.instance_uuid, core.clock))
    why.addCallback(lambda code_and_reason: inputs.ended(*code_and_reason))


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
    core.audit("session_lingers", "waits {seconds} s for its viewer", seconds=core.linger)
    core.await_viewer(lambda: inputs.ended(NORMAL, "the viewer did not come back"))


@_open.upon(SessionInputs.stalled).to(_away)
def _drop_slow_viewer(inputs: SessionInputs, core: SessionCore) -> None:
    # A laptop that sleeps looks the same: the console stays for it as for a lost connection.
    viewer = core.detach()
    if viewer is not None:
        viewer.dismiss(SLOW_VIEWER, "The output could not be shown fast enough for too long.")
    core.audit("viewer_stalled", "dropped a viewer that took no output")
    core.await_viewer(lambda: inputs.ended(NORMAL, "the viewer did not come back"))


@_away.upon(SessionInputs.returned).to(_open)
def _resume(inputs: SessionInputs, core: SessionCore, comeback: Comeback) -> None:
    assert core.console is not None
    core.stop_waiting()
    core.console.line.linger(False)
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
    core.attach(inputs, comeback.viewer, comeback.since)
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


@_closed.upon(SessionInputs.opened).to(_closed)
def _too_late(inputs: SessionInputs, core: SessionCore, console: OpenConsole) -> None:
    console.line.close()


for _state, _event in (
    (_opening, SessionInputs.printed),
    (_opening, SessionInputs.acknowledged),
    (_opening, SessionInputs.confirmed),
    (_opening, SessionInputs.line_lost),
    (_away, SessionInputs.typed),
    (_away, SessionInputs.acknowledged),
    (_away, SessionInputs.confirmed),
    (_away, SessionInputs.viewer_lost),
    (_away, SessionInputs.viewer_left),
    (_away, SessionInputs.stalled),
    (_closed, SessionInputs.typed),
    (_closed, SessionInputs.printed),
    (_closed, SessionInputs.acknowledged),
    (_closed, SessionInputs.confirmed),
    (_closed, SessionInputs.line_lost),
    (_closed, SessionInputs.refused),
    (_closed, SessionInputs.ended),
    (_closed, SessionInputs.viewer_lost),
    (_closed, SessionInputs.viewer_left),
    (_closed, SessionInputs.stalled),
):
    _state.upon(_event).loop().returns(None)

_machine = _builder.build()


def begin_session(core: SessionCore, after: Deferred[None] | None = None) -> SessionInputs:
    """A session that opens its console at once.

    :param after: what has to end first: another session of the same console.
    """
    session = _machine(core)
    core.since = core.clock.seconds()

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, ConsoledError):
            log.failure("session {session_id}: cannot open", failure, session_id=core.session_id)
            error = ConsoledError("Something went wrong inside consoled. Its log says what.")
        session.refused(error)

    opening = core.opener.open(core.token, core.session_id, after)
    core.opening = opening
    opening.addCallbacks(session.opened, failed)
    return session
