"""libvirt's events of domains, out of its own event loop. It blocks: one thread calls it.

libvirt has one implementation of an event loop in a process, and connections that are opened
after it is there use it for what comes without being asked for: events, the answers to
keepalives, the end of a connection. So it is process-wide, whoever began it. It runs to the
end of the process: a closed connection lets go of its socket only there.

Callbacks run in the loop's thread. They hand on the uuid of a domain, or a cause, and nothing
else; what has become of the domain is asked elsewhere.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from attrs import define, field

from consoled.compute.libvirt.client import KEEPALIVE_COUNT, KEEPALIVE_INTERVAL, ClientError

ERROR_PAUSE = 1.0
"""Seconds until the loop's next turn after one that failed."""


@define(eq=False)
class EventLoop:
    """libvirt's event loop, in a thread of its own; one for all connections of the process."""

    _libvirt: Any = field(init=False, repr=False)
    _began: bool = field(default=False, init=False)

    @_libvirt.default
    def _library(self) -> Any:
        return importlib.import_module("libvirt")

    def start(self) -> None:
        """Begins it; before the first connection is opened, and after twistd's fork."""
        if not self._began:
            self._began = True
            # libvirt's own habit is to print each error on stderr.
            self._libvirt.registerErrorHandler(_silent, None)
            self._libvirt.virEventRegisterDefaultImpl()
            Thread(target=self._run, name="libvirt-events", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._libvirt.virEventRunDefaultImpl()
            except self._libvirt.libvirtError:
                # The connections tell what is lost; the next turn may go on.
                time.sleep(ERROR_PAUSE)


@define(eq=False)
class EventConnection:
    """A connection to one URI that only listens.

    :ivar uri: the connection URI.
    """

    uri: str
    _libvirt: Any = field(init=False, repr=False)
    _connection: Any = field(default=None, init=False, repr=False)
    _numbers: list[int] = field(factory=list, init=False)

    @_libvirt.default
    def _library(self) -> Any:
        return importlib.import_module("libvirt")

    def open(self, changed: Callable[[str], None], lost: Callable[[str], None]) -> None:
        """Connects and listens; both functions are called in the event loop's thread.

        :param changed: told the uuid of a domain to which something happened.
        :param lost: told why, once, when the connection is lost.
        :raises consoled.compute.libvirt.client.ClientError: it cannot; libvirt's own word why.
        """
        try:
            self._connection = self._libvirt.open(self.uri)
            self._keep_alive(lost)
            for event in self._events():
                number = self._connection.domainEventRegisterAny(None, event, _told, changed)
                self._numbers.append(number)
        except self._libvirt.libvirtError as error:
            self.close()
            raise ClientError(str(error)) from None

    def close(self) -> None:
        """Listens no more."""
        connection, self._connection = self._connection, None
        numbers, self._numbers = self._numbers, []
        if connection is None:
            return
        for number in numbers:
            # It may be lost already.
            with suppress(self._libvirt.libvirtError):
                connection.domainEventDeregisterAny(number)
        with suppress(self._libvirt.libvirtError):
            connection.unregisterCloseCallback()
        with suppress(self._libvirt.libvirtError):
            connection.close()

    def _keep_alive(self, lost: Callable[[str], None]) -> None:
        """Has the end of the connection told; libvirt's in-process driver has none."""
        try:
            self._connection.registerCloseCallback(self._closed, lost)
            self._connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_SUPPORT:
                raise

    def _closed(self, connection: object, reason: int, lost: Callable[[str], None]) -> None:
        causes = {
            self._libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "it has closed the connection",
            self._libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "it does not answer any more",
            self._libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "the connection was closed",
        }
        lost(causes.get(reason, "the connection broke"))

    def _events(self) -> tuple[int, ...]:
        library = self._libvirt
        return (
            library.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            library.VIR_DOMAIN_EVENT_ID_REBOOT,
            library.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
            library.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            library.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
        )


def _told(connection: object, domain: Any, *facts: Any) -> None:
    """Any event: the last of the facts is what was registered with it."""
    facts[-1](str(domain.UUIDString()).lower())


def _silent(_context: object, _error: object) -> None:
    """Errors are raised; nothing needs to be printed."""
