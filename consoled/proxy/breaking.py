"""BREAK and SysRq from whoever has the console.

A BREAK makes the next byte of input a SysRq command, for five seconds. So nothing else is on its
way to the guest when it is sent, and until the key has followed it all other input waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled import sysrq
from consoled.errors import BadRequest, Conflict, ConsoledError, Unavailable
from consoled.http.waiting import waiting_bytes
from consoled.proxy.presence import BREAK

if TYPE_CHECKING:
    from consoled.interfaces import BreakControl
    from consoled.leasing.values import ConsoleKey
    from consoled.proxy.book import SessionBook
    from consoled.proxy.core import SessionCore
    from consoled.proxy.line import Line

log = Logger()

HELD = "break"
"""Why the line's input waits meanwhile."""

LOST = (
    "The BREAK was sent, but not the key: the lease of the console ran out meanwhile. "
    "Try again when the database answers."
)


async def break_past(
    line: Line, writer: SessionCore | None, breaks: BreakControl, key: str | None, by: str
) -> None:
    """Sends it for somebody who is not on the line; whoever writes there waits, and is told.

    :param line: of an open console.
    :param writer: the session in its writer's seat.
    :param key: of a SysRq; None for a BREAK alone.
    :param by: who sends it, for the writer.
    :raises consoled.errors.Conflict: why it is not sent at this moment, or the hypervisor
        refuses.
    :raises consoled.errors.Unavailable: the hypervisor does not answer in time, or the console
        was lost after the BREAK.
    """
    reason = _not_now(line, writer)
    if reason is not None:
        raise Conflict(reason)
    line.breaking = True
    line.throttle.hold(HELD)
    try:
        await breaks.send_break(line.key.instance_uuid, line.key.index)
        if key is not None:
            if line.over or not line.console.lease.valid:
                raise Unavailable(LOST)
            line.write(key.encode("ascii"))
    finally:
        line.breaking = False
        line.throttle.free(HELD)
    if writer is not None:
        writer.mark(f"{sysrq.marker(key)} by {by}")
        writer.warn(f"{by} sent {sysrq.name(key)} to this console.", until_typing=True)


async def break_on_line(
    book: SessionBook, key: ConsoleKey, breaks: BreakControl, sysrq_key: str | None, by: str
) -> bool:
    """Sends it on the line that this replica has of a console, as :func:`break_past` does.

    :returns: whether there is one; without one, nothing is sent.
    """
    line = book.line(key)
    if line is None or line.over or not line.is_open:
        return False
    writer = None if line.writer is None else book.find(line.writer.session_id)
    await break_past(line, writer, breaks, sysrq_key, by)
    return True


def offers_break(core: SessionCore) -> bool:
    """Whether a session's page has something to offer: the driver can, and policy lets its user."""
    return core.writes and core.breaks is not None and BREAK in core.token.rights


def send_break(core: SessionCore, key: str | None) -> None:
    """Sends what the person wants, or tells them why not.

    :param core: an open session.
    :param key: of a SysRq; None for a BREAK alone.
    """
    reason = _refusal(core, key)
    if reason is not None:
        core.warn(reason, until_typing=True)
        return
    assert core.breaks is not None
    line = core.line
    line.breaking = True
    line.throttle.hold(HELD)

    def over(failure: Failure | None) -> None:
        line.breaking = False
        line.throttle.free(HELD)
        if failure is not None:
            log.failure("session {session_id}: BREAK", failure, session_id=core.session_id)

    sent = core.breaks.send_break(core.token.instance_uuid, core.token.index)
    sent.addCallbacks(lambda _: _sent(core, key), lambda failure: _failed(core, key, failure))
    sent.addBoth(over)


def _refusal(core: SessionCore, key: str | None) -> str | None:
    """Why it is not sent, for the person."""
    if core.line.writer is not core:
        return "You only watch this console: whoever has it can send a BREAK."
    if core.breaks is None:
        return "This console takes no BREAK: consoled knows nothing of it but its address."
    if BREAK not in core.token.rights:
        return "You may not send a BREAK to this console; an administrator can change that."
    if key is not None:
        try:
            sysrq.check_key(key)
        except BadRequest as error:
            return str(error)
    return _not_now(core.line, core)


def _not_now(line: Line, writer: SessionCore | None) -> str | None:
    """Why it is not sent at this moment, for the person."""
    if line.unproven or line.switch.moving or not line.console.lease.valid:
        return "This console takes no input yet, and no BREAK. Try again when it does."
    if line.breaking:
        return "A BREAK is on its way already. Try again in a moment."
    typing = writer is not None and writer.flow is not None and writer.inlet.busy
    if typing or waiting_bytes(line.console.leg.transport):
        return (
            "The guest has not taken yet what was typed or pasted, and would take the next of it "
            "as a SysRq command. Cancel the paste, or wait for it, and try again."
        )
    return None


def _sent(core: SessionCore, key: str | None) -> None:
    line = core.line
    if key is not None:
        if line.writer is not core or not line.console.lease.valid:
            # The console went to somebody else meanwhile: the key is not theirs.
            key = None
        else:
            line.write(key.encode("ascii"))
    core.mark(sysrq.marker(key))
    core.audit("break_sent", "sent {what}", what=sysrq.name(key), sysrq=key)
    core.warn(f"{sysrq.name(key)} was sent.", until_typing=True)
    if core.stopwatch is not None:
        core.stopwatch.touch()


def _failed(core: SessionCore, key: str | None, failure: Failure) -> None:
    error = failure.value
    if isinstance(error, ConsoledError):
        reason = str(error)
    else:
        log.failure("session {session_id}: BREAK", failure, session_id=core.session_id)
        reason = "The BREAK was not sent: something went wrong inside consoled."
    core.audit("break_failed", "sent no BREAK: {reason}", reason=reason, sysrq=key)
    core.warn(reason, until_typing=True)
