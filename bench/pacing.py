"""A REST client that asks for console URLs at a steady rate, whatever the answers take."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from itertools import cycle, islice
from typing import Any

from bench.errors import BenchError
from bench.issuing import is_whole, request, url
from bench.sockets import HOST, READ


def paced(order: dict[str, Any], patience: float) -> dict[str, Any]:
    """Asks at each due time: the seconds from then to each answer, and the rate that came.

    A request that finds no free connection waits for one, and its time runs.

    :raises bench.errors.BenchError: an answer was none, or they took too long.
    """
    idle = deque(_connected(order["port"]) for _ in range(order["connections"]))
    busy: dict[int, tuple[socket.socket, float, str, bytearray]] = {}
    queue = deque(islice(cycle(order["paths"]), order["count"]))
    total, gap = len(queue), 1 / order["rate"]
    took: list[float] = []
    start = time.perf_counter()
    with select.epoll() as poller:
        for sock in idle:
            poller.register(sock.fileno(), select.EPOLLIN)
        due = start
        while len(took) < total:
            now = time.perf_counter()
            while queue and idle and due <= now:
                sock, path = idle.popleft(), queue.popleft()
                busy[sock.fileno()] = sock, due, path, bytearray()
                sock.sendall(request(path, order["key"]))
                due += gap
            if now > start + patience:
                raise BenchError(f"{total - len(took)} answers did not come")
            wait = max(0.0, due - now) if queue and idle else 1.0
            for descriptor, _ in poller.poll(wait):
                if descriptor not in busy:
                    raise BenchError("the API closed a connection that nothing was asked on")
                sock, since, path, answer = busy[descriptor]
                data = sock.recv(READ)
                if not data:
                    raise BenchError(f"the API closed the connection during POST {path}")
                answer += data
                if is_whole(bytes(answer)):
                    url(path, bytes(answer))
                    took.append(time.perf_counter() - since)
                    del busy[descriptor]
                    idle.append(sock)
    seconds = time.perf_counter() - start
    for sock in idle:
        sock.close()
    return {"issues": took, "rate": total / seconds}


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
