"""Streams that are a command's, or a shell's, on the server (RFC 4254, section 6)."""

from __future__ import annotations

import re
import struct
from typing import Any

from twisted.conch.ssh.common import NS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from consoled.transports.ssh.channel import Stream
from consoled.transports.ssh.errors import (
    NodeFailed,
    NoForwarding,
    SSHError,
    TargetFailed,
    TargetRefused,
    quoted,
)
from consoled.transports.ssh.values import Terminal

GRACE = 1.0
"""Seconds that a command has to end by itself, and then again after it was told to."""

SETTLED = 1.0
"""Seconds after which an ``nc`` that says nothing and has not ended counts as connected."""

_MOST_WORDS = 2048
"""Bytes of a command's error output that are kept until it is connected."""

_PTY_NO_MODES = b"\0"
_NOT_FOUND = 127

_CONNECTED = re.compile(rb"succeeded!|\bopen\b|Connected to ", re.IGNORECASE)
_USAGE = re.compile(rb"(invalid|illegal|unknown|unrecognized) option|usage:", re.IGNORECASE)
_REFUSED = re.compile(rb"refused", re.IGNORECASE)
_TIMED_OUT = re.compile(rb"timed out|timeout", re.IGNORECASE)
_UNKNOWN = re.compile(rb"resol|not known|unknown host|bad address|temporary failure", re.I)


NC_OPTIONS = ("-vN ", "-v ", "")
"""What ``nc`` is asked for, until it knows it: to say when it is connected (``-v``), and to pass
on the end of what it is sent (``-N``). OpenBSD's knows both, others one of them or none."""


class CommandDone(ConnectionDone):
    """A command, or a shell, has ended.

    :ivar status: its exit status; None where a signal, or nobody, ended it.
    """

    def __init__(self, status: int | None) -> None:
        super().__init__()
        self.status = status


class UnknownOption(SSHError):
    """This ``nc`` does not know an option."""


class SessionStream(Stream):
    """A command's input and output.

    :ivar exit_status: how the command ended, once that is known; else None.
    """

    is_session = True
    exit_status: int | None = None

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._ended = False
        self._timer: IDelayedCall | None = None

    def request_exit_status(self, data: bytes) -> bool:
        """The command has ended."""
        self._ended = True
        self.exit_status = struct.unpack(">L", data[:4])[0]
        return True

    def request_exit_signal(self, data: bytes) -> bool:
        """The command was ended."""
        self._ended = True
        return True

    def end(self) -> ConnectionDone:
        """With the exit status."""
        return CommandDone(self.exit_status)

    def ask(self, kind: bytes, data: bytes) -> Any:
        """A request of which the server says whether it does it."""
        return self.connection.sendRequest(self, kind, data, wantReply=1)

    def stop_timer(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _lose(self, reason: Failure) -> None:
        self.stop_timer()
        super()._lose(reason)


class NcStream(SessionStream):
    """A TCP connection that ``nc HOST PORT`` makes on the server.

    Without ``-v`` it counts as connected when its first byte comes, or when it has not ended
    after a second. When the stream is closed it is told to end, and waited for: while it lives,
    so does its connection.

    :param host: a name or address without anything that a shell would take for more.
    :param options: one of :data:`NC_OPTIONS`.
    """

    def __init__(self, host: str, port: int, options: str) -> None:
        super().__init__(host, port)
        self._options = options
        self._words = b""
        self._told = False

    def ready(self) -> None:
        """The session is there: now the command."""
        command = f"nc {self._options}{self.host} {self.port}"
        self.ask(b"exec", NS(command.encode())).addCallbacks(self._runs, self._refused)

    def _runs(self, _: object) -> None:
        if not self._options:
            self._timer = self.connection.later(SETTLED, lambda: self._settle(self))

    def _refused(self, _: object) -> None:
        label = self.connection.link.node.label
        self._settle(Failure(NoForwarding(f"The SSH server {label} runs no commands.", "exec")))
        self.abortConnection()

    def error_output(self, data: bytes) -> None:
        """What ``nc`` says of the connection."""
        if not self.opened.called and len(self._words) < _MOST_WORDS:
            self._words += data
            if _CONNECTED.search(self._words):
                self._settle(self)
        super().error_output(data)

    def arrived(self, data: bytes) -> None:
        """It is connected, whatever it has said."""
        if not self.opened.called:
            self.stop_timer()
            self._settle(self)
        super().arrived(data)

    def closed(self) -> None:
        """It has ended; before it was connected, that is why."""
        if not self.opened.called:
            self._settle(Failure(self._why()))
        super().closed()

    def _why(self) -> SSHError:
        label = self.connection.link.node.label
        said = quoted(self._words)
        if self.exit_status == _NOT_FOUND:
            return NoForwarding(
                f"The SSH server {label} has no nc, which is needed where it does not forward "
                "connections.",
                said,
            )
        if self._options and _USAGE.search(self._words):
            return UnknownOption(f"The nc on {label} does not know {self._options}.", said)
        return target_failed(label, self.port, self._words, said or f"status {self.exit_status}")

    def hang_up(self) -> None:
        """Ends the command, then the channel."""
        if self._ended or self.remoteClosed:
            self.connection.sendClose(self)
            return
        self.stop_timer()
        if not self._eof_sent and not self.localClosed:
            self._eof_sent = True
            self.connection.sendEOF(self)
        if self._aborting and not self._told:
            self._told = True
            self.connection.sendRequest(self, b"signal", NS(b"TERM"))
            self._timer = self.connection.later(GRACE, lambda: self.connection.sendClose(self))
        elif not self._told:
            self._timer = self.connection.later(GRACE, self.abortConnection)


class ShellStream(SessionStream):
    """A login shell on a terminal.

    :param terminal: its size and kind at first.
    """

    def __init__(self, host: str, port: int, terminal: Terminal) -> None:
        super().__init__(host, port)
        self._terminal = terminal

    def ready(self) -> None:
        """The session is there: a terminal, then a shell on it."""
        terminal = self._terminal
        size = _size(terminal.columns, terminal.rows)
        modes = NS(_PTY_NO_MODES)
        pty = self.ask(b"pty-req", NS(terminal.term.encode()) + size + modes)
        pty.addErrback(lambda _: self._refuse("gives no terminal (PermitTTY)"))
        shell = self.ask(b"shell", b"")
        shell.addCallbacks(
            lambda _: self._settle(self), lambda _: self._refuse("starts no shell for this user")
        )

    def loseWriteConnection(self) -> None:
        """Hangs up: a shell on a terminal does not end with its input."""
        self.loseConnection()

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size now."""
        if not self.localClosed:
            self.connection.sendRequest(self, b"window-change", _size(columns, rows))

    def error_output(self, data: bytes) -> None:
        """A shell without a terminal would write it; it is shown like the rest."""
        self.arrived(data)

    def _refuse(self, why: str) -> None:
        label = self.connection.link.node.label
        self._settle(Failure(NodeFailed(f"The SSH server {label} {why}.")))
        self.abortConnection()


def _size(columns: int, rows: int) -> bytes:
    return struct.pack(">LLLL", columns, rows, 0, 0)


def target_failed(label: str, port: int, words: bytes, detail: str) -> TargetFailed:
    """The error for a connection that a server could not make.

    :param words: what it said of that.
    """
    kind: type[TargetFailed]
    if _REFUSED.search(words):
        what, kind = "the connection was refused", TargetRefused
    elif _TIMED_OUT.search(words):
        what, kind = "there was no answer", TargetFailed
    elif _UNKNOWN.search(words):
        what, kind = "its name is not known there", TargetRefused
    else:
        what, kind = "it could not connect", TargetFailed
    return kind(f"Port {port} cannot be reached through the SSH server {label}: {what}.", detail)


def words_of(description: object) -> bytes:
    """What a server says of a channel that it does not open."""
    return description if isinstance(description, bytes) else str(description).encode()
