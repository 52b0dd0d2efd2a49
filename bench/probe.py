"""Inside a daemon: checks tokens as its openings do, and measures how late its reactor is.

An order is a line of JSON over loopback, and so is its answer. What is measured here needs
no client that would take processor time from the daemon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from consoled.composition import cell
from consoled.db.database import CellDatabase
from consoled.db.threads import DatabaseThreads
from consoled.reaper import Reaper
from consoled.tokens.database import DatabaseAuthority

LAG_PERIOD = 0.01
"""Seconds between two looks at how late the reactor is."""


class Held(Reaper):
    """The daemon's own loop of expiry, which begins when the benchmark says so."""

    def startService(self) -> None:
        """Waits for :meth:`begin`."""
        probe.reaper = self

    def begin(self) -> Deferred[None]:
        """Begins now; fires when the first round is done."""
        self.done: Deferred[None] = Deferred()
        self.jitter = lambda: 0.0
        super().startService()
        return self.done

    async def _round(self) -> None:
        await super()._round()
        done, self.done = self.done, Deferred()
        done.callback(None)


class Probe:
    """What the benchmark may ask of a daemon.

    :ivar database: the daemon's own, with its threads.
    """

    database: CellDatabase
    reaper: Held

    def carry_out(self, order: dict[str, Any]) -> Deferred[dict[str, Any]]:
        """One order's answer."""
        actions: dict[str, Callable[[dict[str, Any]], Any]] = {
            "check": self._check,
            "watch": self._watch,
            "reap": self._reap,
        }
        return Deferred.fromCoroutine(actions[order["action"]](order))

    @property
    def _authority(self) -> DatabaseAuthority:
        return DatabaseAuthority(self.database, 600)

    async def _check(self, order: dict[str, Any]) -> dict[str, Any]:
        """Checks tokens, so many at a time, each again when it is done."""
        authority, tokens = self._authority, order["tokens"]
        numbers = iter(range(order["count"]))

        async def one_after_another() -> None:
            for number in numbers:
                await authority.validate(tokens[number % len(tokens)])

        start = time.perf_counter()
        running = [Deferred.fromCoroutine(one_after_another()) for _ in range(order["at_once"])]
        await DeferredList(running, fireOnOneErrback=True)
        return {"seconds": time.perf_counter() - start}

    async def _watch(self, order: dict[str, Any]) -> dict[str, Any]:
        """Checks tokens at a steady rate: the time of each, and of the reactor's delays.

        A check's time begins when it was due, not when a late reactor began it.
        """
        from twisted.internet import reactor

        authority, tokens = self._authority, order["tokens"]
        checks: list[float] = []
        lags: list[float] = []
        pending: list[Deferred[Any]] = []
        start = time.perf_counter()
        end = start + order["seconds"]

        def every(period: float, act: Callable[[float], None]) -> Deferred[None]:
            """Acts at each due time until the end, also at those that were missed."""
            finished: Deferred[None] = Deferred()

            def go(due: float) -> None:
                while due <= time.perf_counter():
                    if due > end:
                        finished.callback(None)
                        return
                    act(due)
                    due += period
                later(max(0.0, due - time.perf_counter()), go, due)

            later(period, go, start + period)
            return finished

        def check(due: float) -> None:
            number = len(pending)
            checked = authority.validate(tokens[number % len(tokens)])
            checked.addCallback(lambda _: checks.append(time.perf_counter() - due))
            pending.append(checked)

        later = cast(Any, reactor).callLater
        looking = every(LAG_PERIOD, lambda due: lags.append(time.perf_counter() - due))
        await every(1 / order["rate"], check)
        await looking
        await DeferredList(pending, fireOnOneErrback=True)
        return {"checks": checks, "lags": lags}

    async def _reap(self, _: dict[str, Any]) -> dict[str, Any]:
        """Deletes what has expired, by the daemon's own loop."""
        start = time.perf_counter()
        await self.reaper.begin()
        return {"seconds": time.perf_counter() - start}


probe = Probe()


class Orders(LineReceiver):
    """One connection of the benchmark."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 24

    def lineReceived(self, line: bytes) -> None:
        """An order."""
        answer = Deferred.fromCoroutine(self._answer(json.loads(line)))
        answer.addErrback(lambda failure: {"error": failure.getErrorMessage()})
        answer.addCallback(self._say)

    def _say(self, found: dict[str, Any]) -> None:
        self.sendLine(json.dumps(found).encode())  # type: ignore[no-untyped-call]  # Twisted's

    async def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        return await probe.carry_out(order)


def install(port_file: Path) -> None:
    """Lets the daemon that this process is about to run have a probe.

    :param port_file: where its port is to stand.
    """
    from twisted.internet import reactor

    make_threads = DatabaseThreads.of

    def threads(*arguments: Any) -> Any:
        made = make_threads(*arguments)
        probe.database = made.database
        return made

    def listen() -> None:
        factory = Factory.forProtocol(Orders)
        port = cast(Any, reactor).listenTCP(0, factory, interface="127.0.0.1")
        half = port_file.with_suffix(".half")
        half.write_text(str(port.getHost().port))
        half.replace(port_file)

    setattr(DatabaseThreads, "of", staticmethod(threads))  # noqa: B010  # a method
    setattr(cell, "Reaper", Held)  # noqa: B010  # imported there
    cast(Any, reactor).callWhenRunning(listen)
