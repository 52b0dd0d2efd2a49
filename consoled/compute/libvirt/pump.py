"""A program: carries the bytes of pty consoles between libvirt's streams and consoled's sockets.

It is not a part of the daemon's process, for three reasons. libvirt's client reads what comes as
soon as there is an event loop (``events.py``), whether anybody takes a stream's data or not: a
guest that prints faster than its viewer reads would fill the memory, and never wait. Without the
event loop it reads when it is asked, and then the guest waits. A call blocks while the guest takes
nothing, or libvirtd hangs, and cannot be given up but by ending the process.

So the program waits, and forks for each console: the child opens it over a connection of its own,
carries bytes, and ends with it. It imports nothing of consoled's, so that a fork is small.

The orders come over a socket (SOCK_SEQPACKET) whose number is the first argument: JSON with a
number, URI, uuid and index, and the console's socket beside it. On that socket the child answers
``+``, and from then on it is the console; or ``-``, a kind and libvirt's words. When a console
ends, and not because consoled has hung up, its number and the kind are sent to a second socket
before its own is closed. There are these kinds:

==== ==========================================================================
busy somebody else has the console
gone there is no such pty: the domain does not run, or has no such serial port
end  the guest's end of the console was closed
lost libvirt's stream failed: somebody opened the console with force, for one
away libvirt does not answer, or not any more
==== ==========================================================================
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from time import sleep
from typing import Any, NoReturn
from xml.etree import ElementTree

import libvirt

OUTPUT = 16 * 1024
"""Bytes of the guest's output that are carried at once."""

WAITING = 32 * 1024
"""Bytes of it, or twice that, that the kernel keeps for a viewer who does not read."""

INPUT = 1024
"""Bytes of its input: libvirtd keeps a few messages for a guest that takes none."""

ORDER = 64 * 1024
"""Bytes that an order has at most."""

FAREWELL = 0.8
"""Seconds for the guest to take what was typed before consoled hung up, and for libvirt to take
the console back; after that the end of the process does."""

LOOKS = 4
"""Times that a busy console is asked for: libvirt notices the end of the one before a little
after it."""

LOOK_PAUSE = 0.1
"""Seconds between them."""


class Refused(Exception):
    """The console does not open.

    :ivar kind: one of the words above.
    """

    def __init__(self, kind: str, cause: str) -> None:
        super().__init__(cause)
        self.kind = kind


def main(orders: socket.socket, notices: socket.socket) -> NoReturn:
    """Takes orders until consoled ends, and forks for each."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    sockets: list[int] = []
    note_sockets(sockets)
    # The sockets say when it is over; a stop of the whole service lets consoled drain first.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The kernel buries the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, ORDER, 1)
        if not descriptors:
            os._exit(0)
        with socket.socket(fileno=descriptors[0]) as wire:
            try:
                child = os.fork()
            except OSError:
                # consoled sees that the console's socket is closed.
                continue
            if child == 0:
                # Its end is how consoled sees that this program is gone.
                orders.close()
                serve(notices, wire, json.loads(message), sockets)


def serve(
    notices: socket.socket, wire: socket.socket, order: dict[str, Any], sockets: list[int]
) -> NoReturn:
    """One console, in a process of its own."""
    # libvirt waits for its own children (qemu+ssh).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    wire.setblocking(True)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAITING)
    with suppress(OSError):
        try:
            line = opened(order, sockets)
        except Refused as why:
            wire.sendall(f"-{why.kind} {why}".encode())
        except Exception as error:
            wire.sendall(f"-away {type(error).__name__}: {error}".encode())
        else:
            wire.sendall(b"+")
            carry(line, wire, lambda kind: tell(notices, order["number"], kind))
    os._exit(0)


class Line:
    """An open console, used by one thread.

    libvirt's client reads its socket only while it waits for the answer to a question. Two threads
    are no way around that: before 10.3 one that sends while the other reads can be left waiting.

    :ivar descriptor: libvirt's own socket.
    """

    def __init__(self, connection: Any, stream: Any, descriptor: int) -> None:
        self.descriptor = descriptor
        self._connection = connection
        self._stream = stream
        self._lost: str | None = None

    def read(self) -> None:
        """Has libvirt read what has come."""
        self._try(self._connection.getLibVersion)

    def printed(self) -> tuple[bytes, str | None]:
        """The output that libvirt has read, and how the console has ended if it has."""
        data: list[bytes] = []
        while isinstance(piece := self._try(partial(self._stream.recv, OUTPUT)), bytes):
            if not piece:
                self._lost = "end"
                break
            data.append(piece)
        return b"".join(data), self._lost

    def type(self, data: bytes) -> None:
        """Input; waits until libvirt has taken it."""
        while data and isinstance(sent := self._try(partial(self._stream.send, data)), int):
            data = data[max(sent, 0) :]

    def hang_up(self) -> None:
        """Gives the console back, after all that was typed."""
        self._try(self._stream.finish)

    def _try(self, call: Callable[[], Any]) -> Any:
        """What libvirt answers; None once the console has ended."""
        if self._lost is not None:
            return None
        try:
            return call()
        except libvirt.libvirtError as error:
            self._lost = kind_of(error)
            return None


def opened(order: dict[str, Any], sockets: list[int]) -> Line:
    """The console.

    :param sockets: gets libvirt's own ones.
    :raises Refused: why there is none.
    """
    try:
        connection = libvirt.open(order["uri"])
        domain = connection.lookupByUUIDString(order["uuid"])
        alias = alias_of(domain.XMLDesc(0), order["index"])
    except libvirt.libvirtError as error:
        kind = "gone" if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else "away"
        raise Refused(kind, str(error)) from None
    if alias is None:
        raise Refused("gone", f"the domain has no pty of a serial port {order['index']} now")
    for look in range(LOOKS):
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        try:
            domain.openConsole(alias, stream, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_FAILED:
                raise Refused(kind_of(error), str(error)) from None
            if look == LOOKS - 1:
                raise Refused("busy", str(error)) from None
            sleep(LOOK_PAUSE)
        else:
            return Line(connection, stream, sockets[-1])
    raise AssertionError


def note_sockets(found: list[int]) -> None:
    """Has libvirt tell the sockets of connections, by an event loop that takes none of them.

    Such a connection answers no keepalive, and its server sends none: a console whose viewer is
    slow, or whose guest takes nothing, may wait for as long as it likes.
    """

    def add(descriptor: int, *_: object) -> int:
        found.append(descriptor)
        return -1

    def nothing(*_: object) -> int:
        return -1

    libvirt.virEventRegisterImpl(add, nothing, nothing, nothing, nothing, nothing)


def alias_of(xml: str, index: int) -> str | None:
    """libvirt's name of the pty of a domain's serial port; None where it has none."""
    # libvirt's own text, of a domain that libvirt runs.
    root = ElementTree.fromstring(xml)  # noqa: S314
    for serial in root.iterfind("devices/serial[@type='pty']"):
        target, alias = serial.find("target"), serial.find("alias")
        if target is not None and alias is not None and target.get("port") == str(index):
            return alias.get("name")
    return None


def kind_of(error: libvirt.libvirtError) -> str:
    """What an error of libvirt's is, for consoled."""
    code = error.get_error_code()
    if code in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
        return "gone"
    return "away" if code == libvirt.VIR_ERR_SYSTEM_ERROR else "lost"


def carry(line: Line, wire: socket.socket, end: Callable[[str], None]) -> None:
    """Carries bytes both ways until consoled hangs up; where the console ends, the process does.

    :param end: told of the console's end.
    """
    # libvirt, or the guest, may keep this thread for good.
    Thread(target=cut_off, args=(wire,), daemon=True).start()
    wire.setblocking(False)
    poll = select.poll()
    output = b""
    while True:
        data, kind = line.printed()
        output += data
        if kind is not None:
            wire.setblocking(True)
            wire.sendall(output)
            end(kind)
            os._exit(0)
        poll.register(wire, select.POLLIN | (select.POLLOUT if output else 0))
        if output:
            # The guest waits until this has been taken.
            with suppress(KeyError):
                poll.unregister(line.descriptor)
        else:
            poll.register(line.descriptor, select.POLLIN)
        ready = dict(poll.poll())
        if ready.get(wire.fileno(), 0) & select.POLLOUT:
            output = output[wire.send(output) :]
        if line.descriptor in ready:
            line.read()
        if ready.get(wire.fileno(), 0) & ~select.POLLOUT:
            typed = wire.recv(INPUT)
            if not typed:
                line.hang_up()
                return
            line.type(typed)


def cut_off(wire: socket.socket) -> NoReturn:
    """Ends the process a little after consoled has hung up, whatever it does then."""
    hang_up = select.poll()
    hang_up.register(wire, select.POLLRDHUP)
    hang_up.poll()
    sleep(FAREWELL)
    os._exit(0)


def tell(notices: socket.socket, number: int, kind: str) -> None:
    """Says how a console has ended, before its socket is closed."""
    with suppress(OSError):
        notices.send(json.dumps({"number": number, "kind": kind}).encode(), socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
