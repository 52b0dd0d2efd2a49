"""One replica's leases in a process of its own, told what to do line by line.

``python lease_replica.py URL BEAT VALIDITY SILENCE POLL``. Each line of standard input is a
JSON list, a command and its arguments; each answer is a JSON object on a line of its own, and
so is what happens unasked (``{"ended": [session, code, reason]}``).
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineReceiver

from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import ConsoleBusy, ConsoledError
from consoled.leasing.cell import CellLease, CellLeases
from consoled.leasing.values import ConsoleKey, Holder, Timings
from consoled.workers import ThreadWorker

PR_SET_PDEATHSIG = 1
INSTANCE = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"
reactor: Any = _reactor


class Commands(LineReceiver):
    """Reads commands, writes answers."""

    delimiter = b"\n"

    def __init__(self, url: str, timings: Timings) -> None:
        engine = make_engine(url)
        self.worker = ThreadWorker(reactor, "database", 1 if "sqlite" in url else 4)
        self.timings = timings
        self.held: dict[str, CellLease] = {}
        self.leases = CellLeases(
            database=CellDatabase(engine, self.worker),
            cell="lab",
            url="",
            clock=reactor,
            end=lambda *told: self.say(ended=told),
            lose=self.lose,
            timings=timings,
        )

    def lose(self, key: ConsoleKey, code: int, reason: str) -> None:
        """What is on a console ends: the sessions that hold it here."""
        for session, lease in self.held.items():
            if lease.claim.key == key:
                self.say(ended=(session, code, reason))

    def say(self, **words: Any) -> None:
        """One line."""
        self.sendLine(json.dumps(words).encode())

    def connectionMade(self) -> None:
        """The pipes are there."""
        self.worker.start()
        self.leases.start()

    def connectionLost(self, reason: Any = None) -> None:
        """Whoever started it is gone."""
        if reactor.running:
            reactor.stop()

    def lineReceived(self, line: bytes) -> None:
        """A command; ``valid`` is answered in the very turn in which it was read."""
        command, *arguments = json.loads(line)
        if command == "valid":
            (session,) = arguments
            self.say(valid=self.held[session].valid, replica=self.leases.replica_id)
            return
        done = Deferred.fromCoroutine(getattr(self, f"do_{command}")(*arguments))
        done.addCallbacks(
            lambda words: self.say(**words), lambda failure: self.say(error=str(failure))
        )

    async def do_take(self, session: str) -> dict[str, Any]:
        """Takes the console, or says why not."""
        try:
            lease: Any = await self.leases.take(INSTANCE, 0, session, holder=Holder("alice"))
        except ConsoleBusy as error:
            return {"refused": "busy", "user": error.user_id, "session": error.session_id}
        except ConsoledError as error:
            return {"refused": type(error).__name__}
        self.held[session] = lease
        return {"epoch": lease.epoch, "seized": lease.seized}

    async def do_take_when_free(self, session: str) -> dict[str, Any]:
        """Asks again and again, as an impatient viewer does."""
        while "refused" in (answer := await self.do_take(session)):
            await deferLater(reactor, self.timings.poll / 2)
        return answer

    async def do_crowd(self, count: int, name: str) -> dict[str, Any]:
        """So many viewers at once."""
        takes = [
            Deferred.fromCoroutine(self.do_take(f"{name}-{number}")) for number in range(count)
        ]
        answers = [answer for _, answer in await DeferredList(takes)]
        return {"won": sum("epoch" in answer for answer in answers)}

    async def do_ready(self) -> dict[str, Any]:
        """Answers when this replica is registered, for the first time or again."""
        while self.leases.replica_id is None:
            await deferLater(reactor, self.timings.poll / 2)
        return {"replica": self.leases.replica_id}

    async def do_release(self, session: str) -> dict[str, Any]:
        """Gives the console back."""
        await self.leases.release(self.held.pop(session))
        return {"released": session}

    async def do_disconnect(self, session: str, reason: str) -> dict[str, Any]:
        """Ends a session, whichever replica has it."""
        rows = await self.leases.request_disconnect("ada", reason, session_id=session)
        return {"asked": [row.session_id for row in rows]}

    async def do_step(self, seconds: float) -> dict[str, Any]:
        """Sets the wall clock, as this process sees it."""
        wall = time.time
        time.time = lambda: wall() + seconds
        return {"stepped": seconds}

    async def do_wait(self, seconds: float) -> dict[str, Any]:
        """Answers later."""
        await deferLater(reactor, seconds)
        return {"waited": seconds}

    async def do_stop(self) -> dict[str, Any]:
        """An orderly end."""
        await self.leases.stop()
        return {"stopped": True}


def main(url: str, *timings: str) -> None:
    """Runs until standard input ends."""
    # Also when it is stopped at that moment.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reactor.seconds = time.monotonic  # as consoled.tap does
    commands = Commands(url, Timings(*map(float, timings)))
    StandardIO(commands)
    reactor.addSystemEventTrigger("before", "shutdown", commands.worker.stop)
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
