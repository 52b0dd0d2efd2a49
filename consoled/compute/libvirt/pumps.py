"""The daemon's side of the program that carries pty consoles (:mod:`.pump`)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from consoled.compute.libvirt.asking import OwnWorker
from consoled.errors import Unavailable

PROGRAM = Path(__file__).with_name("pump.py")

PATIENCE = 2.0
"""Seconds that the program has to end once nobody gives it orders."""

NOTICE = 4096
"""Bytes that the notice of a console's end has at most."""


@frozen(eq=False)
class Wire:
    """The socket of one console, on which the program answers first.

    :ivar number: the program's word for it.
    """

    socket: socket.socket
    number: int


@frozen(eq=False)
class Program:
    """The running program.

    :ivar orders: takes them.
    :ivar notices: gives what has become of consoles.
    """

    orders: socket.socket
    notices: socket.socket
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """Waits for it; consoles that it has open go on without it. Blocks."""
        self.orders.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.notices.close()


def launch() -> Program:
    """Starts the program; blocks until it runs.

    :raises OSError: it cannot.
    """
    orders, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    notices, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with taken, given:
        theirs = (taken.fileno(), given.fileno())
        try:
            # -P: its own folder has modules by the names of Python's.
            process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-P", str(PROGRAM), *map(str, theirs)],
                pass_fds=theirs,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
            )
        except BaseException:
            orders.close()
            notices.close()
            raise
    orders.setblocking(False)
    notices.setblocking(False)
    return Program(orders, notices, process)


@define(eq=False)
class Pumps:
    """Has the program open consoles; starts it when the first is asked for, or it has ended.

    :ivar worker: a thread that starts it, and waits for its end.
    """

    worker: OwnWorker
    launch: Callable[[], Program] = launch
    _program: Program | None = field(default=None, init=False)
    _starting: DeferredLock = field(factory=DeferredLock, init=False)
    _numbers: count[int] = field(factory=lambda: count(1), init=False)
    _open: dict[int, str | None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def start(self) -> None:
        """Called after twistd's fork; the program is not needed yet."""
        self.worker.start()

    def stop(self) -> Deferred[None]:
        """Ends the program; consoles that are still open then end with their sockets."""
        ended = self._starting.run(self._end)
        return ended.addBoth(lambda _: self.worker.stop())

    def dial(self, uri: str, instance_uuid: str, index: int) -> Deferred[Wire]:
        """The socket of a console that is being opened.

        :param uri: libvirt's, of its compute host.
        :raises consoled.errors.Unavailable: the program does not start.
        """
        return self._starting.run(
            lambda: Deferred.fromCoroutine(self._dial(uri, instance_uuid, index))
        )

    def closed(self, wire: Wire) -> str | None:
        """How a console has ended whose socket is closed, in the program's words.

        To be asked of each wire, once. None where the program does not say, as its process was
        killed, or where consoled itself has hung up.
        """
        self._hear()
        return self._open.pop(wire.number, None)

    async def _dial(self, uri: str, instance_uuid: str, index: int) -> Wire:
        self._hear()
        # One that was killed is noticed by its order; the next one runs.
        for _ in range(2):
            program = self._program
            if program is None:
                program = self._program = await self._launch()
            wire = self._order(program, uri, instance_uuid, index)
            if wire is not None:
                return wire
            await self._end()
        raise Unavailable("The consoles of this host cannot be reached now. Try again in a moment.")

    async def _launch(self) -> Program:
        try:
            return await self.worker.run(self.launch)
        except OSError as error:
            self._log.error("the program for pty consoles does not start: {cause}", cause=error)
            raise Unavailable(
                "The consoles of this host cannot be reached now. Try again in a moment."
            ) from error

    def _order(self, program: Program, uri: str, uuid: str, index: int) -> Wire | None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        number = next(self._numbers)
        order = {"number": number, "uri": uri, "uuid": uuid, "index": index}
        with theirs:
            try:
                socket.send_fds(program.orders, [json.dumps(order).encode()], [theirs.fileno()])
            except OSError as error:
                ours.close()
                self._log.error("the program for pty consoles has ended: {cause}", cause=error)
                return None
        ours.setblocking(False)
        self._open[number] = None
        return Wire(ours, number)

    def _end(self) -> Deferred[None]:
        program, self._program = self._program, None
        return self.worker.run(_nothing if program is None else partial(Program.end, program))

    def _hear(self) -> None:
        """Takes the notices that have come."""
        with suppress(OSError, ValueError):
            while self._program is not None:
                notice = self._program.notices.recv(NOTICE)
                if not notice:
                    return
                said = json.loads(notice)
                if said["number"] in self._open:
                    self._open[said["number"]] = str(said["kind"])


def _nothing() -> None:
    """There is no program."""
