"""Turns of Twisted's epoll reactor that cost a readable connection little but the reading.

For each event Twisted asks the transport for its name, copies the logging context, enters
the copy and leaves it: more than reading a keystroke and sending it on. Our log names no
context. So a TCP connection that has something to read, which is nearly every event, is
read at once; other events of TCP, and calls from threads, go Twisted's way without a context.

Between two turns Twisted's loop runs what is due, and computes how long nothing will be.
While no call waits and no timer is due, a look at its queues tells that too, and the next
turn follows.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Client, Port, Server
from twisted.logger import Logger
from twisted.python.log import callWithLogger

log = Logger()

_LONGEST = 2_000_000.0
"""Seconds: about the longest wait that epoll takes."""


def lean_turn(reactor: Any) -> Callable[[float | None], None]:
    """One iteration over what is ready, as ``EPollReactor.doPoll`` is.

    :param reactor: an epoll reactor, whose own tables are used.
    """
    poll = reactor._poller.poll
    selectables: dict[int, Any] = reactor._selectables
    twisted_way = reactor._doReadOrWrite

    def turn(timeout: float | None) -> None:
        """:param timeout: seconds to wait for the first event; None for as long as it takes."""
        for descriptor, event in poll(-1 if timeout is None else timeout, len(selectables)):
            # One that an earlier event of this turn has closed is not there any more.
            selectable = selectables.get(descriptor)
            if event == EPOLLIN and selectable.__class__ in (Server, Client):
                _read(reactor, selectable)
            elif selectable.__class__ in (Server, Client, Port) or selectable is reactor.waker:
                twisted_way(selectable, descriptor, event)
            elif selectable is not None:
                callWithLogger(selectable, twisted_way, selectable, descriptor, event)

    return turn


def lean_loop(reactor: Any, turn: Callable[[float | None], None]) -> Callable[[], None]:
    """The reactor's loop, as ``ReactorBase.mainLoop`` is.

    :param turn: one iteration.
    """

    def loop() -> None:
        while reactor._started:
            try:
                reactor.runUntilCurrent()
                turn(reactor.timeout() if reactor.running else 0)
                while (wait := _undisturbed(reactor)) != 0:
                    turn(wait)
            except BaseException:
                log.failure("a turn of the reactor has failed")

    return loop


def _undisturbed(reactor: Any) -> float | None:
    """Seconds until the next timer, None without any; 0 where Twisted has to look."""
    if (
        reactor.threadCallQueue
        or reactor._newTimedCalls
        or reactor._justStopped
        or not reactor.running
    ):
        return 0
    timers = reactor._pendingTimedCalls
    if not timers:
        return None
    left: float = timers[0].time - reactor.seconds()
    return min(max(0, left), _LONGEST)


def _read(reactor: Any, connection: Any) -> None:
    try:
        end = connection.doRead()
    except BaseException as error:
        log.failure("a connection has failed and is closed")
        end = error
    if end:
        reactor._disconnectSelectable(connection, end, True)


def install(reactor: Any) -> None:
    """Makes the process's reactor turn so, where it is Twisted's epoll reactor itself."""
    if reactor.__class__ is EPollReactor:
        turn = lean_turn(reactor)
        # Methods to mypy.
        setattr(reactor, "doIteration", turn)  # noqa: B010
        setattr(reactor, "mainLoop", lean_loop(reactor, turn))  # noqa: B010
