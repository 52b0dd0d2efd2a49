"""The running cell: starts its parts, swaps what SIGHUP may swap, stops in order."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import ILogObserver, Logger

from consoled.descriptors import raise_soft_limit
from consoled.errors import ConsoledError
from consoled.http.listen import serve
from consoled.interfaces import Driver
from consoled.proxy.book import SessionBook

log = Logger()

T = TypeVar("T")

GOING_AWAY = 1001
DRAIN_DEADLINE = 5.0
"""Seconds that viewers have to take the close when the daemon stops."""
STOP_DEADLINE = 14.0
"""Seconds after which a daemon that stops ends whatever still runs: a database, a disk or a
library that hangs would hold it for ever. What it leaves is what a killed daemon leaves. The
drain and the database's longest answer fit in, and systemd's patience (etc/consoled.service)
is a second longer."""
FORCED = 1
"""The exit status then."""


@frozen
class Part:
    """A worker, a loop or a pool that only starts and stops.

    :ivar start: called after twistd's fork.
    :ivar stop: may answer with a Deferred, which is waited for.
    """

    start: Callable[[], object]
    stop: Callable[[], object]


@frozen
class Listener:
    """A bound socket and what is served on it."""

    name: str
    socket: socket.socket
    factory: IProtocolFactory


@frozen
class Reload:
    """One thing that SIGHUP reads again.

    :ivar what: its name in the log.
    :ivar run: does it; raises or fails where the old stays in force.
    """

    what: str
    run: Callable[[], Any]


@define(eq=False)
class Cell(Service):
    """One cell's daemon.

    :ivar observer: writes the log, unless twistd is told otherwise.
    :ivar parts: in the order of their start; stopped the other way round.
    :ivar leave: ends the process at once, with that status.
    """

    name: str
    reactor: Any
    observer: ILogObserver
    listeners: Sequence[Listener]
    driver: Driver
    parts: Sequence[Part]
    sessions: SessionBook
    reloads: Sequence[Reload]
    leave: Callable[[int], object] = os._exit
    _ports: list[IListeningPort] = field(factory=list, init=False)

    def setServiceParent(self, parent: Any) -> None:
        """Gives twistd's application its log observer."""
        parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Starts the parts, then serves."""
        super().startService()
        raise_soft_limit()
        sys.setswitchinterval(THREAD_TURN)
        for part in self.parts:
            part.start()
        self.driver.start()
        for listener in self.listeners:
            port = serve(self.reactor, listener.socket, listener.factory)
            self._ports.append(port)
            address: Any = port.getHost()
            log.info(
                "{name} listens on {host} port {port}",
                event="listening",
                name=listener.name,
                host=address.host,
                port=address.port,
            )
        signal.signal(signal.SIGHUP, self._hang_up)
        log.info("cell {cell} is up", event="started", cell=self.name)

    def _hang_up(self, signum: int, frame: object) -> None:
        self.reactor.callFromThread(lambda: Deferred.fromCoroutine(self.reload()))

    async def reload(self) -> None:
        """Reads everything again that may change; what is bad stays as it was."""
        for item in self.reloads:
            try:
                outcome = item.run()
                if isinstance(outcome, Deferred):
                    await outcome
            except ConsoledError as error:
                log.error(
                    "{what} not reloaded, the old stays in force: {error}",
                    event="reload_refused",
                    what=item.what,
                    error=error,
                )
            except Exception:
                log.failure("{what} not reloaded", event="reload_refused", what=item.what)
            else:
                log.info("{what} reloaded", event="reloaded", what=item.what)

    def stopService(self) -> Deferred[None]:
        """Stops in order: listeners, sessions, driver, parts.

        A further SIGTERM or SIGINT, or :data:`STOP_DEADLINE`, ends the process as it is.
        """
        super().stopService()
        deadline = self.reactor.callLater(
            STOP_DEADLINE, self._force, f"it has not stopped within {STOP_DEADLINE:.0f} s"
        )
        former = {
            number: signal.signal(number, self._force_by_signal)
            for number in (signal.SIGTERM, signal.SIGINT)
        }

        def over(outcome: T) -> T:
            if deadline.active():
                deadline.cancel()
            for number, handler in former.items():
                signal.signal(number, handler)
            return outcome

        return Deferred.fromCoroutine(self._stop()).addBoth(over)

    def _force_by_signal(self, signum: int, frame: object) -> None:
        self._force(f"{signal.Signals(signum).name} came a second time")

    def _force(self, why: str) -> None:
        log.error(
            "cell {cell} ends at once, with what is left undone: {reason}",
            event="stop_forced",
            cell=self.name,
            reason=why,
        )
        self.leave(FORCED)

    async def _stop(self) -> None:
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        try:
            await self.sessions.end_all(
                GOING_AWAY, "The console server is restarting. Reconnect in a moment."
            ).addTimeout(DRAIN_DEADLINE, self.reactor)
        except TimedOut:
            log.warn("{count} viewers did not take the close in time", count=len(self.sessions))
        await self.driver.stop()
        for part in reversed(self.parts):
            outcome = part.stop()
            if isinstance(outcome, Deferred):
                await outcome
        log.info("cell {cell} is down", event="stopped", cell=self.name)


THREAD_TURN = 0.001
"""Seconds after which a thread that works makes way for one that waits. A database answers in
less than Python's default of 5 ms, and its thread waits for its turn several times on the way."""


def settle_memory() -> None:
    """Takes what the start has made out of the garbage collector's rounds: it stays for good.

    A full round over it stops the reactor for 70 ms or so; over sessions alone it is short.
    """
    gc.collect()
    gc.freeze()
