"""A session: one viewer on a line, as a state machine.

::

    opening --opened--> open --(line_lost | ended | viewer_lost)--> closed
       \\---(refused | ended | viewer_lost)--------------------------^

Input that comes before ``open`` waits, bounded, until the console's lease is
held and its port connected; after ``closed`` it is dropped, whatever autobahn
still delivers.
"""

from __future__ import annotations

from typing import Any, Protocol

from attrs import define, field
from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import ConsoledError
from consoled.interfaces import Driver
from consoled.model import ConsoleAuthToken
from consoled.proxy.gate import Gate, InputThrottle
from consoled.proxy.hangup import why_hung_up
from consoled.proxy.opening import OpenConsole, Opener

log = Logger()

SLOW_VIEWER = 4414
EARLY_INPUT = 64 * 1024
"""Bytes of input that may wait for the console; more stays in the viewer's socket."""


class Viewer(Protocol):
    """What a session needs of its WebSocket."""

    @property
    def acknowledges(self) -> bool:
        """Whether the page says what it has shown."""

    @property
    def transport(self) -> Any:
        """The socket, a producer and a consumer."""

    def greet(self, session_id: str, opened: OpenConsole) -> None:
        """The console is open."""

    def send(self, data: bytes) -> None:
        """Output for the viewer."""

    def dismiss(self, code: int, reason: str) -> None:
        """Closes the WebSocket with a plain reason."""


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

    def line_lost(self) -> None:
        """The console's side closed the connection."""

    def ended(self, code: int, reason: str) -> None:
        """Somebody, or a limit, ends the session."""

    def viewer_lost(self) -> None:
        """The WebSocket is gone."""


@define(eq=False)
class SessionCore:
    """The parts of one session, and what its audit line tells.

    :ivar session_id: named in lists and logs; it attaches to nothing.
    """

    session_id: str
    token: ConsoleAuthToken
    viewer: Viewer
    opener: Opener
    driver: Driver
    clock: IReactorTime
    stall_timeout: float
    facts: dict[str, object] = field(factory=dict)
    opening: Deferred[OpenConsole] | None = None
    console: OpenConsole | None = None
    gate: Gate | None = None
    early: bytes = b""
    since: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    def type(self, data: bytes) -> None:
        """Input, to the guest."""
        assert self.console is not None
        self.bytes_in += len(data)
        self.console.line.write(data)

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

    def finish(self, code: int | None, reason: str) -> None:
        """Closes the line and writes the last audit line.

        :param code: what the viewer is told, or None where it is gone already.
        """
        opening, self.opening = self.opening, None
        if opening is not None:
            opening.cancel()
        if self.gate is not None:
            self.gate.dismantle()
        if code is not None:
            self.viewer.dismiss(code, reason)
        if self.console is not None:
            self.console.line.close()
        self.audit(
            "session_ended",
            "ended with {close_code}: {reason}",
            close_code=code,
            reason=reason,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            duration_s=round(self.clock.seconds() - self.since, 3),
        )


_builder = TypeMachineBuilder(SessionInputs, SessionCore)
_opening = _builder.state("opening")
_open = _builder.state("open")
_closed = _builder.state("closed")


@_opening.upon(SessionInputs.opened).to(_open)
def _start(inputs: SessionInputs, core: SessionCore, console: OpenConsole) -> None:
    core.opening = None
    core.console = console
    line, viewer = console.line, core.viewer
    core.gate = Gate(
        line.transport,
        core.clock,
        core.stall_timeout,
        lambda: inputs.ended(
            SLOW_VIEWER, "The output could not be shown fast enough for too long."
        ),
    )
    core.audit("session_opened", "opened {place}", place=console.console.place)
    viewer.greet(core.session_id, console)
    viewer.transport.registerProducer(core.gate, True)
    line.start(inputs, InputThrottle(viewer.transport))
    if core.early:
        early, core.early = core.early, b""
        core.type(early)
        viewer.transport.resumeProducing()


@_opening.upon(SessionInputs.typed).to(_opening)
def _wait(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.early += data
    if len(core.early) > EARLY_INPUT:
        core.viewer.transport.pauseProducing()


@_opening.upon(SessionInputs.refused).to(_closed)
def _refuse(inputs: SessionInputs, core: SessionCore, error: ConsoledError) -> None:
    core.opening = None
    core.finish(error.close_code, str(error))


@_open.upon(SessionInputs.typed).to(_open)
def _typed(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.type(data)


@_open.upon(SessionInputs.printed).to(_open)
def _printed(inputs: SessionInputs, core: SessionCore, data: bytes) -> None:
    core.bytes_out += len(data)
    core.viewer.send(data)
    if core.viewer.acknowledges and core.gate is not None:
        core.gate.spend(len(data))


@_open.upon(SessionInputs.acknowledged).to(_open)
def _acknowledged(inputs: SessionInputs, core: SessionCore, count: int) -> None:
    assert core.gate is not None
    core.gate.acknowledge(count)


@_open.upon(SessionInputs.line_lost).to(_open)
def _line_lost(inputs: SessionInputs, core: SessionCore) -> None:
    why = Deferred.fromCoroutine(why_hung_up(core.driver, core.token.instance_uuid, core.clock))
    why.addCallback(lambda code_and_reason: inputs.ended(*code_and_reason))


@_opening.upon(SessionInputs.ended).to(_closed)
@_open.upon(SessionInputs.ended).to(_closed)
def _ended(inputs: SessionInputs, core: SessionCore, code: int, reason: str) -> None:
    core.finish(code, reason)


@_opening.upon(SessionInputs.viewer_lost).to(_closed)
@_open.upon(SessionInputs.viewer_lost).to(_closed)
def _viewer_lost(inputs: SessionInputs, core: SessionCore) -> None:
    core.finish(None, "the viewer went away")


@_closed.upon(SessionInputs.opened).to(_closed)
def _too_late(inputs: SessionInputs, core: SessionCore, console: OpenConsole) -> None:
    console.line.close()


for _state, _event in (
    (_opening, SessionInputs.printed),
    (_opening, SessionInputs.acknowledged),
    (_opening, SessionInputs.line_lost),
    (_closed, SessionInputs.typed),
    (_closed, SessionInputs.printed),
    (_closed, SessionInputs.acknowledged),
    (_closed, SessionInputs.line_lost),
    (_closed, SessionInputs.refused),
    (_closed, SessionInputs.ended),
    (_closed, SessionInputs.viewer_lost),
):
    _state.upon(_event).loop().returns(None)

_machine = _builder.build()


def begin_session(core: SessionCore) -> SessionInputs:
    """A session that opens its console at once."""
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

    opening = core.opener.open(core.token, core.session_id)
    core.opening = opening
    opening.addCallbacks(session.opened, failed)
    return session
