"""A REST client that asks for console URLs over a connection that stays open."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from bench.errors import BenchError
from bench.sockets import HOST, Task, connecting, receiving

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)\s*$")


def issuing(port: int, asked: Iterator[tuple[str, str]]) -> Task[list[tuple[str, str]]]:
    """POSTs to path after path until none is left: ``(path, URL)`` of each.

    :param asked: paths, each with its X-Auth-Token, shared with the other connections.
    :raises bench.errors.BenchError: what was answered instead of a URL.
    """
    issued = []
    sock = yield from connecting(port)
    for path, key in asked:
        sock.send(request(path, key))
        answer = b""
        while not is_whole(answer):
            data = yield from receiving(sock)
            if not data:
                raise BenchError(f"the API closed the connection during POST {path}")
            answer += data
        issued.append((path, url(path, answer)))
    sock.close()
    return issued


def request(path: str, key: str) -> bytes:
    """A request for a console URL."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Token: {key}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def is_whole(answer: bytes) -> bool:
    """Whether an answer has come with all of its body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head.replace(b"\r\n", b"\n"))
    return bool(end) and length is not None and len(body) >= int(length[1])


def url(path: str, answer: bytes) -> str:
    """The console URL in an answer.

    :raises bench.errors.BenchError: what was answered instead.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split()[1].decode()
    if status not in ("200", "201", "202"):
        raise BenchError(f"POST {path} was answered with {status}: {body.decode()}")
    return str(json.loads(body)["token"]["url"])
