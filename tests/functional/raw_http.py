"""HTTP as bytes on a real socket, for what no client library would send."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from email.parser import BytesHeaderParser

PATIENCE = 60.0
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade, close",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


class Answer:
    """The first answer in some bytes.

    :ivar data: all of them.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        head, _, self.body = data.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.status = int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
        self.headers: Message = BytesHeaderParser().parsebytes(rest)


def dial(
    port: int, *, source: str | None = None, context: ssl.SSLContext | None = None
) -> socket.socket:
    """A connection to loopback.

    :param source: the address to come from; all of 127.0.0.0/8 is loopback.
    :param context: speaks TLS.
    """
    sock = socket.create_connection(
        ("127.0.0.1", port), PATIENCE, source_address=(source, 0) if source else None
    )
    if context is None:
        return sock
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the server closes, in order or not."""
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return received


def read_head(sock: socket.socket) -> bytes:
    """Everything up to the end of an answer's head, byte by byte: frames may follow it."""
    received = b""
    while not received.endswith(b"\r\n\r\n") and (data := sock.recv(1)):
        received += data
    return received


def exchange(
    port: int, data: bytes, *, source: str | None = None, context: ssl.SSLContext | None = None
) -> Answer:
    """What the server says until it closes.

    :raises TimeoutError: it did not close.
    """
    with dial(port, source=source, context=context) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return Answer(read_to_end(sock))


def request(
    target: str, host: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> bytes:
    """A request after which the server closes."""
    lines = {"Host": host, "Connection": "close"} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def handshake(
    port: int,
    target: str,
    headers: Mapping[str, str] | None = None,
    *,
    source: str | None = None,
) -> Answer:
    """The answer to a request for a WebSocket, whose connection is then dropped."""
    lines = UPGRADE | dict(headers or {})
    with dial(port, source=source) as sock:
        sock.sendall(request(target, lines.pop("Host", f"127.0.0.1:{port}"), lines))
        head = read_head(sock)
        return Answer(head if b" 101 " in head else head + read_to_end(sock))
