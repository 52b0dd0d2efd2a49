"""A turn of Twisted's epoll reactor that costs a readable connection little but the reading.

For each event Twisted asks the transport for its name, copies the logging context, enters
the copy and leaves it: more than reading a keystroke and sending it on. Our log names no
context. So a TCP connection that has something to read, which is nearly every event, is
read at once; every other event goes Twisted's own way.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Client, Server
from twisted.logger import Logger
from twisted.python.log import callWithLogger

log = Logger()


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
            elif selectable is not None:
                callWithLogger(selectable, twisted_way, selectable, descriptor, event)

    return turn


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
        setattr(reactor, "doIteration", lean_turn(reactor))  # noqa: B010  # a method to mypy
