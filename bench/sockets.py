"""Sessions over raw non-blocking sockets: opened many at once, then used one by one."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeVar

from bench import wire
from bench.errors import BenchError

HOST = "127.0.0.1"
READ = 65536

T = TypeVar("T")
Wait = tuple[int, int]
Task = Generator[Wait, None, T]
"""Yields ``(descriptor, epoll events)`` for what it waits for."""


class Endpoint(NamedTuple):
    """Where a client connects.

    :ivar path: of the WebSocket, or None where raw TCP is spoken.
    :ivar authority: the file with the certificate to trust where TLS is spoken.
    """

    port: int
    path: str | None = None
    authority: str | None = None


class Session:
    """A connection to a console, through whatever is in between."""

    def __init__(self, sock: socket.socket, *, websocket: bool) -> None:
        self.sock = sock
        self.inbox = wire.Inbox()
        self.websocket = websocket

    def take(self, data: bytes) -> bytes:
        """The console's output in what was received; pings are answered.

        :raises bench.errors.BenchError: the session was ended.
        """
        if not data:
            raise BenchError("the connection was closed")
        if not self.websocket:
            return data
        self.inbox.feed(data)
        output = b""
        for opcode, payload in self.inbox.frames():
            if opcode == wire.PING:
                self.sock.send(wire.frame(wire.PONG, payload, os.urandom(4)))
            elif opcode == wire.CLOSE:
                code = struct.unpack_from("!H", payload)[0] if payload else 1005
                raise BenchError(f"the session was ended with {code}: {payload[2:].decode()}")
            else:
                output += payload
        return output

    def block(self, seconds: float) -> None:
        """Makes the socket a blocking one whose calls give up after a while."""
        self.sock.setblocking(True)
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        # Unlike settimeout, this costs no system call per send and receive.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def trust(authority: str) -> ssl.SSLContext:
    """TLS that trusts that one certificate."""
    return ssl.create_default_context(cafile=authority)


def opening(endpoint: Endpoint, context: ssl.SSLContext | None = None) -> Task[Session]:
    """Opens a session; it is open when the console's greeting has come.

    :raises bench.errors.BenchError: why it does not open.
    """
    sock = yield from connecting(endpoint.port)
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname=HOST, do_handshake_on_connect=False)
        yield from _tls_handshake(sock)
    session = Session(sock, websocket=endpoint.path is not None)
    first = b""
    if endpoint.path is not None:
        nonce = os.urandom(16)
        sock.send(wire.handshake(f"{HOST}:{endpoint.port}", endpoint.path, nonce))
        while b"\r\n\r\n" not in first:
            data = yield from receiving(sock)
            if not data:
                raise BenchError("the connection was closed during the handshake")
            first += data
        head, _, first = first.partition(b"\r\n\r\n")
        wire.check_answer(head, nonce)
    while not first or not session.take(first):
        first = yield from receiving(sock)
        if not first:
            raise BenchError("the connection was closed before the console's first byte")
    return session


def connecting(port: int) -> Task[socket.socket]:
    """A connected socket."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    problem = sock.connect_ex((HOST, port))
    if problem == errno.EINPROGRESS:
        yield sock.fileno(), select.EPOLLOUT
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise BenchError(f"cannot connect to port {port}: {os.strerror(problem)}")
    return sock


def _tls_handshake(sock: ssl.SSLSocket) -> Task[None]:
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            yield sock.fileno(), select.EPOLLIN
        except ssl.SSLWantWriteError:
            yield sock.fileno(), select.EPOLLOUT


def receiving(sock: socket.socket) -> Task[bytes]:
    """The bytes that come next, or none at the end."""
    while True:
        try:
            return sock.recv(READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            yield sock.fileno(), select.EPOLLIN
        except ConnectionError as error:
            raise BenchError(f"the connection broke: {error}") from error


def closing(session: Session) -> Task[None]:
    """Ends a session politely and waits for its other end."""
    if session.websocket:
        # A peer that resets the connection instead has ended it too.
        with contextlib.suppress(OSError, BenchError):
            session.sock.setblocking(False)
            session.sock.send(wire.frame(wire.CLOSE, struct.pack("!H", 1000), os.urandom(4)))
            while (yield from receiving(session.sock)):
                pass
    session.sock.close()


def drive(tasks: Iterable[Task[T]], at_once: int, seconds: float) -> list[T]:
    """The tasks' results, in the order in which they end.

    :param at_once: how many run at a time.
    :param seconds: for all of them.
    :raises bench.errors.BenchError: it took longer, or a task raised it.
    """
    deadline = time.monotonic() + seconds
    queue = iter(tasks)
    running: dict[int, Task[T]] = {}
    watched: dict[int, int] = {}
    results: list[T] = []

    def step(task: Task[T], descriptor: int | None = None) -> None:
        try:
            wanted, events = next(task)
        except StopIteration as end:
            if descriptor is not None:
                forget(descriptor)
            results.append(end.value)
            return
        if wanted not in watched:
            poller.register(wanted, events)
        elif watched[wanted] != events:
            poller.modify(wanted, events)
        running[wanted], watched[wanted] = task, events

    def forget(descriptor: int) -> None:
        del running[descriptor], watched[descriptor]
        with contextlib.suppress(OSError):  # The task may have closed it.
            poller.unregister(descriptor)

    with select.epoll() as poller:
        while True:
            while len(running) < at_once and (task := next(queue, None)) is not None:
                step(task)
            if not running:
                return results
            left = deadline - time.monotonic()
            if left <= 0:
                raise BenchError(f"{len(running)} sessions were not done after {seconds:.0f} s")
            for descriptor, _ in poller.poll(left):
                step(running[descriptor], descriptor)
