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

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen
from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoleBusy, ConsoledError
from consoled.interfaces import BreakControl, TokenAuthority
from consoled.leasing.values import Holder
from consoled.model import ConsoleAuthToken
from consoled.proxy.breaking import offers_break, send_break
from consoled.proxy.gate import Gate
from consoled.proxy.inlet import Inlet
from consoled.proxy.leg import OpenConsole
from consoled.proxy.limits import SessionLimits, Stopwatch
from consoled.proxy.line import Line
from consoled.proxy.presence import Busy, busy
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.trailing import Trailing
from consoled.recording.recorder import NoRecorder, SessionRecorder, SessionRecording

log = Logger()

NORMAL = 1000
INTERNAL = 1011
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
    :ivar writes: whether it is a writer, not an observer.
    :ivar offset: the count of the line's output bytes before the next one that it gets.
    :ivar lost: output bytes between what it asked for and ``offset`` that are gone.
    :ivar replay: how many of the next bytes were shown before, to this viewer or another.
    :ivar unproven: whether input is held back until the guest's first byte.
    :ivar paste_rate: bytes of input a second that go to the guest; 0 is without limit.
    :ivar breaks: whether the viewer may send a BREAK.
    :ivar linger: seconds that it may wait for an instance that stopped to start again.
    """

    resume: ResumeKey
    console: OpenConsole
    writes: bool
    offset: int
    lost: int
    replay: int
    unproven: bool
    paste_rate: float
    breaks: bool
    linger: float = 0.0


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

    def go_straight(self, take: Callable[[bytes], None] | None) -> None:
        """Where ordinary input goes while the session is open; None: to the session."""

    def warn(self, text: str, *, until_typing: bool = False) -> None:
        """A line for the person, about what will happen.

        :param until_typing: whether typing prevents it.
        """

    def show_company(self, writer: str | None, observers: Sequence[str]) -> None:
        """Who is on the line."""

    def show_request(self, user: str | None, seconds: float) -> None:
        """Somebody asks for the console and gets it then; None: nobody does any more."""

    def show_wait(self, user: str | None, seconds: float) -> None:
        """The console was asked of its holder, and is this viewer's then."""

    def show_pasted(self, gone: int, dropped: int | None) -> None:
        """How much of an announced paste is at the console, and what never comes."""

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

    def opened(self) -> None:
        """The console's line is open, and the session may attach to it."""

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

    def pasting(self, count: int) -> None:
        """So many bytes of input from here on are a paste, whose way the page wants to know."""

    def cancelled(self) -> None:
        """The person wants no more of the paste."""

    def break_wanted(self, key: str | None) -> None:
        """The person wants to send a BREAK, or a SysRq with that key."""

    def asked(self, user: str | None, seconds: float) -> None:
        """Somebody asks for the console, or does not ask any more."""

    def handed_over(self) -> None:
        """The person gives the console to whoever asks for it."""

    def ended(self, code: int, reason: str) -> None:
        """Somebody, a limit, or the guest ends the session."""

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
    """The parts of one session, and what its audit line tells (a :class:`line.Member`).

    :ivar session_id: named in lists and logs; it attaches to nothing.
    :ivar writes: whether it is a writer's, not an observer's.
    :ivar viewer: its WebSocket; None while the session is away.
    :ivar linger: seconds that it waits for its viewer to come back.
    :ivar began: when it began, seconds since the epoch, for people.
    :ivar paste_rate: bytes of input a second that go to the guest; 0 is without limit.
    :ivar spent: whether its token has been used up already.
    :ivar recorder: records it, where it is a writer's.
    :ivar breaks: sends a BREAK to the console, where the driver can.
    :ivar inputs: the machine that this is the core of.
    :ivar over: whether it has ended.
    :ivar gone: fires when it has ended.
    """

    session_id: str
    token: ConsoleAuthToken
    writes: bool
    viewer: Viewer | None
    line: Line
    authority: TokenAuthority
    clock: IReactorTime
    stall_timeout: float
    linger: float
    limits: SessionLimits
    began: int
    paste_rate: float = 0.0
    spent: bool = False
    facts: dict[str, object] = field(factory=dict)
    recorder: SessionRecorder = field(factory=NoRecorder)
    breaks: BreakControl | None = None
    recording: SessionRecording | None = field(default=None, init=False)
    inputs: SessionInputs = field(init=False)
    gone: Deferred[None] = field(factory=Deferred, init=False)
    over: bool = field(default=False, init=False)
    resume: ResumeKey | None = field(default=None, init=False)
    entering: Deferred[None] | None = field(default=None, init=False)
    flow: Gate | Trailing | None = field(default=None, init=False)
    inlet: Inlet = field(init=False)
    unsent: int = field(default=0, init=False)
    stopwatch: Stopwatch | None = field(default=None, init=False)
    waiting: IDelayedCall | None = field(default=None, init=False)
    company: tuple[str | None, list[str]] | None = field(default=None, init=False)
    asked_by: str | None = field(default=None, init=False)
    asked_until: float = field(default=0.0, init=False)
    early: bytes = field(default=b"", init=False)
    since: float = field(default=0.0, init=False)
    bytes_in: int = field(default=0, init=False)
    bytes_out: int = field(default=0, init=False)
    _paused: float = field(default=0.0, init=False)

    @property
    def holder(self) -> Holder:
        """Whose it is."""
        return Holder(self.token.user_id, self.token.project_id)

    @property
    def present(self) -> bool:
        """Whether its viewer is connected."""
        return self.viewer is not None

    @property
    def attached(self) -> bool:
        """Whether its viewer sees the line."""
        return self.flow is not None

    def warn(self, text: str, until_typing: bool) -> None:
        """A line for the person, if there is one."""
        if self.viewer is not None:
            self.viewer.warn(text, until_typing=until_typing)

    def admit(self) -> Deferred[None]:
        """Uses the token up, once."""
        if self.spent:
            return succeed(None)
        self.spent = True
        return self.authority.spend(self.token)

    @property
    def paused(self) -> float:
        """Seconds for which its viewers have held up the guest."""
        return self._paused + (self.flow.held if isinstance(self.flow, Gate) else 0.0)

    def printed(self, data: bytes) -> None:
        """The guest's output: past the machine, which would take longer than all else here."""
        self.show(data)
        if self.recording is not None:
            self.recording.output(data)

    def typed(self, data: bytes) -> None:
        """Input, while the session is open: ``flow`` is there just as long."""
        if self.flow is not None:
            self.type(data)
            assert self.stopwatch is not None
            self.stopwatch.touch()

    def ended(self, code: int, reason: str) -> None:
        """The line is over."""
        self.inputs.ended(code, reason)

    def company_changed(self) -> None:
        """Tells the viewer of an open console who is on the line."""
        if self.viewer is None or self.flow is None:
            return
        writer = self.line.writer
        others = [m for m in self.line.members if m is not writer and m.attached]
        company = (
            None if writer is None or not writer.present else _name(writer.holder),
            [_name(member.holder) for member in others],
        )
        # Whoever writes alone knows that without being told.
        alone: tuple[str | None, list[str]] = (_name(self.holder), [])
        if company != (self.company or (alone if writer is self else None)):
            self.viewer.show_company(*company)
        self.company = company

    def type(self, data: bytes) -> None:
        """Input, to the guest."""
        if self.line.writer is not self or (self.line.unproven and not self.insists()):
            return
        if len(data) > self.inlet.at_once:
            self.inlet.take(data)
        else:
            self._deliver(data)

    def let_out(self, data: bytes) -> None:
        """Input that had to wait, to the guest."""
        if self.line.writer is self:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self.line.write(data)
        if self.recording is not None:
            self.recording.input(data)

    def tell_pasted(self, gone: int, dropped: int | None) -> None:
        """Where an announced paste is, to its page."""
        if self.viewer is not None:
            self.viewer.show_pasted(gone, dropped)

    @property
    def input_waiting(self) -> int:
        """Bytes of input that wait for their turn."""
        return self.inlet.waiting if self.writes and self.flow is not None else 0

    def drop_input(self, why: str) -> int:
        """Input that still waits goes nowhere, and its person is told.

        :param why: what has happened, as a clause.
        :returns: how many bytes.
        """
        dropped = self.inlet.drop() if self.writes and self.flow is not None else 0
        if dropped:
            self.audit(
                "input_dropped", "dropped {bytes_dropped} bytes of input", bytes_dropped=dropped
            )
            self.warn(_unsent(dropped, why), until_typing=False)
        return dropped

    def record(self) -> None:
        """Begins the recording of a writer's session."""
        if self.writes:
            console = self.line.console
            self.recording = self.recorder.start(
                self.session_id, self.token, console.instance, console.console, self
            )

    def mark(self, text: str) -> None:
        """Something that happened, for the recording."""
        if self.recording is not None:
            self.recording.marker(text)

    def recording_failed(self, reason: str) -> None:
        """It must be recorded and cannot be: it ends."""
        self.inputs.ended(INTERNAL, reason)

    def recording_suffers(self, reason: str) -> None:
        """It goes on, and its viewer knows."""
        self.warn(reason, until_typing=False)

    def recording_lags(self, behind: bool) -> None:
        """The disk holds the guest back."""
        if behind:
            self.line.valve.hold("recording")
        else:
            self.line.valve.free("recording")

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
        if self.line.unproven:
            self.line.unproven = False
            self.audit("session_confirmed", "types before any output, as the user wishes")

    def audit(self, event: str, sentence: str, **more: object) -> None:
        """One line about this session."""
        log.info(
            "session {session_id}: " + sentence,
            event=event,
            session_id=self.session_id,
            role="writer" if self.writes else "observer",
            token_id=self.token.token_id,
            instance_uuid=self.token.instance_uuid,
            index=self.token.index,
            user_id=self.token.user_id,
            project_id=self.token.project_id,
            **self.facts,
            **more,
        )

    def attach(self, viewer: Viewer, since: int | None) -> None:
        """Gives the open console to a viewer: first what it has missed, then live.

        :param since: the offset that it has seen; None shows all of the scrollback.
        """
        line = self.line
        self.viewer = viewer
        if self.resume is None:
            self.resume = ResumeKey.make(self.session_id)
        backlog = line.ring.since(since)
        viewer.greet(
            Greeting(
                resume=self.resume,
                console=line.console,
                writes=self.writes,
                offset=backlog.offset,
                lost=backlog.lost,
                # A terminal must not answer queries again that were answered when they came.
                replay=len(backlog.data) if since is None else 0,
                unproven=line.unproven and self.writes,
                paste_rate=self.paste_rate,
                breaks=offers_break(self),
                linger=self.linger,
            )
        )
        self.company = None
        self.flow = self._flow()
        viewer.transport.registerProducer(self.flow, True)
        if self.writes:
            self.inlet = Inlet(viewer.transport, self.clock, self.paste_rate, self)
            line.throttle.turn_to(self.inlet)
        viewer.go_straight(self.typed)
        if backlog.data:
            self.send(backlog.data)
        if self.asked_by is not None:
            viewer.show_request(self.asked_by, max(0.0, self.asked_until - self.clock.seconds()))
        if self.unsent:
            unsent, self.unsent = self.unsent, 0
            self.warn(_unsent(unsent, "the connection ended"), until_typing=False)
        line.changed()

    def _flow(self) -> Gate | Trailing:
        if self.writes:
            return Gate(self.line.valve, self.clock, self.stall_timeout, self.inputs.stalled)
        return Trailing(self.line.ring, self.send, self.skip, self.line.ring.end)

    def show(self, data: bytes) -> None:
        """Output, to the viewer if it can take it."""
        if isinstance(self.flow, Trailing):
            self.flow.printed(data)
        else:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Output, to the viewer."""
        viewer, flow = self.viewer, self.flow
        if viewer is None or flow is None:
            return
        self.bytes_out += len(data)
        viewer.send(data)
        if viewer.acknowledges:
            flow.spend(len(data))

    def skip(self, count: int) -> None:
        """An observer fell behind."""
        if self.viewer is not None:
            self.viewer.warn(f"{count} bytes of output were skipped: they came too fast to show.")

    def detach(self) -> Viewer | None:
        """The session without its viewer, which is given back."""
        self.unsent += self.drop_input("the connection ended")
        viewer, self.viewer = self.viewer, None
        self._paused = self.paused
        flow, self.flow = self.flow, None
        if self.line.writer is self:
            self.line.throttle.turn_to(None)
        if flow is not None:
            flow.dismantle()
            if self.writes:
                self.inlet.stop()
        if viewer is not None:
            viewer.go_straight(None)
        return viewer

    def await_viewer(self) -> None:
        """Lingers: the console stays open for the viewer to come back."""
        self.waiting = self.clock.callLater(
            self.linger, self.inputs.ended, NORMAL, "the viewer did not come back"
        )
        if self.linger:
            self.line.changed()

    def stop_waiting(self) -> None:
        """The viewer is back, or nobody waits for it any more."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None and waiting.active():
            waiting.cancel()

    def finish(self, code: int | None, reason: str, busy: Busy | None = None) -> None:
        """Leaves the line and writes the last audit line.

        :param code: what the viewer is told, or None where it is gone already.
        """
        self.over = True
        self.stop_waiting()
        if self.stopwatch is not None:
            self.stopwatch.stop()
        viewer = self.detach()
        if code is not None and viewer is not None:
            viewer.dismiss(code, reason, busy)
        if self.recording is not None:
            self.recording.close()
            self.recording = None
            self.line.valve.free("recording")
        entering, self.entering = self.entering, None
        if entering is not None:
            entering.cancel()
        self.line.leave(self)
        self.audit(
            "session_ended",
            "ended with {close_code}: {reason}",
            close_code=code,
            reason=reason,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            paused_s=round(self.paused, 3),
            duration_s=round(self.clock.seconds() - self.since, 3),
        )
        self.gone.callback(None)


def _unsent(count: int, why: str) -> str:
    return f"{count} bytes of input were not sent to the guest: {why}."


def _name(holder: Holder) -> str:
    return holder.user_id or "somebody"


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
    core.audit("session_opened", "opened {place}", place=place)
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
    core.mark(f"attach {_name(core.holder)}")
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
