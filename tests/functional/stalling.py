"""A TCP proxy that stops carrying what a client sends, when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from backends import Backend

PIECE = 16384


class StallingProxy:
    """In front of a server on loopback.

    :param port: the server's; asked for each connection.
    :ivar most: of a connection that brings more bytes than that, the rest stays where it is;
        None carries everything.
    :ivar stalled: set when one does.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._front = Backend(self._carry)
        self.most: int | None = None
        self.stalled = threading.Event()
        self._over = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._front.port

    def stall(self, most: int) -> None:
        """From now on, connections that bring more bytes than that stall."""
        self.stalled.clear()
        self._over.clear()
        self.most = most

    def drop(self) -> None:
        """Drops what stalls, and carries everything from now on."""
        self.most = None
        self._over.set()

    def close(self) -> None:
        """Drops every connection."""
        self.drop()
        self._front.close()

    def _carry(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._port())) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            brought = 0
            while data := client.recv(PIECE):
                brought += len(data)
                if self.most is not None and brought > self.most:
                    self.stalled.set()
                    self._over.wait()
                    return
                server.sendall(data)
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
