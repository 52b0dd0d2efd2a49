"""A guest that goes on at another compute host, and its console with it.

Its port there listens before the guest runs there. It is dialled ahead, so that nothing is
lost of what the guest says between its first breath there and the end of the old connection;
that is kept, and shown after the last word from the old host.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from consoled.errors import ConsoledError
from consoled.interfaces import Driver
from consoled.model import Console, Instance, InstanceState
from consoled.proxy.leg import Leg, OpenConsole

MOVING = "moving"
"""Why the line's input waits meanwhile."""

KEPT = 64 * 1024
"""Bytes of output that are kept of a guest that goes on already; more waits in its socket."""

LOOKS = (0.0, 0.25, 0.5, 1.0)
"""Seconds before each look for the guest: libvirt needs a moment to see that its QEMU is gone."""

LOOK_PATIENCE = 3.0
"""Seconds that one of them may take."""

SOURCE_PATIENCE = 3.0
"""Seconds that the old connection may outlive the guest: its host may be gone without a word."""

RECENT = 2.0
"""Seconds before the end of the old connection in which input may have come too late."""

MOVED = "The guest has moved to another host, and this console with it."
UNCERTAIN = (
    MOVED + " What was typed in its last moments there may be lost: look before you type it again."
)


@define(eq=False)
class Ahead:
    """The console at the place where its guest is expected.

    :ivar instance: the guest as that host sees it.
    :ivar leg: the connection, or None where there is none.
    """

    instance: Instance
    console: Console
    leg: Deferred[Leg | None]
    _leg: Leg | None = field(default=None, init=False)
    _kept: bytearray = field(factory=bytearray, init=False)
    _lost: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.leg.addCallbacks(self._connected, self._end)

    @property
    def over(self) -> bool:
        """Whether nothing comes of it: that QEMU is gone, or was never reached."""
        return self._lost

    def leads_to(self, instance: Instance, console: Console) -> bool:
        """Whether this is where the guest is."""
        place = (self.instance.host, self.console.host, self.console.port)
        return not self._lost and place == (instance.host, console.host, console.port)

    def kept(self) -> bytes:
        """What the guest has said there so far."""
        kept, self._kept = bytes(self._kept), bytearray()
        return kept

    def close(self, clock: IReactorTime) -> Deferred[None]:
        """Gives it up; fires when its socket is closed."""
        if self._leg is not None:
            return self._leg.close(clock)
        closed: Deferred[None] = Deferred()
        self.leg.addBoth(lambda _: closed.callback(None))
        self.leg.cancel()
        return closed

    def _connected(self, leg: Leg | None) -> Leg | None:
        self._leg = leg
        if leg is None:
            self._lost = True
        else:
            leg.attend(self._keep, self._end)
        return leg

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > KEPT and self._leg is not None:
            transport: Any = self._leg.transport
            transport.pauseProducing()

    def _end(self, _: object = None) -> None:
        self._lost = True


async def went_to(driver: Driver, console: OpenConsole, clock: Any) -> Instance | None:
    """Where the guest goes on, if that is on another compute host.

    :param driver: knows all of them.
    :param console: whose port has closed the connection.
    """
    found: Instance | None = None
    for wait in LOOKS:
        if wait:
            await deferLater(clock, wait)
        try:
            looked = driver.instance(console.instance.uuid)
            instance = await looked.addTimeout(LOOK_PATIENCE, clock)
        except CancelledError:
            raise
        except (ConsoledError, TimedOut):
            return None
        found = None if instance.host == console.instance.host else instance
        # One that is paused here was so for the move, and libvirt may not know yet; one that is
        # paused there may have been so before, or never wake up.
        if instance.state is not InstanceState.PAUSED:
            break
    return found if found is not None and found.state.live else None
