"""The one client of all relays: ``python -m bench.client``, an order a process.

The order is a line of JSON on standard input (so that no token is in a command
line), the result a line of JSON on standard output. A client that holds
sessions open does so until its input ends.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import resource
import select
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from bench import wire
from bench.errors import BenchError
from bench.issuing import issuing
from bench.pacing import paced
from bench.sockets import READ, Endpoint, Session, closing, drive, opening, trust

PATIENCE = 60.0
"""Seconds for any one thing, so that nothing hangs for good."""

BUFFER = 1 << 20


def keystroke(order: dict[str, Any]) -> dict[str, Any]:
    """Types one byte, waits for its echo, and again: nanoseconds of each."""
    session = _open_one(order)
    send, receive, now = session.sock.send, session.sock.recv, time.perf_counter_ns
    script = [_key(session, byte) for byte in range(256)]
    times = []
    end = now() + int(order["seconds"] * 1e9)
    for number in range(order["count"]):
        sent, echo = script[number & 255]
        start = now()
        send(sent)
        got = receive(READ)
        while got != echo:
            got = _slow_echo(session, got, echo)
        stop = now()
        times.append(stop - start)
        if stop > end:
            break
    drive([closing(session)], 1, PATIENCE)
    return {"nanoseconds": times}


def _key(session: Session, byte: int) -> tuple[bytes, bytes]:
    """What is sent for a key, and what is to come back."""
    if not session.websocket:
        return bytes((byte,)), bytes((byte,))
    sent = wire.frame(wire.BINARY, bytes((byte,)), os.urandom(4))
    return sent, bytes((0x82, 1, byte))


def _slow_echo(session: Session, got: bytes, echo: bytes) -> bytes:
    """An echo that came in pieces or beside a ping; it is returned in its usual form."""
    output = session.take(got)
    while not output:
        output = session.take(session.sock.recv(READ))
    if output != echo[-1:]:
        raise BenchError(f"{echo[-1:]!r} was typed, and {output!r} came back")
    return echo


def typing(order: dict[str, Any]) -> dict[str, Any]:
    """Many sessions type a byte each period, spread evenly: nanoseconds to each echo.

    A key is typed when its time has come, whether or not the echo of the one before has.
    """
    sessions = _open_all(order)
    script = [_key(session, 0x61)[0] for session in sessions]
    by_descriptor = {session.sock.fileno(): at for at, session in enumerate(sessions)}
    typed: list[deque[int]] = [deque() for _ in sessions]
    times: list[int] = []
    now, total = time.perf_counter_ns, len(sessions) * order["keys"]
    gap = order["period"] * 1e9 / len(sessions)
    with select.epoll() as poller:
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        sent, start = 0, now()
        end = start + PATIENCE * 1e9
        while len(times) < total:
            while sent < total and now() >= start + sent * gap:
                who = sent % len(sessions)
                typed[who].append(now())
                sessions[who].sock.send(script[who])
                sent += 1
            due = start + sent * gap if sent < total else end
            for descriptor, _ in poller.poll(max(0.0, due - now()) / 1e9):
                who = by_descriptor[descriptor]
                for _ in sessions[who].take(sessions[who].sock.recv(READ)):
                    times.append(now() - typed[who].popleft())
            if now() > end:
                raise BenchError(f"{total - len(times)} echoes did not come")
    drive((closing(session) for session in sessions), order["at_once"], PATIENCE)
    return {"nanoseconds": times}


def bulk(order: dict[str, Any]) -> dict[str, Any]:
    """Reads a flood for a while: bytes of output and the seconds that they took."""
    session = _open_one(order)
    counter = wire.PayloadCounter()
    buffer = memoryview(bytearray(BUFFER))
    counter.feed(memoryview(bytes(session.inbox.rest)))
    receive, feed, now = session.sock.recv_into, counter.feed, time.perf_counter
    raw = 0

    def read_until(end: float) -> float:
        nonlocal raw
        while True:
            count = receive(buffer)
            if not count:
                raise BenchError("the flood ended")
            if session.websocket:
                feed(buffer[:count])
            else:
                raw += count
            if (time_now := now()) > end:
                return time_now

    start = read_until(now() + order["warm_up"])
    before = raw + counter.payload
    stop = read_until(start + order["seconds"])
    session.sock.close()
    return {"bytes": raw + counter.payload - before, "seconds": stop - start}


def flooded(order: dict[str, Any]) -> dict[str, Any]:
    """Reads a flood until its input ends."""
    session = _open_one(order)
    session.sock.setblocking(False)
    _say({"opened": 1})
    buffer = memoryview(bytearray(BUFFER))
    with select.epoll() as poller:
        for descriptor in (0, session.sock.fileno()):
            poller.register(descriptor, select.EPOLLIN)
        while 0 not in dict(poller.poll()):
            if not session.sock.recv_into(buffer):
                raise BenchError("the flood ended")
    session.sock.close()
    return {"closed": 1}


def open_many(order: dict[str, Any]) -> dict[str, Any]:
    """Opens sessions, some at a time, and holds them: the seconds that it took."""
    start = time.perf_counter()
    sessions = _open_all(order)
    seconds = time.perf_counter() - start
    _say({"seconds": seconds, "opened": len(sessions)})
    _hold(sessions)
    drive((closing(session) for session in sessions), order["at_once"], PATIENCE)
    return {"closed": len(sessions)}


def _hold(sessions: list[Session]) -> None:
    """Answers pings until the input ends."""
    by_descriptor = {session.sock.fileno(): session for session in sessions}
    with select.epoll() as poller:
        poller.register(0, select.EPOLLIN)
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, _ in poller.poll():
                if not descriptor:
                    return
                session = by_descriptor[descriptor]
                with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                    session.take(session.sock.recv(READ))


def issue(order: dict[str, Any]) -> dict[str, Any]:
    """Asks the REST API for console URLs: them, and the seconds that they took.

    With one key for all (``key``), or one for each (``keys``).
    """
    keys = order.get("keys") or itertools.repeat(order["key"])
    asked = zip(order["paths"], keys, strict=False)
    start = time.perf_counter()
    ports = itertools.cycle(order["ports"])
    tasks = (issuing(next(ports), asked) for _ in range(order["at_once"]))
    answers = drive(tasks, order["at_once"], PATIENCE)
    seconds = time.perf_counter() - start
    urls = {path: url for answer in answers for path, url in answer}
    return {"seconds": seconds, "urls": [urls[path] for path in order["paths"]]}


def _open_one(order: dict[str, Any]) -> Session:
    (session,) = _open_all({**order, "at_once": 1})
    session.block(PATIENCE)
    return session


def _open_all(order: dict[str, Any]) -> list[Session]:
    endpoints = [Endpoint(*each) for each in order["endpoints"]]
    authorities = {endpoint.authority for endpoint in endpoints}
    contexts = {each: trust(each) for each in authorities if each is not None}
    tasks = (
        opening(each, contexts[each.authority] if each.authority else None) for each in endpoints
    )
    return drive(tasks, order["at_once"], PATIENCE)


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "keystroke": keystroke,
    "typing": typing,
    "bulk": bulk,
    "flooded": flooded,
    "open": open_many,
    "issue": issue,
    "pace": lambda order: paced(order, PATIENCE),
}


def _say(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield


def main() -> int:
    """Carries out the order on standard input."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order = json.loads(os.fdopen(0, "rb", buffering=0, closefd=False).readline())
    try:
        with _undisturbed():
            _say(ACTIONS[order["action"]](order))
    except (BenchError, OSError) as error:
        _say({"error": str(error) or type(error).__name__})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
