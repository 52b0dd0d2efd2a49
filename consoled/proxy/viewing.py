"""The seam between a session and its viewer: what each asks of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import frozen

from consoled.errors import ConsoledError
from consoled.model import ConsoleAuthToken
from consoled.proxy.leg import OpenConsole
from consoled.proxy.presence import Busy
from consoled.proxy.resuming import ResumeKey


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

    def resized(self, columns: int, rows: int) -> None:
        """The viewer's terminal has this size."""

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
