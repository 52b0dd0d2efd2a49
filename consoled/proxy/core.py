"""What a session has and does, whatever state it is in (:mod:`consoled.proxy.session`)."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from consoled.interfaces import BreakControl, TokenAuthority
from consoled.leasing.values import Holder
from consoled.model import ConsoleAuthToken
from consoled.proxy.breaking import offers_break
from consoled.proxy.gate import Gate
from consoled.proxy.inlet import Inlet
from consoled.proxy.limits import SessionLimits, Stopwatch
from consoled.proxy.line import Line
from consoled.proxy.presence import Busy
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.trailing import Trailing
from consoled.proxy.viewing import Greeting, SessionInputs, Viewer
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

    def moved(self, text: str, *, certain: bool) -> None:
        """The guest goes on at another compute host, and so does the line."""
        self.mark("live migration")
        self.audit("session_moved", "goes on at {place}", place=self.line.console.console.place)
        self.warn(text, until_typing=certain)

    def company_changed(self) -> None:
        """Tells the viewer of an open console who is on the line."""
        if self.viewer is None or self.flow is None:
            return
        writer = self.line.writer
        others = [m for m in self.line.members if m is not writer and m.attached]
        company = (
            None if writer is None or not writer.present else name_of(writer.holder),
            [name_of(member.holder) for member in others],
        )
        # Whoever writes alone knows that without being told.
        alone: tuple[str | None, list[str]] = (name_of(self.holder), [])
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

    def resized(self, columns: int, rows: int) -> None:
        """The writer's terminal has this size, and so has a shell's."""
        if self.line.writer is self and self.line.resize(columns, rows):
            self.note_size()

    def note_size(self) -> None:
        """The terminal's size, for the recording."""
        if self.recording is not None and self.line.size is not None:
            self.recording.resize(*self.line.size)

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
            self.note_size()

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
            index=self.line.key.index,
            console_type=self.line.key.console_type,
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


def name_of(holder: Holder) -> str:
    """What a person is called in words."""
    return holder.user_id or "somebody"
